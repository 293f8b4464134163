"""What ``kdcache views`` shows: samples, their views, and what the cache says of each."""

import json
from pathlib import Path

import numpy as np
import pytest

from kdcache.config.views import ViewPolicy
from kdcache.errors import BadImageError, ConfigError, MissingViewError, ViewMismatchError
from kdcache.logits import top_k
from kdcache.report.show import Choice, show_cached_views, show_views
from kdcache.store.reader import Cache, open_cache
from tests.support.real_cache import formula_logits, make_real_cache
from tests.support.shards import write_shard, write_shards

RRC = ViewPolicy.named("rrc", size=24)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path / "shards", [20, 10])


@pytest.fixture
def cache(tmp_path: Path, shards: list[str]) -> Cache:
    return open_cache(make_real_cache(tmp_path / "c.zarr", shards, policy=RRC, rows_per_block=16))


def test_samples_are_spread_over_all_shards(shards: list[str]) -> None:
    report = show_views(shards, RRC, choice=Choice(num_samples=3))
    assert [sample.key for sample in report.samples] == ["s00000", "s00010", "s00020"]
    assert report.aug_seeds == (0, 1, 2, 3, 4, 5)
    assert report.summary() == "3 samples under 6 seeds of policy 'rrc'"


def test_samples_can_be_had_by_key(shards: list[str]) -> None:
    report = show_views(shards, RRC, choice=Choice(keys=("s00021", "s00003"), aug_seeds=(9,)))
    assert [(sample.key, sample.label) for sample in report.samples] == [("s00021", 1), ("s00003", 3)]


def test_a_missing_key_is_refused(shards: list[str]) -> None:
    with pytest.raises(ConfigError, match="no sample of these shards has the key 's99'"):
        show_views(shards, RRC, choice=Choice(keys=("s99",)))


def test_more_samples_than_there_are_are_all_samples(shards: list[str]) -> None:
    assert len(show_views(shards[1], RRC, choice=Choice(num_samples=99)).samples) == 10


def test_bad_samples_are_passed_over_unless_they_are_asked_for(tmp_path: Path) -> None:
    shard = str(write_shard(tmp_path / "a.tar", range(4), images={0: b"no picture", 2: b"nor this"}))
    report = show_views(shard, RRC, choice=Choice(num_samples=2))
    assert [sample.key for sample in report.samples] == ["s00001", "s00003"]
    with pytest.raises(BadImageError, match="s00002"):
        show_views(shard, RRC, choice=Choice(keys=("s00002",)))


def test_shards_of_bad_samples_alone_are_refused(tmp_path: Path) -> None:
    shard = str(write_shard(tmp_path / "a.tar", range(1), images={0: b"no picture"}))
    with pytest.raises(BadImageError, match="not a JPEG"):
        show_views(shard, RRC)


def test_cached_views_are_compared_and_the_teacher_is_quoted(cache: Cache, shards: list[str]) -> None:
    report = show_cached_views(shards, cache)
    assert report.verdicts == {"equal": 24, "drift": 0, "other": 0}
    assert report.summary().endswith("all 24 views have the cache's pixel digests")
    view = report.samples[1].views[2]
    cut = top_k(formula_logits(view.view_3HW, 10)[None], 3)
    assert cut.class_ids_NK is not None
    assert [number for number, _ in view.guesses] == cut.class_ids_NK[0].tolist()
    report.demand_cached_views()


def test_probabilities_are_those_over_all_classes(tmp_path: Path, shards: list[str]) -> None:
    path = make_real_cache(tmp_path / "d.zarr", shards, encoding="float32")
    view = show_cached_views(shards, open_cache(path)).samples[0].views[0]
    logits = formula_logits(view.view_3HW, 10).astype(np.float64)
    probs = np.sort(np.exp(logits) / np.exp(logits).sum())[::-1]
    assert [prob for _, prob in view.guesses] == pytest.approx(probs[:3], abs=1e-5)


