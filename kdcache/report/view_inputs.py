"""What people type to say which views they want to see."""

import re
from pathlib import Path

from kdcache.config.base import read_yaml
from kdcache.config.views import ViewPolicy
from kdcache.errors import ConfigError

__all__ = ["parse_seeds", "read_policy"]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return augmentation seeds written as numbers and ranges.

    >>> parse_seeds("0-3,8")
    (0, 1, 2, 3, 8)

    Raises:
        ConfigError: it is written otherwise, or a range runs backwards.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,7})(?:\s*-\s*(\d{1,7}))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise ConfigError(f"--seeds {text!r}: expected numbers and rising ranges, as in 0-5 or 0,2,8-11")
        seeds.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(dict.fromkeys(seeds))


def read_policy(source: str, *, size: int | None = None) -> ViewPolicy:
    """Return a view policy by the name of its preset, or from a YAML file.

    The file holds the policy's fields, or the settings of a run with a ``policy`` section.

    Raises:
        ConfigError: there is no such preset or file, or a field does not fit.
    """
    is_file = source.endswith((".yaml", ".yml"))
    fields = _fields_in(Path(source)) if is_file else {"preset": source}
    if not is_file:
        ViewPolicy.named(source)
    return ViewPolicy.parse(
        fields | ({} if size is None else {"size": size}),
        where=source if is_file else f"view policy {source!r}",
    )


def _fields_in(path: Path) -> dict[str, object]:
    fields = read_yaml(path)
    section = fields.get("policy", fields)
    if isinstance(section, str):
        return {"preset": section}
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: policy is {section!r}, expected a preset's name or a mapping of fields")
    return dict(section)
