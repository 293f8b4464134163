"""Class maps from files."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcache.errors import ConfigError
from kdcache.teachers import class_map as module
from kdcache.teachers.class_map import ClassMap, read_class_map
from tests.support.source import ROOT

HEADER = "teacher_class,target_class\n"


def _written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _read(folder: Path, name: str, content: str | bytes) -> ClassMap:
    return read_class_map(_written(folder, name, content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.json", "[2, null, 0, 0]"),
        ("object.json", '{"3": 0, "0": 2, "2": 0}'),
        ("object-with-null.json", '{"0": 2, "1": null, "2": 0, "3": 0}'),
        ("whole.json", '{"num_classes": 3, "map": [2, null, 0, 0]}'),
        ("whole-object.json", '{"map": {"0": 2, "2": 0, "3": 0}}'),
        ("bom.json", b"\xef\xbb\xbf[2, null, 0, 0]"),
        ("plain.csv", HEADER + "0,2\n1,\n2,0\n3,0\n"),
        ("left-out.csv", HEADER + "3,0\n0,2\n2,0\n"),
        ("windows.CSV", b"\xef\xbb\xbf" + HEADER.encode().replace(b"\n", b"\r\n") + b"0,2\r\n2,0\r\n3,0\r\n"),
        ("named.csv", 'name,target_class,teacher_class\n"a, b", 2 ,0\n\nc,0,2\nd,0,3\n'),
    ],
)
def test_every_way_to_write_a_map_gives_the_same_map(tmp_path: Path, name: str, content: str | bytes) -> None:
    found = _read(tmp_path, name, content)
    assert (found.num_target, found.target_of) == (3, {0: 2, 2: 0, 3: 0})
    assert found.sha256 == ClassMap(3, {0: 2, 2: 0, 3: 0}).sha256


def test_only_a_list_says_how_many_classes_the_teacher_has(tmp_path: Path) -> None:
    assert _read(tmp_path, "a.json", "[2, null, 0, null]").num_source == 4
    assert _read(tmp_path, "b.json", '{"0": 2, "2": 0}').num_source is None
    assert _read(tmp_path, "c.csv", HEADER + "0,2\n2,0\n").num_source is None


def test_num_classes_makes_room_for_targets_that_nothing_is_mapped_to(tmp_path: Path) -> None:
    found = _read(tmp_path, "a.json", '{"num_classes": 10, "map": {"5": 1, "6": 3}}')
    assert found.num_target == 10
    assert found.sha256 != ClassMap(4, found.target_of).sha256


def test_the_digest_is_pinned() -> None:
    # It stands in the manifest of caches.
    assert ClassMap(3, {2: 0, 0: 2}).sha256 == (
        "3108d244d1ca02591b911bbafb46764789cd33d915e662ea9b0e1e43dbbbeeb7"
    )


@given(
    st.dictionaries(st.integers(0, 50), st.integers(0, 20), min_size=2).filter(
        lambda pairs: len(set(pairs.values())) > 1
    )
)
def test_a_map_survives_every_form(tmp_path_factory: pytest.TempPathFactory, pairs: dict[int, int]) -> None:
    folder = tmp_path_factory.mktemp("maps")
    as_list = [pairs.get(source) for source in range(51)]
    rows = "".join(f"{source},{target}\n" for source, target in pairs.items())
    for name, content in (
        ("list.json", json.dumps(as_list)),
        ("object.json", json.dumps(pairs)),
        ("rows.csv", HEADER + rows),
    ):
        found = _read(folder, name, content)
        assert (found.num_target, found.target_of) == (max(pairs.values()) + 1, pairs)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.json",
            "[0, -1]",
            r"a.json: entry 1: target class is '-1'; expected a whole number from 0 .* null",
        ),
        ("a.json", "[0, 1.0]", r"entry 1: target class is '1.0'"),
        ("a.json", "[0, true]", r"entry 1: target class is 'True'"),
        ("a.json", '[0, "1"]', r"entry 1: target class is '1'"),
        ("a.json", "[0, NaN]", r"entry 1: target class is 'nan'"),
        ("a.json", "[0, [1]]", r"entry 1: target class is '\[1\]'"),
        ("a.json", '{"0": 0, "x": 1}', r"key 'x': teacher class is 'x'"),
        ("a.json", '{"0": 0, "-1": 1}', r"key '-1': teacher class is '-1'"),
        ("a.json", '{"0": 0, "\u0661": 1}', r"teacher class is '\u0661'"),
        ("a.json", '{"1": 0, "1": 1}', r"the key '1' is there twice; each teacher class has one target"),
        ("a.json", '{"1": 0, "01": 1}', r"key '01': teacher class 1 is at key '1' already"),
        ("a.json", '{"num_classes": 2, "map": [0, 2]}', r"entry 1: target class is '2'; .* from 0 to 1"),
        (
            "a.json",
            '{"num_classes": 0, "map": [0, 1]}',
            r"num_classes is '0'; expected a whole number from 2 to",
        ),
        ("a.json", '{"num_classes": "9", "map": [0, 1]}', r"num_classes is '9'"),
        ("a.json", '{"num_classes": 99999999, "map": [0, 1]}', r"num_classes is '99999999'"),
        ("a.json", '{"num_classes": 2, "0": 1}', r"unknown key '0'; expected a list"),
        ("a.json", '{"num_classes": 2}', r"'num_classes' without 'map'"),
        ("a.json", '{"map": 3}', r"holds neither a list nor an object; expected a list"),
        ("a.json", "null", r"holds neither a list nor an object"),
        ("a.json", "[0, 1", r"a.json is not JSON: .*line 1 column"),
        ("a.json", "[" * 100_000, r"a.json is not JSON: "),
        ("a.json", "[]", r"it maps to 0 target classes; a teacher needs two at least"),
        ("a.json", "[null, null]", r"it maps to 0 target classes"),
        ("a.json", "[7, null, 7]", r"it maps to 1 target classes"),
        ("a.json", b"[\xff]", r"a.json is not UTF-8: .*save it as UTF-8"),
        ("a.csv", "", r"line 1: the columns are \[\]; expected the header teacher_class,target_class"),
        ("a.csv", "0,1\n", r"line 1: the columns are \['0', '1'\]"),
        ("a.csv", "teacher_class;target_class\n0;1\n", r"the columns are \['teacher_class;target_class'\]"),
        ("a.csv", "teacher_class,target_class,target_class\n", r"expected the header"),
        ("a.csv", HEADER + "0,1\n1\n", r"line 3: 1 columns; the header has 2"),
        ("a.csv", HEADER + "0,1\n,0\n", r"line 3: teacher class is ''"),
        ("a.csv", HEADER + "0,1\n1,-1\n", r"line 3: target class is '-1'; .* empty in CSV"),
        ("a.csv", HEADER + "0,1\n1,0.5\n", r"line 3: target class is '0.5'"),
        ("a.csv", HEADER + "0,1\n1,0\n0,\n", r"line 4: teacher class 0 is at line 2 already"),
        ("a.csv", HEADER + "0,16777216\n", r"line 2: target class is '16777216'"),
        ("a.csv", HEADER + "16777216,0\n", r"line 2: teacher class is '16777216'"),
        ("a.csv", HEADER + '0,"1\n', r"line 2 is not CSV: .*check its quotes"),
        ("a.csv", HEADER, r"it maps to 0 target classes"),
        ("a.txt", "0 1", r"a.txt: unknown suffix '.txt' of a class map, expected .json or .csv"),
    ],
)
def test_what_is_no_class_map_is_refused_with_its_place(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _read(tmp_path, name, content)


@pytest.mark.parametrize("name", ["missing.json", "missing.csv"])
def test_a_missing_file_is_a_wrong_setting(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; check --teacher-class-map"):
        read_class_map(tmp_path / name)


def test_a_file_that_cannot_be_a_map_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_BYTES", 1 << 20)
    with pytest.raises(ConfigError, match="more than 1 MiB; a line or entry per class is enough"):
        _read(tmp_path, "a.json", b" " * ((1 << 20) + 1))


def _shown(kind: str) -> list[Any]:
    page = (ROOT / "docs" / "class-maps.md").read_text(encoding="utf-8")
    return re.findall(rf"```{kind}\n(.*?)```", page, flags=re.DOTALL)


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_the_files_that_the_documentation_shows_are_maps(tmp_path: Path, kind: str) -> None:
    shown = _shown(kind)
    assert len(shown) > 1
    for content in shown:
        _read(tmp_path, f"shown.{kind}", content)
