"""``kdcache eval`` prints figures, and one paragraph with an exit code where it cannot."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kdcache.train import train
from kdcache_cli.main import kdcache
from tests.support.shards import write_shard
from tests.support.training import small_cache, small_config


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], Path]:
    """Return (run, shards, cache)."""
    folder = tmp_path_factory.mktemp("eval")
    shards, cache = small_cache(folder)
    return Path(train(small_config(folder, shards, cache, steps=1)).out), shards, cache


def _eval(*words: object) -> Result:
    return CliRunner().invoke(kdcache, ["eval", "-j", "0", "--device", "cpu", "-q", *map(str, words)])


def test_figures_are_printed_for_people_and_programs(
    made: tuple[Path, list[str], Path], tmp_path: Path
) -> None:
    run, shards, cache = made
    text = _eval(run, *shards, "--per-class", tmp_path / "classes.csv")
    assert (text.exit_code, text.stderr) == (0, "")
    assert "ECE " in text.stdout
    assert (tmp_path / "classes.csv").read_text().startswith("label,samples,top1,confidence\n0,5,")
    facts = json.loads(_eval(run, *shards, "--cache", cache, "--json").stdout)
    assert (facts["samples"], facts["teacher"]) == (48, "formula")


def test_a_policy_may_be_a_file(made: tuple[Path, list[str], Path], tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("preset: center\nsize: 24\n")
    words = [made[0], made[1][0], "--json", "--policy"]
    named, from_file = _eval(*words, "center"), _eval(*words, tmp_path / "policy.yaml")
    assert json.loads(named.stdout) == json.loads(from_file.stdout)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--weights", "ema"], 3, "has no model_ema.safetensors (it has --weights model)"),
        (["--checkpoint", "nothing.pt"], 3, "there is no checkpoint nothing.pt"),
        (["--cache", "nowhere.zarr"], 3, "nowhere.zarr"),
        (["--cache", "c", "--policy", "center"], 2, "the policy is the cache's"),
        (["--teacher", "formula"], 2, "give the cache with --cache"),
        (["--policy", "centre"], 2, "centre"),
        (["--device", "tpu"], 2, "unknown device 'tpu'"),
    ],
)
def test_what_cannot_be_is_one_paragraph(
    made: tuple[Path, list[str], Path], words: list[str], code: int, message: str
) -> None:
    result = _eval(made[0], *made[1], *words)
    assert (result.exit_code, "Traceback" in result.stderr) == (code, False), result.output
    assert message in result.stderr


def test_no_run_bad_shards_and_another_cache_have_their_exit_codes(
    made: tuple[Path, list[str], Path], tmp_path: Path
) -> None:
    run, shards, cache = made
    bare = write_shard(tmp_path / "bare.tar", range(3), labels={})
    other = write_shard(tmp_path / "train-000.tar", range(100, 124))
    for words, code, message in (
        ([tmp_path, *shards], 2, "is no folder of a run"),
        ([run, bare], 3, "has a label"),
        ([run, other, "--cache", cache], 4, "train-000.tar"),
    ):
        result = _eval(*words)
        assert (result.exit_code, message in result.stderr) == (code, True), result.output
