"""Class maps: which class of the cache each class of a teacher's network counts for.

docs/class-maps.md describes the files.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from kdcache.digest import json_sha256
from kdcache.errors import ConfigError

__all__ = ["ClassMap", "read_class_map"]

_MAX_CLASSES: Final = 1 << 24
_MAX_BYTES: Final = 32 << 20
_COLUMNS: Final = ("teacher_class", "target_class")
_FIELDS: Final = {"map", "num_classes"}
_FORMS: Final = (
    'a list (the place is the teacher class), {"teacher class": target class, ...}, or {"num_classes": N, "map": '
    "one of these}"
)


@dataclass(frozen=True, slots=True)
class ClassMap:
    """Where each class of a network goes.

    Attributes:
        num_target: classes afterwards; those that nothing is mapped to get -inf.
        target_of: network's class -> class afterwards; a class that is missing here is dropped.
        num_source: classes of the network, where the file says so (a list does, by its length).
        where: the file, for messages.
    """

    num_target: int
    target_of: Mapping[int, int]
    num_source: int | None = None
    where: str = field(default="the class map", compare=False)

    @property
    def sha256(self) -> str:
        """The digest of what the map does; equal for equal maps, however they were written.

        >>> ClassMap(3, {4: 0, 1: 2}).sha256 == ClassMap(3, {1: 2, 4: 0}, num_source=9).sha256
        True
        """
        return json_sha256({"num_target": self.num_target, "pairs": sorted(self.target_of.items())})


class _Entry(NamedTuple):
    """One line of a file: values are whatever stood there; a target of None drops the class."""

    place: str
    source: Any
    target: Any


def read_class_map(path: Path) -> ClassMap:
    """Read a class map from a .json or .csv file.

    Raises:
        ConfigError: the file cannot be read or is no class map; the message names the line or the key.
    """
    if path.suffix.lower() == ".csv":
        return _class_map(path, _csv_entries(path, _text(path)))
    if path.suffix.lower() == ".json":
        return _from_json(path, _json(path, _text(path)))
    raise ConfigError(f"{path}: unknown suffix {path.suffix!r} of a class map, expected .json or .csv")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read the class map {path}: {error.strerror}; check --teacher-class-map"
        ) from error
    if len(data) > _MAX_BYTES:
        _refuse(path, f"more than {_MAX_BYTES >> 20} MiB", "a line or entry per class is enough")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error}; save it as UTF-8") from error


def _json(path: Path, text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                _refuse(path, f"the key {key[:40]!r} is there twice", "each teacher class has one target")
            found[key] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}; expected {_FORMS}") from error


def _from_json(path: Path, value: Any) -> ClassMap:
    num_classes = None
    if isinstance(value, dict) and _FIELDS & value.keys():
        value, num_classes = _unwrapped(path, value)
    if isinstance(value, list):
        entries = (_Entry(f"entry {n}", n, target) for n, target in enumerate(value))
        return _class_map(path, entries, num_classes=num_classes, num_source=len(value))
    if isinstance(value, dict):
        entries = (_Entry(f"key {key[:40]!r}", _read_digits(key), target) for key, target in value.items())
        return _class_map(path, entries, num_classes=num_classes)
    raise ConfigError(f"{path} holds neither a list nor an object; expected {_FORMS}")


def _unwrapped(path: Path, value: dict[str, Any]) -> tuple[Any, int | None]:
    unknown = sorted(value.keys() - _FIELDS)
    if unknown or "map" not in value:
        problem = f"unknown key {unknown[0][:40]!r}" if unknown else "'num_classes' without 'map'"
        _refuse(path, problem, f"expected {_FORMS}")
    if value.get("num_classes") is None:
        return value["map"], None
    return value["map"], _number(path, "num_classes", value["num_classes"], smallest=2, largest=_MAX_CLASSES)


def _csv_entries(path: Path, text: str) -> Iterator[_Entry]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        if any(header.count(name) != 1 for name in _COLUMNS):
            _refuse(
                path, f"line 1: the columns are {header[:6]}", f"expected the header {','.join(_COLUMNS)}"
            )
        source, target = (header.index(name) for name in _COLUMNS)
        for row in rows:
            if not row:
                continue
            if len(row) <= max(source, target):
                _refuse(path, f"line {rows.line_num}: {len(row)} columns", f"the header has {len(header)}")
            is_dropped = not row[target].strip()
            found = None if is_dropped else _read_digits(row[target])
            yield _Entry(f"line {rows.line_num}", _read_digits(row[source]), found)
    except csv.Error as error:
        raise ConfigError(f"{path}: line {rows.line_num} is not CSV: {error}; check its quotes") from error


def _class_map(
    path: Path, entries: Iterable[_Entry], *, num_classes: int | None = None, num_source: int | None = None
) -> ClassMap:
    target_of: dict[int, int] = {}
    first_place: dict[int, str] = {}
    limit = num_classes or _MAX_CLASSES
    for entry in entries:
        source = _number(path, f"{entry.place}: teacher class", entry.source, largest=_MAX_CLASSES - 1)
        if source in first_place:
            problem = f"{entry.place}: teacher class {source} is at {first_place[source]} already"
            _refuse(path, problem, "each teacher class has one target")
        first_place[source] = entry.place
        if entry.target is not None:
            target_of[source] = _number(path, f"{entry.place}: target class", entry.target, largest=limit - 1)
    num_used = len(set(target_of.values()))
    if num_used < 2:
        _refuse(path, f"it maps to {num_used} target classes", "a teacher needs two at least")
    num_target = num_classes or max(target_of.values()) + 1
    return ClassMap(num_target, target_of, num_source, where=f"the class map {path}")


def _number(path: Path, what: str, value: Any, *, largest: int, smallest: int = 0) -> int:
    """Return a whole number in [smallest, largest]; neither true nor 3.0 is one."""
    if type(value) is not int or not smallest <= value <= largest:
        remedy = f"expected a whole number from {smallest} to {largest} (to drop a class: null, empty in CSV)"
        _refuse(path, f"{what} is {str(value)[:40]!r}", remedy)
    return value


def _read_digits(text: str) -> int | str:
    """Return the number that plain decimal digits spell, else the text."""
    text = text.strip()
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else text


def _refuse(path: Path, problem: str, remedy: str) -> NoReturn:
    raise ConfigError(f"{path}: {problem}; {remedy}")
