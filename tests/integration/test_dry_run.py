"""A dry run says what a run will do and take, and writes nothing."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from kdcache.config.views import ViewPolicy
from kdcache.errors import StoreError, TeacherError
from kdcache.precompute import extension_of, precompute, probe
from kdcache.precompute.dry_run import dry_run
from kdcache.precompute.dry_run_report import DryRun
from kdcache.store import open_cache
from kdcache.store.writer import CacheWriter
from tests.support.photographs import write_photographs
from tests.support.precompute_runs import TINY, config_for, grey_shard, invoke, words
from tests.support.shards import write_shard, write_shards

MANY = {"num_classes": 300}
EVERY_ENCODING = [
    {"model": TINY, "name": "gap8", "top_k": 20, "kwargs": {**MANY, "seed": 1}},
    {"model": TINY, "name": "dense8", "encoding": "dense8", "kwargs": {**MANY, "seed": 2}},
    {"model": TINY, "name": "float32", "encoding": "float32", "kwargs": {**MANY, "seed": 3}},
    {"model": TINY, "name": "hard", "encoding": "hard", "kwargs": {**MANY, "seed": 4}},
]
OTHER = {"model": TINY, "name": "other", "kwargs": {"seed": 7}}


@pytest.fixture(autouse=True)
def quick(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setattr(probe, "_SECONDS", 0.01)


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path / "shards", [13, 6])


@pytest.fixture
def cache(tmp_path: Path, shards: list[str]) -> Path:
    precompute(config_for(tmp_path / "c.zarr", shards), quiet=True)
    return tmp_path / "c.zarr"


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _true_bytes(cache: Path) -> Counter[str]:
    """Return the bytes of a cache by kind of unit, as its records have them."""
    sizes: Counter[str] = Counter()
    for record in open_cache(cache).records():
        sizes[record.unit.rpartition("/")[0]] += record.num_bytes
    return sizes


def _demand_near(found: DryRun, true: Counter[str]) -> None:
    predicted = {name: facts.bytes for name, facts in found.teachers.items()}
    assert predicted == pytest.approx({name: true[name] for name in predicted}, rel=0.1)
    assert found.bytes.views == pytest.approx(true["views"], rel=0.1)
    assert found.bytes.samples == pytest.approx(true["samples"], rel=0.1)
    assert found.bytes.added == pytest.approx(sum(true.values()), rel=0.1)


@pytest.mark.parametrize("rows_per_block", [8, 64, 256])
def test_bytes_are_within_a_tenth_of_the_truth_for_every_encoding(
    rows_per_block: int, tmp_path: Path
) -> None:
    shards = write_shards(tmp_path / "shards", [300, 75])
    config = config_for(
        tmp_path / "c.zarr",
        shards,
        teachers=EVERY_ENCODING,
        rows_per_block=rows_per_block,
        policy={"preset": "rrc", "size": 16},
        views=2,
        batch_size=64,
    )
    found = dry_run(config, quiet=True)
    assert not (tmp_path / "c.zarr").exists()
    assert found.pilot is not None
    assert 240 < found.pilot.samples <= 256
    precompute(config, quiet=True)
    _demand_near(found, _true_bytes(tmp_path / "c.zarr"))


def test_bytes_of_mixed_views_and_bad_samples_are_as_near(tmp_path: Path) -> None:
    bad = dict.fromkeys(range(0, 150, 7), b"not a picture")
    shard = write_shard(tmp_path / "a.tar", range(150), images=bad)
    config = config_for(
        tmp_path / "c.zarr",
        [str(shard)],
        teachers=EVERY_ENCODING[:2],
        rows_per_block=64,
        policy=ViewPolicy.named("rrc", size=16, mixing={}),
        max_bad=1.0,
    )
    found = dry_run(config, quiet=True)
    assert found.pilot is not None
    assert (found.pilot.samples, found.pilot.bad_views) == (150, 22)
    precompute(config, quiet=True)
    _demand_near(found, _true_bytes(tmp_path / "c.zarr"))


def _weights(folder: Path) -> Path:
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), folder / "weights.safetensors")
    return folder / "weights.safetensors"


def test_bytes_of_photographs_under_a_thousand_classes_are_as_near(tmp_path: Path) -> None:
    shard = write_photographs(tmp_path / "photographs.tar")
    weights = str(_weights(tmp_path))
    teacher = {"model": "test_resnet", "checkpoint": weights, "top_k": 50, "size": 64}
    config = config_for(
        tmp_path / "c.zarr", [str(shard)], teachers=[teacher], policy={"preset": "rrc", "size": 64}
    )
    found = dry_run(config, quiet=True)
    precompute(config, quiet=True)
    _demand_near(found, _true_bytes(tmp_path / "c.zarr"))


def test_metadata_is_what_the_rest_of_the_cache_takes(tmp_path: Path, shards: list[str]) -> None:
    found = dry_run(config_for(tmp_path / "c.zarr", shards), quiet=True)
    precompute(config_for(tmp_path / "c.zarr", shards), quiet=True)
    everything = sum(len(data) for data in _contents(tmp_path / "c.zarr").values())
    data = _true_bytes(tmp_path / "c.zarr").total()
    assert found.bytes.metadata == pytest.approx(everything - data, rel=0.1)


def test_the_command_says_what_there_is_to_do(tmp_path: Path, shards: list[str]) -> None:
    result = invoke(words(tmp_path / "c.zarr", shards, "--dry-run"))
    assert result.exit_code == 0, result.stderr
    for line in (
        "a dry run: nothing was written",
        "  units           6 to do, 0 done",
        "  samples         19 in 2 shards, 19 to do",
        "  blocks          3 of up to 8 samples",
        "  views           76 to render (4 of each sample, in groups of 2)",
        "  pilot           76 views of 19 samples",
        "  targets         dense8, 10 of 10 classes",
        "and serves every later student for free)",
    ):
        assert line in result.stdout
    assert not (tmp_path / "c.zarr").exists()


def test_the_command_gives_all_facts_as_json(tmp_path: Path, shards: list[str]) -> None:
    result = invoke(words(tmp_path / "c.zarr", shards, "--dry-run", "--json", "--quiet"))
    facts = json.loads(result.stdout)
    assert (facts["units_pending"], facts["units_done"], facts["views_pending"]) == (6, 0, 76)
    parts = facts["bytes"]
    assert parts["added"] == parts["samples"] + parts["views"] + parts["targets"] > 0
    time = facts["time"]
    for seconds in (time["pending"], time["whole"]):
        assert seconds["run"] == pytest.approx(seconds["teachers"] + seconds["rendering"])
        assert min(seconds.values()) > 0
    assert time["break_even_epochs"] == pytest.approx(time["whole"]["run"] / time["live_epoch"])
    assert time["live_epoch"] == pytest.approx(time["whole"]["teachers"] / 4)


def _stop_at_group(group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write = CacheWriter.write_targets

    def stop(self: CacheWriter, teacher: str, block: int, now: int, *rest: Any, **more: Any) -> Any:
        if (block, now) == (2, group):
            raise StoreError("stopped here")
        return write(self, teacher, block, now, *rest, **more)

    monkeypatch.setattr(CacheWriter, "write_targets", stop)


def test_a_half_done_cache_counts_what_is_committed(
    tmp_path: Path, shards: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(tmp_path / "c.zarr", shards)
    with monkeypatch.context() as patch:
        _stop_at_group(0, patch)
        with pytest.raises(StoreError, match="stopped here"):
            precompute(config, quiet=True)
    before = _contents(tmp_path / "c.zarr")
    found = dry_run(config, quiet=True)
    assert (found.units_pending, found.units_done) == (2, 4)
    assert (found.samples_pending, found.views_pending) == (6, 24)
    assert found.time is not None
    assert found.time.pending.run < found.time.whole.run
    assert _contents(tmp_path / "c.zarr") == before
    precompute(config, quiet=True)
    assert found.bytes.cache == pytest.approx(_true_bytes(tmp_path / "c.zarr").total(), rel=0.1)


def test_nothing_is_left_of_a_complete_cache(shards: list[str], cache: Path) -> None:
    found = dry_run(config_for(cache, shards), quiet=True)
    assert (found.units_pending, found.units_done, found.bytes.added) == (0, 6, 0)
    assert found.bytes.committed == found.bytes.cache == _true_bytes(cache).total()
    assert (found.pilot, found.time) == (None, None)
    assert "0 to do, 6 done" in found.summary()


def test_a_cache_of_other_settings_is_refused(shards: list[str], cache: Path) -> None:
    before = _contents(cache)
    result = invoke(words(cache, shards, "--dry-run", "--size", "32"))
    assert result.exit_code == 4
    assert "was made with other settings" in result.stderr
    assert _contents(cache) == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path, shards: list[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert invoke(words(tmp_path, shards, "--dry-run")).exit_code == 3


def test_extend_says_what_would_be_added(shards: list[str], cache: Path) -> None:
    before = _contents(cache)
    settings = ["--teacher", TINY, "--views", "8", "--readers", "0", "--device", "cpu", "--dry-run"]
    result = invoke(["extend", *shards, "--cache", str(cache), *settings])
    assert result.exit_code == 0, result.stderr
    assert "  units           6 to do, 6 done" in result.stdout
    assert "  views           76 to render (8 of each sample, in groups of 2)" in result.stdout
    assert _contents(cache) == before


def _extension(cache: Path, shards: Sequence[str], **changes: Any) -> DryRun:
    settings = {"shards": shards, "cache": str(cache), "teachers": [{"model": TINY}], "readers": 0}
    fixed = {"device": "cpu", "teacher_check": False}
    config = extension_of(settings | fixed | changes, where="test")
    found = dry_run(config, grow=True, quiet=True)
    before = _true_bytes(cache).total()
    precompute(config, grow=True, quiet=True)
    assert found.bytes.added == pytest.approx(_true_bytes(cache).total() - before, rel=0.1)
    return found


def test_a_teacher_that_is_added_finds_samples_and_views_there(shards: list[str], cache: Path) -> None:
    found = _extension(cache, shards, teachers=[{"model": TINY}, OTHER])
    assert (found.bytes.samples, found.bytes.views) == (0, 0)
    assert [facts.units_pending for facts in found.teachers.values()] == [0, 6]


def test_shards_that_are_added_are_counted_alone(tmp_path: Path, cache: Path, shards: list[str]) -> None:
    new = str(write_shard(tmp_path / "new.tar", range(100, 111)))
    found = _extension(cache, [new])
    assert (found.shards, found.samples, found.units_pending, found.units_done) == (1, 11, 4, 0)


def test_an_ensemble_takes_bytes_and_the_time_of_its_members(tmp_path: Path, shards: list[str]) -> None:
    config = config_for(
        tmp_path / "c.zarr", shards, teachers=[{"model": TINY}, OTHER], combine=[{"how": "mean-prob"}]
    )
    found = dry_run(config, quiet=True)
    assert found.teachers["ensemble"].bytes > 0
    assert found.teachers["ensemble"].views_per_second is None
    assert found.time is not None
    assert set(found.time.rates.networks) == {"tiny_cnn", "other"}


def test_a_teacher_that_fails_on_the_pilot_is_named(tmp_path: Path) -> None:
    shard = grey_shard(tmp_path / "a.tar", [250] * 4, labels=[0] * 4)
    teacher = {"model": "tests.support.teachers:nan_cnn"}
    with pytest.raises(TeacherError, match=r"'nan_cnn' returned NaN"):
        dry_run(config_for(tmp_path / "c.zarr", [str(shard)], teachers=[teacher]), quiet=True)


def test_data_without_one_good_sample_has_no_time(tmp_path: Path) -> None:
    bad = dict.fromkeys(range(4), b"not a picture")
    shard = write_shard(tmp_path / "a.tar", range(4), images=bad)
    found = dry_run(config_for(tmp_path / "c.zarr", [str(shard)]), quiet=True)
    assert found.time is None
    assert "16 of bad samples" in found.summary()
