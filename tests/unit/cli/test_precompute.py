"""How flags are laid over a file."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kdcache.config.precompute import PrecomputeConfig
from kdcache_cli.precompute import command


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[PrecomputeConfig]:
    """Return the settings of the runs that were asked for, none of which runs."""
    configs: list[PrecomputeConfig] = []

    class Report:
        def summary(self) -> str:
            return "done"

        def to_json(self) -> dict[str, Any]:
            return {"units": 3}

    def run(config: PrecomputeConfig, **_options: Any) -> Report:
        configs.append(config)
        return Report()

    monkeypatch.setattr("kdcache.precompute.precompute", run)
    return configs


def _invoke(*words: str) -> Result:
    result = CliRunner().invoke(command, ["a.tar", "--cache", "c.zarr", *words])
    assert result.exit_code == 0, result.output
    return result


def test_the_shortest_command_has_all_defaults(seen: list[PrecomputeConfig]) -> None:
    assert _invoke("--teacher", "resnet50").output == "done\n"
    assert seen == [
        PrecomputeConfig.parse({"shards": ["a.tar"], "cache": "c.zarr", "teachers": "resnet50"}, where="")
    ]


def test_the_report_may_be_json(seen: list[PrecomputeConfig]) -> None:
    assert '"units": 3' in _invoke("--teacher", "resnet50", "--json").output


FOR_TEACHERS = """
--teacher cnn=resnet50 --teacher a.b:net --teacher-checkpoint - --teacher-checkpoint w.pth
--teacher-kwargs num_classes=10 --precision bfloat16 --top-k 5 --encoding gap8
--teacher-mean 0 0 0 --teacher-std 1 1 1 --teacher-size 32
"""


def test_flags_of_teachers_go_to_every_teacher(seen: list[PrecomputeConfig]) -> None:
    _invoke(*FOR_TEACHERS.split())
    first, second = seen[0].teachers
    assert (first.name, first.model, first.checkpoint) == ("cnn", "resnet50", None)
    assert (second.name, second.model, second.checkpoint) == (None, "a.b:net", Path("w.pth"))
    for teacher in (first, second):
        assert teacher.kwargs == {"num_classes": 10}
        assert (teacher.precision, teacher.top_k, teacher.encoding) == ("bfloat16", 5, "gap8")
        assert (teacher.mean, teacher.std, teacher.size) == ((0, 0, 0), (1, 1, 1), 32)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Return a file of settings."""
    path = tmp_path / "p.yaml"
    path.write_text(
        "teachers:\n- {model: resnet18, kwargs: {a: 1}}\nviews: 6\npolicy: {preset: light, size: 28}\n",
        encoding="utf-8",
    )
    return str(path)


def test_a_file_may_say_everything(seen: list[PrecomputeConfig], file: str) -> None:
    _invoke("--config", file)
    assert seen[0].teachers[0].model == "resnet18"
    assert (seen[0].views, seen[0].policy.preset, seen[0].policy.size) == (6, "light", 28)


def test_flags_override_the_file(seen: list[PrecomputeConfig], file: str) -> None:
    _invoke(
        "--config", file, "--views", "4", "--size", "32", "--teacher-kwargs", "b=2", "--skip-teacher-check"
    )
    assert (seen[0].views, seen[0].policy.preset, seen[0].policy.size) == (4, "light", 32)
    assert seen[0].teachers[0].kwargs == {"a": 1, "b": 2}
    assert not seen[0].teacher_check


def test_another_preset_replaces_the_file_s_policy(seen: list[PrecomputeConfig], file: str) -> None:
    _invoke("--config", file, "--policy", "rrc", "--teacher", "resnet50")
    assert (seen[0].policy.preset, seen[0].policy.size) == ("rrc", 224)
    assert [teacher.model for teacher in seen[0].teachers] == ["resnet50"]


def test_a_size_alone_is_of_the_default_policy(seen: list[PrecomputeConfig]) -> None:
    _invoke("--teacher", "resnet50", "--size", "64")
    assert (seen[0].policy.preset, seen[0].policy.size) == ("rrc", 64)


def test_features_may_be_asked_of_all_teachers_or_of_one(
    seen: list[PrecomputeConfig], tmp_path: Path
) -> None:
    _invoke("--teacher", "a=resnet50", "--teacher", "b=resnet18", "--store-features")
    listed = tmp_path / "c.yaml"
    listed.write_text("teachers: [{model: resnet50, features: true}, resnet18]\n", encoding="utf-8")
    _invoke("--config", str(listed))
    _invoke("--config", str(listed), "--store-features")
    asked = [[teacher.features for teacher in config.teachers] for config in seen]
    assert asked == [[True, True], [True, False], [True, True]]
