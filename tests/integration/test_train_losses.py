"""Several teachers, losses and schedules, chosen when a student is trained: the cache stays as it is."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from kdcache.data.loader import DistillLoader
from kdcache.errors import ConfigError
from kdcache.train import train
from kdcache_cli.main import kdcache
from tests.support.training import losses_of, small_cache, small_config

TEACHERS = ("formula", "other")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Return (shards, a cache of every class by two teachers)."""
    folder = tmp_path_factory.mktemp("losses")
    return small_cache(folder, encoding="dense8", kept=10, teachers=TEACHERS)


def _losses(made: tuple[list[str], Path], out: Path, **changes: Any) -> list[float]:
    train(small_config(out, *made, out=str(out), steps=3, **changes))
    return losses_of(out)


def test_the_first_loss_of_two_teachers_is_the_weighted_sum_of_each_ones(
    made: tuple[list[str], Path], tmp_path: Path
) -> None:
    alone = [_losses(made, tmp_path / name, teacher=name)[0] for name in TEACHERS]
    both = _losses(made, tmp_path / "both", teacher=TEACHERS, teacher_weights=[1, 3])[0]
    assert alone[0] != pytest.approx(alone[1], rel=1e-3)
    assert both == pytest.approx(0.25 * alone[0] + 0.75 * alone[1], rel=1e-5)


def test_one_of_several_must_be_chosen(made: tuple[list[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has 2 teachers \(formula, other\); choose with --teacher"):
        _losses(made, tmp_path / "run")
    with pytest.raises(ConfigError, match="names one twice: other, other"):
        _losses(made, tmp_path / "run", teacher=["other", "other"])


def test_the_command_takes_teachers_weights_schedules_and_views_per_decode(
    made: tuple[list[str], Path], tmp_path: Path
) -> None:
    shards, cache = made
    config = small_config(tmp_path, shards, cache, val=shards[:1], val_cache=str(cache))
    (tmp_path / "base.yaml").write_text(config.to_yaml())
    words = "--teacher other --teacher formula --teacher-weights 3,1 --temperature 3 --temperature-end 1"
    words += " --distill-loss dkd --distill-loss-kwargs beta=2 --task-loss-weight-end 1 --task-loss-weight 0"
    words += " --loss-sched cosine --views-per-decode 2 --shuffle-window 24 --json"
    command = ["train", "--config", str(tmp_path / "base.yaml"), *words.split()]
    result = CliRunner().invoke(kdcache, command)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["evaluation"]["agreement"] is not None
    settings = yaml.safe_load((tmp_path / "run" / "args.yaml").read_text())
    assert (settings["teacher"], settings["teacher_weights"]) == (["other", "formula"], [0.75, 0.25])
    assert settings["distill_loss_kwargs"] == {"beta": 2.0}
    assert (settings["temperature"], settings["temperature_end"]) == (3.0, 1.0)


def test_two_views_of_a_sample_come_together_and_a_pass_is_twice_as_long(
    made: tuple[list[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, epoch = [], DistillLoader.epoch

    def watched(self: DistillLoader, number: int, *, start: int = 0) -> Any:
        for batch in epoch(self, number, start=start):
            batches.append(batch)
            yield batch

    monkeypatch.setattr(DistillLoader, "epoch", watched)
    _losses(made, tmp_path / "run", teacher="other", views_per_decode=2)
    for batch in batches:
        assert batch.keys[::2] == batch.keys[1::2]
        assert (batch.aug_seeds_B[::2] + 1 == batch.aug_seeds_B[1::2]).all()
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert log[0]["lanes"] == 1
    changes: dict[str, Any] = {
        "views_per_decode": 2,
        "epochs": 1,
        "steps": None,
        "out": str(tmp_path / "pass"),
    }
    config = small_config(tmp_path, *made, teacher="other", **changes)
    assert train(config).steps == 12


def test_a_loss_that_wants_all_classes_says_so_on_a_cut_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, cache = small_cache(tmp_path)
    train(small_config(tmp_path, shards, cache, distill_loss="dist", steps=2, quiet=False))
    assert (
        "'dist' is made for all classes, and of 'formula' only the best 4 are cached"
        in capsys.readouterr().err
    )
