"""The base of every settings class: frozen, strict, and clear about what is wrong."""

import difflib
import reprlib
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from kdcache.errors import ConfigError

__all__ = ["Settings", "read_yaml"]

_NAMED_PROBLEMS = 8
_LONGEST_NAME = 200
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _LONGEST_NAME


class Settings(BaseModel):
    """Frozen settings; unknown fields are refused with the nearest known name."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())

    @classmethod
    def parse(cls, values: Any, *, where: str) -> Self:
        """Check ``values`` (a mapping, as read from YAML or flags).

        Raises:
            ConfigError: naming ``where``, each wrong field, what was given and the nearest known field.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{where}: {_explain(cls, error)}") from error

    @classmethod
    def from_yaml(cls, path: Path) -> Self:
        """Read settings from a YAML file.

        Raises:
            ConfigError: the file is missing, is not YAML, or holds a wrong field.
        """
        return cls.parse(read_yaml(path), where=str(path))

    def to_yaml(self) -> str:
        """Return every field as YAML that ``from_yaml`` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; an empty file is an empty one.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or holds something else.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; check the path") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict | None):
        raise ConfigError(f"{path} holds a {type(values).__name__}, expected settings as 'name: value' lines")
    return values or {}


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    entries = error.errors(include_url=False)
    texts = [_explain_one(model, dict(entry)) for entry in entries[:_NAMED_PROBLEMS]]
    more = len(entries) - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more else "")


def _explain_one(model: type[BaseModel], entry: dict[str, Any]) -> str:
    # Whoever made the file chose its names: they are shown as text, and only so much of them.
    location = [repr(str(part)[:_LONGEST_NAME])[1:-1] for part in entry["loc"]]
    field = ".".join(location)
    if entry["type"] == "value_error":
        return f"{field}: {entry['ctx']['error']}" if field else str(entry["ctx"]["error"])
    if entry["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _field_names(model), n=1)
        return f"unknown field {field!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    return f"{field}: {entry['msg']} (got {_SHORT.repr(entry['input'])})"


def _field_names(model: type[BaseModel]) -> list[str]:
    """Return the names of this model's fields and of the settings nested in it."""
    names = list(model.model_fields)
    for field in model.model_fields.values():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                names.extend(_field_names(part))
    return names
