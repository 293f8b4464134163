"""What cannot work is refused before the first step, and what should be known is said."""

from pathlib import Path
from typing import Any

import pytest

from kdcache.errors import ConfigError, MissingViewError, ShardError
from kdcache.runtime.dist import World
from kdcache.store.reader import open_cache
from kdcache.train.setup import Preparation, prepare
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shard
from tests.support.training import POLICY, small_cache, small_config


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], Path]:
    """Return (folder, shards, cache)."""
    folder = tmp_path_factory.mktemp("setup")
    return folder, *small_cache(folder)


def _prepare(made: tuple[Path, list[str], Path], **changes: Any) -> Preparation:
    folder, shards, cache = made
    config = small_config(folder, shards, cache, **changes)
    return prepare(config, open_cache(config.cache), world=World(), pin_memory=False)


def test_open_settings_are_filled_in(made: tuple[Path, list[str], Path]) -> None:
    config = _prepare(made).config
    found = (config.teacher, config.num_classes, config.task_loss_weight, config.distill_loss)
    assert found == (("formula",), 10, 0.0, "kl")


def test_the_kept_mass_is_told(made: tuple[Path, list[str], Path]) -> None:
    parts = _prepare(made)
    assert parts.notices[0].startswith("the 4 kept of 10 classes hold ")
    assert 0.5 < (parts.kept_mass or 0) < 0.8


def test_a_temperature_that_leaves_too_little_mass_is_refused_unless_forced(
    made: tuple[Path, list[str], Path],
) -> None:
    with pytest.raises(ConfigError, match=r"at T = 4, below 50%.*dense8.*--force-temperature"):
        _prepare(made, temperature=4.0)
    assert _prepare(made, temperature=4.0, force_temperature=True).notices[0].startswith("warning: ")


def test_a_cut_cache_knows_its_kept_mass_at_any_temperature(made: tuple[Path, list[str], Path]) -> None:
    masses = [_prepare(made, temperature=t, force_temperature=True).kept_mass or 0.0 for t in (0.5, 1, 4, 50)]
    assert masses == sorted(masses, reverse=True)
    assert masses[0] > masses[-1] == pytest.approx(0.4, abs=0.05)


def test_dense_targets_take_any_temperature(tmp_path: Path) -> None:
    shards, cache = small_cache(tmp_path, encoding="dense8", kept=10)
    assert _prepare((tmp_path, shards, cache), temperature=9.0).kept_mass == 1.0


def test_labels_only_asks_for_no_targets(made: tuple[Path, list[str], Path]) -> None:
    parts = _prepare(made, task_loss_weight=1, distill_loss_weight=0)
    assert next(parts.loader.epoch(0)).teachers == {}
    assert parts.kept_mass is None


def test_shards_without_labels_are_refused_with_labels_only(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "a.tar", range(16), labels=dict.fromkeys(range(12), 1))
    cache = make_real_cache(tmp_path / "c.zarr", [str(shard)], policy=POLICY)
    made = (tmp_path, [str(shard)], cache)
    with pytest.raises(ShardError, match=r"a.tar: 4 of its 16 samples have no label, and with labels only"):
        _prepare(made, task_loss_weight=1, distill_loss_weight=0)
    assert _prepare(made, task_loss_weight=1, distill_loss_weight=1).loader.num_samples == 16


def test_another_number_of_classes_is_refused(made: tuple[Path, list[str], Path]) -> None:
    with pytest.raises(ConfigError, match=r"--num-classes 12: the cache .* counts 10 classes"):
        _prepare(made, num_classes=12)


def test_an_unknown_teacher_is_refused_by_name(made: tuple[Path, list[str], Path]) -> None:
    with pytest.raises(ConfigError, match=r"no teacher 'resnet'; it has formula"):
        _prepare(made, teacher="resnet")


def test_a_batch_larger_than_the_data_is_refused(made: tuple[Path, list[str], Path]) -> None:
    with pytest.raises(ConfigError, match=r"48 samples do not fill one micro-batch of 64"):
        _prepare(made, batch_size=64)


def test_a_cache_without_finished_units_is_refused(tmp_path: Path) -> None:
    shards, cache = small_cache(tmp_path, groups=[])
    with pytest.raises(MissingViewError, match="no finished unit of these shards"):
        _prepare((tmp_path, shards, cache))


def test_an_enlarged_view_and_too_few_views_are_warned_about(made: tuple[Path, list[str], Path]) -> None:
    kwargs = {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 1, "num_heads": 2}
    notices = "\n".join(_prepare(made, student_kwargs=kwargs, steps=6 * 41).notices)
    assert "the student takes 32 x 32 pixels, the cached views have 24 x 24 and are enlarged" in notices
    assert "41.0 epochs over 4 cached views are 10.2 epochs a view, above 10" in notices


def test_the_preparation_is_told_for_people_and_programs(made: tuple[Path, list[str], Path]) -> None:
    parts = _prepare(made)
    assert "steps            10 (6 an epoch)" in parts.to_text()
    assert '"steps": 10' in parts.to_json()
