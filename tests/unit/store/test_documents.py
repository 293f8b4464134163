"""JSON documents are read with a limit and refused with a reason."""

from pathlib import Path

import pytest

from kdcache.errors import CorruptChunkError, StoreError
from kdcache.store.documents import pretty_json, read_document, read_limited
from kdcache.store.objects import LocalObjects


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "is not a JSON document"),
        (b"\xff\xfe{}", "is not a JSON document"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
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
