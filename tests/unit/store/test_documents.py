"""JSON documents are read with a limit and refused with a reason."""

import json
from pathlib import Path

import pytest

from kdcache.errors import CorruptChunkError, StoreError
from kdcache.store.documents import is_readable, parsed_json, pretty_json, read_document, read_limited
from kdcache.store.objects import LocalObjects


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "is not a JSON document"),
        (b"\xff\xfe{}", "is not a JSON document"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 40 + b"]" * 40, "nested too deeply"),
        (b'{"a": 1, "a": 1}', "the field 'a' is there twice"),
        (b'[{"b": {"a": 1, "b": 2, "a": 3}}]', "the field 'a' is there twice"),
        (b"{" + b",".join(b'"%d":0' % n for n in range(5000)) + b"}", "an object has 5,000 fields"),
        (b"9" * 5000, "Exceeds the limit"),
    ],
)
def test_what_is_not_json_is_refused(tmp_path: Path, text: bytes, reason: str) -> None:
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(CorruptChunkError, match=rf"a\.json in .*{reason}"):
        read_document(LocalObjects(tmp_path), "a.json", limit=1 << 20)


def test_a_document_above_its_limit_is_not_even_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b" " * 11)
    with pytest.raises(StoreError, match="has 11 bytes, but such a document has at most 10"):
        read_limited(LocalObjects(tmp_path), "a.json", limit=10)


def test_pretty_json_can_be_read_by_people_and_again(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(pretty_json({"b": 1, "a": ["é"]}))
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1,\n  "a": [\n    "é"\n  ]\n}\n'
    assert read_document(LocalObjects(tmp_path), "a.json", limit=100) == {"b": 1, "a": ["é"]}


def test_a_text_of_very_many_values_is_not_parsed() -> None:
    text = b"[" + b"[]," * 2_000_000 + b"0]"
    assert not is_readable(text, limit=1 << 30)
    with pytest.raises(ValueError, match="it has too many values"):
        parsed_json(text)


@pytest.mark.parametrize("text", [b"1", b'"a"', b"null", b"[]", b"{}", b"[[1, {}]]"])
def test_any_shallow_value_is_parsed(text: bytes) -> None:
    assert is_readable(text, limit=100)
    assert parsed_json(text) == json.loads(text)
