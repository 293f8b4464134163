"""Commit records are sealed; the content id covers data and identity only."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcache.errors import CorruptChunkError
from kdcache.store.commits import (
    CommitRecord,
    ObjectDigest,
    content_id,
    dump_index,
    dump_record,
    load_index,
    load_record,
)
from tests.support.stores import make_manifest

ENTRY = ObjectDigest(path="samples/key/c/0", size=3, sha256="ab" * 32)
RECORD = CommitRecord(unit="samples/0", objects=(ENTRY,), rows=7, failures={"undecodable": 1}, seconds=0.125)


def test_a_record_survives_its_bytes() -> None:
    assert load_record(dump_record(RECORD), where="x") == RECORD
    assert RECORD.num_bytes == 3


@given(st.data())
def test_every_flipped_bit_of_a_record_is_found(data: st.DataObject) -> None:
    text = bytearray(dump_record(RECORD))
    bit = data.draw(st.integers(0, 8 * len(text) - 1))
    text[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptChunkError, match="the commit record x is damaged"):
        load_record(bytes(text), where="x")


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"null", b'{"record":{},"sha256":""}', b"[" * 100_000])
def test_what_is_not_a_record_is_refused(text: bytes) -> None:
    with pytest.raises(CorruptChunkError, match="the commit record x is damaged"):
        load_record(text, where="x")


def test_a_well_sealed_record_with_wrong_fields_is_refused() -> None:
    body = {"unit": "samples/0", "objects": [], "rows": -1}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    text = json.dumps({"record": body, "sha256": digest}, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(CorruptChunkError, match=r"rows: .*greater than or equal to 0"):
        load_record(text, where="x")


def test_the_index_holds_records_sorted_by_unit() -> None:
    other = RECORD.model_copy(update={"unit": "cnn/0-0"})
    assert load_index(dump_index([RECORD, other]), where="x") == (other, RECORD)


def test_an_index_that_is_no_list_is_refused() -> None:
    digest = hashlib.sha256(b"{}").hexdigest()
    with pytest.raises(CorruptChunkError, match="not a list"):
        load_index(f'{{"records":{{}},"sha256":"{digest}"}}'.encode(), where="x")


def test_the_content_id_is_the_documented_sum() -> None:
    identity = make_manifest().identity
    other = ENTRY.model_copy(update={"path": "a"})
    value: dict[str, Any] = {
        "identity": identity.canonical(),
        "objects": [["a", 3, "ab" * 32], ["samples/key/c/0", 3, "ab" * 32]],
    }
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert content_id(identity, [ENTRY, other]) == "sha256:" + hashlib.sha256(text.encode()).hexdigest()
