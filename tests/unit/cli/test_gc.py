"""Listing first, removing when asked."""

import json
from pathlib import Path

from tests.support.precompute_runs import invoke
from tests.support.stores import make_store


def test_garbage_is_listed_and_stays(tmp_path: Path) -> None:
    cache = make_store(tmp_path / "c.zarr")
    (cache / ".tmp-12").write_bytes(b"abc")
    result = invoke(["gc", str(cache), "--older-than", "0"])
    assert result.stdout.splitlines() == [
        "temporary\t3\t.tmp-12",
        "1 objects, 3 bytes: none removed (--delete removes them)",
    ]
    assert (cache / ".tmp-12").exists()


def test_garbage_is_removed_on_request(tmp_path: Path) -> None:
    cache = make_store(tmp_path / "c.zarr")
    (cache / ".tmp-12").write_bytes(b"abc")
    assert "1 younger than 60 minutes left alone" in invoke(["gc", str(cache)]).stdout
    result = invoke(["gc", str(cache), "--older-than", "0", "--delete", "--json"])
    facts = json.loads(result.stdout)
    assert facts == {
        "objects": [{"kind": "temporary", "path": ".tmp-12", "bytes": 3}],
        "removed": 1,
        "young": 0,
    }
    assert not (cache / ".tmp-12").exists()


def test_a_folder_without_a_cache_is_refused(tmp_path: Path) -> None:
    assert invoke(["gc", str(tmp_path)]).exit_code == 3
