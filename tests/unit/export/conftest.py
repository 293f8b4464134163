"""One tiny run for all of these tests: a step of a distillation-token student, evaluated beside its teacher."""

from pathlib import Path

import pytest

from kdcache.export.subject import Subject
from kdcache.train import train
from kdcache.train.trained import TrainedRun, open_run
from tests.support.training import small_cache, small_config


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    folder = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCACHE_HOME", str(folder / "home"))
        shards, cache = small_cache(folder)
        token = {"student": "deit_tiny_distilled_patch16_224", "mean": (0.4, 0.5, 0.6)}
        report = train(
            small_config(folder, shards, cache, steps=1, val=shards, val_cache=str(cache), **token)
        )
    return open_run(Path(report.out))


@pytest.fixture(scope="session")
def subject(run: TrainedRun) -> Subject:
    return Subject.of(run)
