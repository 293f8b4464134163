"""``kdcache verify`` says "intact", or names the first bad object and exits with 3."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kdcache.precompute import precompute
from kdcache_cli.main import kdcache
from tests.support.precompute_runs import TINY, config_for
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shard, write_shards
from tests.support.stores import make_store


def verify(*words: str) -> Result:
    return CliRunner().invoke(kdcache, ["verify", *words])


def test_an_intact_cache_exits_with_0(tmp_path: Path) -> None:
    result = verify(str(make_store(tmp_path / "c")))
    assert (result.exit_code, "is intact: 15 of 15 units" in result.output) == (0, True)


def test_the_result_can_be_had_as_json(tmp_path: Path) -> None:
    result = verify(str(make_store(tmp_path / "c")), "--json")
    assert json.loads(result.stdout)["objects"] == 30


def test_the_first_bad_object_is_named_with_exit_code_3(tmp_path: Path) -> None:
    path = make_store(tmp_path / "c") / "teachers" / "cnn" / "targets" / "c" / "1" / "0" / "2"
    data = bytearray(path.read_bytes())
    data[-9] ^= 4
    path.write_bytes(data)
    result = verify(str(tmp_path / "c"))
    assert result.exit_code == 3
    assert "teachers/cnn/targets/c/1/0/2" in result.stderr
    assert "its sha256 is not the one in its commit record" in result.stderr


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


def test_views_are_rendered_again_on_request(tmp_path: Path, home: None) -> None:
    shards = write_shards(tmp_path / "shards", [6])
    cache = str(make_real_cache(tmp_path / "c.zarr", shards))
    result = verify(cache, "--views", shards[0], "--all", "--quiet")
    assert result.exit_code == 0
    assert "24 of 24 views rendered again from 6 decoded samples: all equal" in result.stdout
    facts = json.loads(verify(cache, "--views", shards[0], "--json", "-q").stdout)
    assert (facts["units"], facts["views"]["views"], facts["views"]["drifted"]) == (3, 24, 0)


def test_swapped_labels_exit_with_4(tmp_path: Path, home: None) -> None:
    shards = write_shards(tmp_path / "shards", [6])
    cache = str(make_real_cache(tmp_path / "c.zarr", shards))
    write_shard(Path(shards[0]), range(6), labels={0: 1, 1: 0, 2: 2, 3: 3, 4: 4, 5: 5})
    result = verify(cache, "--views", shards[0], "--all", "--quiet")
    assert result.exit_code == 4
    assert "its label is 1 there and 0 in the cache" in result.stderr


def test_the_teacher_is_asked_again_on_request(tmp_path: Path, home: None) -> None:
    shards = write_shards(tmp_path / "shards", [6])
    precompute(config_for(tmp_path / "c.zarr", shards), quiet=True)
    words = [str(tmp_path / "c.zarr"), "--views", shards[0], "--recompute", "9", "-q"]
    result = verify(*words, "--teacher", TINY, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "9 views shown to teacher tiny_cnn again: top-1 agrees on" in result.stdout
    other = verify(*words, "--teacher", TINY, "--teacher-kwargs", "seed=3", "--device", "cpu", "--json")
    assert (other.exit_code, "weights sha256" in other.stderr) == (4, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--all"], "give their shards with --views"),
        (["--recompute", "3", "--teacher", "a"], "give their shards with --views"),
        (["--views", "a.tar", "--recompute", "3"], "belong together"),
        (["--views", "a.tar", "--teacher", "resnet50"], "belong together"),
    ],
)
def test_flags_that_do_not_go_together_exit_with_2(words: list[str], message: str) -> None:
    result = verify("cache", *words)
    assert (result.exit_code, message in result.stderr) == (2, True)
