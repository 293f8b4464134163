"""Commit records are sealed; the content id covers data and identity only."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcache.digest import canonical_json, json_sha256
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "../a"}, "'../a' cannot name an object"),
        ({"objects": [{"path": "/etc/passwd", "size": 1, "sha256": "0" * 64}]}, "'/etc/passwd' cannot name"),
        ({"objects": [ENTRY.model_dump()] * 9}, "objects: .*at most 8 items"),
        ({"failures": {str(n): 1 for n in range(65)}}, "failures: .*at most 64 items"),
        ({"failures": {"a\x1b": -1}}, r"failures\.a\\x1b: .*greater than or equal to 0"),
        ({"rows": 1 << 60}, "rows: .*less than"),
    ],
)
def test_a_well_sealed_record_beyond_its_limits_is_refused(change: dict[str, Any], message: str) -> None:
    body = RECORD.model_dump(mode="json") | change
    text = canonical_json({"record": body, "sha256": json_sha256(body)})
    with pytest.raises(CorruptChunkError, match=message):
        load_record(text, where="x")


def test_an_index_names_each_unit_once_and_in_order() -> None:
    other = RECORD.model_copy(update={"unit": "cnn/0-0"})
    for records in ([RECORD, other], [RECORD, RECORD]):
        bodies = [record.model_dump(mode="json") for record in records]
        with pytest.raises(CorruptChunkError, match="its records are not sorted"):
            load_index(canonical_json({"records": bodies, "sha256": json_sha256(bodies)}), where="x")


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
