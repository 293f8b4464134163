"""The mass guard informs, warns or refuses by kept mass and temperature."""

import dataclasses

import numpy as np
import pytest

from kdcache.errors import ConfigError
from kdcache.logits import all_classes, top_k
from kdcache.losses.targets import TeacherTargets
from kdcache.train.mass import MassVerdict, judge, mean_kept_mass

LOGITS_NC = np.random.Generator(np.random.Philox(3)).normal(size=(8, 40)).astype(np.float32) * 2


def _judge(mass: float, temperature: float, *, force: bool = False) -> MassVerdict:
    return judge(mass, temperature=temperature, top_k=10, num_classes=1000, force=force)


@pytest.mark.parametrize(
    ("mass", "temperature", "level"),
    [
        (0.95, 1.0, "info"),
        (0.3, 1.0, "info"),
        (0.85, 2.0, "info"),
        (0.79, 2.0, "warning"),
        (0.5, 4.0, "warning"),
    ],
)
def test_the_guard_informs_at_one_and_warns_above(mass: float, temperature: float, level: str) -> None:
    assert _judge(mass, temperature).level == level


def test_a_warning_names_the_mass_and_the_way_out() -> None:
    message = _judge(0.79, 2.0).message
    assert "the 10 kept of 1000 classes hold 79.0% of the teacher's mass at T = 2" in message
    assert "dense8" in message


def test_less_than_half_of_the_mass_is_refused_above_one() -> None:
    with pytest.raises(ConfigError, match=r"hold 49.0% .*below 50%.*dense8.*--force-temperature"):
        _judge(0.49, 2.0)


def test_a_forced_temperature_only_warns() -> None:
    assert _judge(0.49, 2.0, force=True).level == "warning"


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_the_mean_kept_mass_is_that_of_the_rows_with_targets(temperature: float) -> None:
    cut = top_k(LOGITS_NC, 10)
    bad = dataclasses.replace(cut, top1_N=np.where(np.arange(8) == 2, np.nan, cut.top1_N).astype(np.float32))
    expected = np.delete(cut.kept_probs_NK(temperature), 2, axis=0).sum(axis=1).mean()
    assert mean_kept_mass([TeacherTargets.from_numpy(bad)], temperature) == pytest.approx(expected, rel=1e-5)


def test_where_nothing_was_cut_or_nothing_is_there_all_mass_is_kept() -> None:
    assert mean_kept_mass([TeacherTargets.from_numpy(all_classes(LOGITS_NC))], 7.0) == 1.0
    assert mean_kept_mass([], 1.0) == 1.0