def test_mixed_views_say_with_whom_and_how_much(tmp_path: Path, shards: list[str]) -> None:
    policy = ViewPolicy.named("rrc", size=24, mixing={})
    cache = open_cache(make_real_cache(tmp_path / "m.zarr", shards, policy=policy))
    report = show_cached_views(shards, cache)
    assert report.verdicts["equal"] == 24
    mixed = [view for sample in report.samples for view in sample.views if view.partner]
    assert all(0.0 <= view.lam < 1.0 and view.partner_label >= 0 for view in mixed)
    assert len(mixed) > 12
    alone = show_views(shards, policy, choice=Choice(aug_seeds=(0, 1, 2, 3)))
    digests = [[view.digest for view in sample.views] for sample in report.samples]
    assert [[view.digest for view in sample.views] for sample in alone.samples] == digests


def test_a_sample_whose_partner_is_bad_is_shown_unmixed(tmp_path: Path) -> None:
    policy = ViewPolicy.named("rrc", size=24, mixing={})
    shard = str(write_shard(tmp_path / "a.tar", range(2), images={1: b"no picture"}))
    views = show_views(shard, policy).samples[0].views
    assert {(view.lam, view.partner) for view in views} == {(1.0, None)}


def test_changed_pixels_are_framed_and_refused(
    cache: Cache, shards: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "kdcache.data.cell_views.render_views", lambda *_: np.full((1, 3, 24, 24), 7, np.uint8)
    )
    report = show_cached_views(shards, cache)
    assert report.verdicts["other"] == 24
    with pytest.raises(
        ViewMismatchError, match=r"24 of 24 views are not those of the cache .* framed on the sheet"
    ):
        report.demand_cached_views()


def test_a_sample_that_the_cache_marks_bad_cannot_be_shown(tmp_path: Path) -> None:
    shard = str(write_shard(tmp_path / "train-000.tar", range(3)))
    path = make_real_cache(tmp_path / "c.zarr", [shard], policy=RRC)
    cache = open_cache(path)
    table = cache.samples(0)
    table.status[1] = 2
    cache.samples = lambda block: table  # type: ignore[method-assign]
    assert [sample.key for sample in show_cached_views(shard, cache).samples] == ["s00000", "s00002"]
    with pytest.raises(BadImageError, match="marked as undecodable in the cache"):
        show_cached_views(shard, cache, choice=Choice(keys=("s00001",)))


def test_seeds_beyond_the_cache_are_refused(cache: Cache, shards: list[str]) -> None:
    with pytest.raises(MissingViewError, match="4 views of each sample"):
        show_cached_views(shards, cache, choice=Choice(aug_seeds=(0, 4)))


def test_an_unknown_teacher_is_refused(cache: Cache, shards: list[str]) -> None:
    with pytest.raises(ConfigError, match="no teacher 'vgg'; it has formula"):
        show_cached_views(shards, cache, teacher="vgg")


def test_too_few_class_names_are_refused(cache: Cache, shards: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"gives 2 names, the cache .* has 10 classes"):
        show_cached_views(shards, cache, choice=Choice(class_names=("a", "b")))


def test_the_sheet_is_written_as_png(tmp_path: Path, cache: Cache, shards: list[str]) -> None:
    names = tuple("abcdefghij")
    report = show_cached_views(shards, cache, choice=Choice(num_samples=2, class_names=names))
    report.save(tmp_path / "new" / "sheet.png")
    assert (tmp_path / "new" / "sheet.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads(json.dumps(report.to_json()))
    assert facts["samples"][1]["label_name"] == "f"
    assert facts["samples"][0]["views"][3]["verdict"] == "equal"


def test_a_sheet_that_cannot_be_written_is_refused(tmp_path: Path, shards: list[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="choose another --out"):
        show_views(shards, RRC, choice=Choice(num_samples=1)).save(tmp_path / "file" / "sheet.png")
