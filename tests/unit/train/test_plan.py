"""The length of a run follows from its settings and from the loader's numbers."""

from typing import Any

import pytest

from kdcache.config.train import TrainConfig
from kdcache.errors import ConfigError
from kdcache.train.plan import RunPlan, plan_run


def _plan(*, num_samples: int = 100, num_batches: int = 10, num_views: int = 4, **fields: Any) -> RunPlan:
    config = TrainConfig.parse(
        {"shards": ["a.tar"], "cache": "c", "student": "s", "out": "o", "batch_size": 10} | fields,
        where="test",
    )
    return plan_run(config, num_samples=num_samples, num_batches=num_batches, num_views=num_views, world=2)


def test_epochs_become_steps_of_whole_windows() -> None:
    plan = _plan(epochs=3, grad_accum_steps=4)
    assert (plan.steps_per_epoch, plan.steps, plan.views_per_step) == (3, 9, 80)


def test_steps_become_a_fraction_of_epochs() -> None:
    assert _plan(steps=25).epochs == 2.5


def test_without_a_length_a_run_takes_timms_300_epochs() -> None:
    assert _plan().steps == 3000


@pytest.mark.parametrize(
    ("fields", "warmup"),
    [
        ({"epochs": 10}, 5),
        ({"epochs": 10, "warmup_epochs": 1.5}, 15),
        ({"epochs": 10, "warmup_steps": 7}, 7),
        ({"steps": 5, "warmup_epochs": 5}, 5),
        ({"steps": 5, "warmup_steps": 0}, 0),
    ],
)
def test_warmup_is_given_in_epochs_or_steps_or_is_a_twentieth(fields: dict[str, Any], warmup: int) -> None:
    assert _plan(**fields).warmup_steps == warmup


def test_more_than_ten_epochs_for_each_view_are_warned_about() -> None:
    assert _plan(epochs=40).advice is None
    assert "44.0 epochs over 4 cached views are 11.0 epochs a view" in str(_plan(epochs=44).advice)


def test_a_batch_that_cannot_be_filled_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"3 samples do not fill one micro-batch of 10 for each of 2.*smaller"
    ):
        _plan(num_samples=3, num_batches=0)


def test_the_plan_is_told_in_lines() -> None:
    assert "steps            30 (10 an epoch)" in _plan(epochs=3).describe()


def test_views_that_come_together_make_a_pass_worth_as_many() -> None:
    plan = _plan(epochs=2, views_per_decode=2)
    assert plan.epochs_per_view == 1.0


def test_the_description_tells_what_is_read() -> None:
    config = TrainConfig.parse(
        {"shards": ["a.tar"], "cache": "c", "student": "s", "out": "o", "views_per_decode": 2, "epochs": 1},
        where="test",
    )
    text = plan_run(config, num_samples=90, num_batches=8, num_views=4, lanes=3, target_reads=6).describe()
    assert "target reads     1.50 a step" in text
    assert "lanes            3 shuffle windows" in text
