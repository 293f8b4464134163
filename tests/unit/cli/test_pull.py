"""The command line of a pull."""

import json
from pathlib import Path

from tests.support.precompute_runs import invoke
from tests.support.stores import make_store


def test_a_part_says_what_it_took(tmp_path: Path) -> None:
    cache, part = make_store(tmp_path / "c.zarr"), str(tmp_path / "p.zarr")
    words = ["pull", str(cache), part, "--seeds", "1", "--teachers", "cnn", "--shards", "0"]
    result = invoke([*words, "--quiet"])
    assert result.exit_code == 0, result.stderr
    first, *_, last = result.stdout.splitlines()
    assert first == "seeds 1 are widened to 0-1: they come in groups of 2"
    assert last.startswith("a part (seeds 0-1, shards 0) of sha256:")
    facts = json.loads(invoke([*words, "--quiet", "--json"]).stdout)
    assert facts["selection"] == {"seeds": "0-1", "shards": "0"}
    assert facts["objects"] == 0


def test_exit_codes_tell_what_is_wrong(tmp_path: Path) -> None:
    cache, part = str(make_store(tmp_path / "c.zarr")), str(tmp_path / "p.zarr")
    assert invoke(["pull", cache, part, "--seeds", "five"]).exit_code == 2
    assert invoke(["pull", cache, part, "--teachers", "none"]).exit_code == 2
    assert invoke(["pull", cache, part, "--shards", "0", "--quiet"]).exit_code == 0
    assert invoke(["pull", cache, part, "--shards", "1", "--quiet"]).exit_code == 4
