from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from kdcache.config.base import Settings
from kdcache.errors import ConfigError


class Inner(Settings):
    """Nested settings."""

    strength: float = Field(default=0.5, ge=0.0)


class Outer(Settings):
    """Settings with a section."""

    name: str = "a"
    count: int = 3
    inner: Inner | None = None


def message_of(values: object) -> str:
    with pytest.raises(ConfigError) as error:
        Outer.parse(values, where="recipe.yaml")
    return str(error.value)


def test_settings_survive_yaml(tmp_path: Path) -> None:
    settings = Outer(name="bü", inner=Inner(strength=2.0))
    (tmp_path / "a.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    assert Outer.from_yaml(tmp_path / "a.yaml") == settings


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("", encoding="utf-8")
    assert Outer.from_yaml(tmp_path / "a.yaml") == Outer()


def test_an_unknown_field_is_refused_with_the_nearest_name() -> None:
    assert message_of({"cuont": 1}) == "recipe.yaml: unknown field 'cuont'; did you mean 'count'?"
    expected = "recipe.yaml: unknown field 'inner.strenth'; did you mean 'strength'?"
    assert message_of({"inner": {"strenth": 1}}) == expected
    assert message_of({"zzzz": 1}) == "recipe.yaml: unknown field 'zzzz'"


def test_a_wrong_value_is_named_with_what_was_given() -> None:
    assert "inner.strength: Input should be greater than or equal to 0 (got -1)" in message_of(
        {"inner": {"strength": -1}}
    )


def test_several_mistakes_are_told_at_once() -> None:
    message = message_of({"count": "x", "nmae": "b"})
    assert "count: " in message
    assert "did you mean 'name'?" in message


def test_a_message_stays_short_and_plain_whatever_was_given() -> None:
    message = message_of({"\x1b[2J" * 1000: 1, "count": "x" * 1_000_000, **{f"n{i}": 0 for i in range(100)}})
    assert len(message) < 3000
    assert message.endswith("and 94 more")
    assert "\x1b" not in message


def test_settings_that_are_no_mapping_are_refused() -> None:
    assert message_of([1, 2]).startswith("recipe.yaml: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.yaml: No such file"):
        Outer.from_yaml(tmp_path / "none.yaml")


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [1", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a\.yaml is not YAML"):
        Outer.from_yaml(tmp_path / "a.yaml")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Outer().count = 4  # type: ignore[misc]
