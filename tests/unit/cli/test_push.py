"""The command line of a push."""

import json
from pathlib import Path

from tests.support.precompute_runs import invoke
from tests.support.stores import make_store


def test_a_push_prints_what_it_did_and_shows_progress(tmp_path: Path) -> None:
    cache = make_store(tmp_path / "c.zarr")
    result = invoke(["push", str(cache), str(tmp_path / "d.zarr"), "--jobs", "2"])
    assert result.exit_code == 0, result.stderr
    assert "59 objects" in result.stdout
    assert "bytes/s" in result.stderr
    again = json.loads(invoke(["push", str(cache), str(tmp_path / "d.zarr"), "--dry-run", "--json"]).stdout)
    assert (again["objects"], again["present"], again["dry_run"]) == (0, 59, True)


def test_exit_codes_tell_what_is_wrong(tmp_path: Path) -> None:
    cache = make_store(tmp_path / "c.zarr")
    assert invoke(["push", str(cache), str(cache)]).exit_code == 2
    assert invoke(["push", str(cache), str(tmp_path / "d"), "--jobs", "0"]).exit_code == 2
    assert invoke(["push", str(tmp_path / "none"), str(tmp_path / "d")]).exit_code == 3


def test_empty_terms_are_warned_of_and_extend_sets_them(tmp_path: Path) -> None:
    cache, copy = str(make_store(tmp_path / "c.zarr")), str(tmp_path / "d.zarr")
    result = invoke(["push", cache, copy, "--dry-run", "--json"])
    (warning,) = json.loads(result.stdout)["warnings"]
    assert f"warning: {warning}" in result.stderr
    invoke(["extend", "--cache", cache, "--licence", "CC-BY-4.0", "--contact", "a@b.org"])
    result = invoke(["push", cache, copy, "--quiet", "--json"])
    assert json.loads(result.stdout)["warnings"] == []
    assert result.stderr == ""
