"""Seeds and policies as people type them."""

from pathlib import Path

import pytest

from kdcache.config.views import ViewPolicy
from kdcache.errors import ConfigError
from kdcache.report.view_inputs import parse_seeds, read_policy


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-5", (0, 1, 2, 3, 4, 5)), ("3", (3,)), ("1, 4-5,4", (1, 4, 5)), ("7-7", (7,))]
)
def test_seeds_are_numbers_and_ranges(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "5-3", "1-", "-1", "1;2", "99999999"])
def test_other_seeds_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="as in 0-5 or 0,2,8-11"):
        parse_seeds(text)


def test_a_preset_is_known_by_its_name() -> None:
    assert read_policy("deit", size=192) == ViewPolicy.named("deit", size=192)


def test_a_wrong_preset_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'light'"):
        read_policy("lite")


@pytest.mark.parametrize(
    "text", ["preset: rrc\nsize: 64\n", "policy: {preset: rrc, size: 64}\nviews: 3\n", "policy: rrc\n"]
)
def test_a_file_holds_a_policy_or_the_settings_of_a_run(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    assert read_policy(str(path), size=64) == ViewPolicy.named("rrc", size=64)


def test_a_wrong_field_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("preset: rrc\nflipp: 1\n")
    with pytest.raises(ConfigError, match=r"p.yaml: unknown field 'flipp'; did you mean 'flip'"):
        read_policy(str(path))


def test_a_section_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("policy: [1, 2]\n")
    with pytest.raises(ConfigError, match="expected a preset's name or a mapping"):
        read_policy(str(path))
