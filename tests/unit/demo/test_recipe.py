"""The demo's settings are settings that the commands take."""

from pathlib import Path

import yaml

from kdcache.config.precompute import PrecomputeConfig
from kdcache.config.train import TrainConfig
from kdcache.demo.recipe import LABELLED, TEST, UNLABELLED, Recipe


def test_thirty_epochs_are_as_many_steps_for_every_run() -> None:
    assert Recipe(epochs=30).steps == 937


def test_precompute_takes_the_settings() -> None:
    for settings in (Recipe().precompute_settings(), Recipe().mixed_settings(), Recipe().test_settings()):
        config = PrecomputeConfig.parse({"shards": [LABELLED], "cache": "c", **settings}, where="recipe")
        assert config.policy.size == 28


def test_train_takes_the_settings() -> None:
    values = {"shards": [LABELLED], "cache": "c", "out": "o", **Recipe().train_settings()}
    assert TrainConfig.parse(values, where="recipe").warmup_steps == 62


def test_written_files_read_back_as_the_settings(tmp_path: Path) -> None:
    Recipe().write(tmp_path)
    assert yaml.safe_load((tmp_path / "train.yaml").read_text()) == Recipe().train_settings()
    assert yaml.safe_load((tmp_path / "precompute.yaml").read_text()) == Recipe().precompute_settings()


def test_the_shards_that_it_names_ship() -> None:
    assert Path(LABELLED).is_file()
    assert Path(TEST).is_file()
    assert all(Path(UNLABELLED.replace("{000..003}", f"{n:03d}")).is_file() for n in range(4))
