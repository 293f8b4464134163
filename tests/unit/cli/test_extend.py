"""``kdcache extend`` with nothing but what a manifest says of its terms."""

import json
from pathlib import Path

from kdcache.store import open_cache
from tests.support.precompute_runs import invoke
from tests.support.stores import make_store


def test_licence_and_contact_are_set_without_shards_or_teachers(tmp_path: Path) -> None:
    cache = make_store(tmp_path / "c.zarr")
    before = open_cache(cache).content_id()
    looked = invoke(["extend", "--cache", str(cache), "--licence", "CC-BY-4.0", "--dry-run"])
    assert looked.stdout == f"{cache}, a dry run: licence CC-BY-4.0, contact none\n"
    assert open_cache(cache).manifest.about.licence is None
    done = invoke(["extend", "--cache", str(cache), "--licence", "CC-BY-4.0", "--json"])
    assert json.loads(done.stdout)["licence"] == "CC-BY-4.0"
    invoke(["extend", "--cache", str(cache), "--contact", "a@b.org"])
    about = open_cache(cache).manifest.about
    assert (about.licence, about.contact) == ("CC-BY-4.0", "a@b.org")
    assert open_cache(cache).content_id() == before


def test_exit_codes_tell_what_is_wrong(tmp_path: Path) -> None:
    cache = make_store(tmp_path / "c.zarr")
    assert invoke(["extend", "--licence", "MIT"]).exit_code == 2
    assert invoke(["extend", "--cache", str(cache), "--licence", ""]).exit_code == 2
    assert invoke(["extend", "--cache", str(cache), "--licence", "\x1b[2J"]).exit_code == 2
    assert invoke(["extend", "--cache", str(tmp_path / "none"), "--licence", "MIT"]).exit_code == 3
