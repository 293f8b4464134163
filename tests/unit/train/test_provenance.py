"""The report says whose views and targets made the weights."""

from pathlib import Path

import pytest

from kdcache.config.train import TrainConfig
from kdcache.store.reader import open_cache
from kdcache.train.provenance import provenance, teachers_of
from tests.support.stores import make_store


def _config(**fields: object) -> TrainConfig:
    return TrainConfig.parse(
        {"shards": ["a.tar"], "cache": "c", "student": "s", "out": "o", "teacher": "cnn"} | fields,
        where="test",
    )


def test_the_teacher_and_the_view_policy_are_named(tmp_path: Path) -> None:
    cache = open_cache(make_store(tmp_path / "c"))
    facts = provenance(_config(num_classes=7), cache)
    entry = cache.identity.teachers["cnn"]
    assert facts["teachers"]["cnn"]["weights_sha256"] == entry.weights_sha256
    assert facts["view_size"] == [cache.identity.policy.height, cache.identity.policy.width]
    assert facts["policy_digest"] == cache.identity.policy.digest()
    assert set(facts["software"]) == {"kdcache", "timm", "torch"}


@pytest.mark.parametrize(("weights", "names"), [({}, ("cnn",)), ({"distill_loss_weight": 0}, ())])
def test_labels_only_learn_from_no_teacher(weights: dict[str, float], names: tuple[str, ...]) -> None:
    assert teachers_of(_config(task_loss_weight=1, **weights)) == names
