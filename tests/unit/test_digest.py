"""Digests are part of format 1: these values must never change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcache.digest import (
    canonical_json,
    json_sha256,
    sample_digest,
    sha256_hex,
    shard_digest,
    weights_sha256,
)


def test_sample_digest_is_xxh3_64_of_the_bytes() -> None:
    assert [sample_digest(data) for data in (b"", b"kdcache", bytes(1000))] == [
        0x2D06800538D394C2,
        0x5893F1AA2D80E428,
        0x24C1EA6074DD588C,
    ]


def test_sha256_hex_is_the_hexadecimal_sha256() -> None:
    assert sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_canonical_json_sorts_keys_and_writes_utf8() -> None:
    assert canonical_json({"é": 1, "b": [True, None, 0.1]}) == '{"b":[true,null,0.1],"é":1}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_canonical_json_refuses_what_json_has_not(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": value})


@given(st.dictionaries(st.text(max_size=5), st.integers(), max_size=5))
def test_json_sha256_does_not_depend_on_the_order_of_keys(value: dict[str, int]) -> None:
    assert json_sha256(dict(reversed(value.items()))) == json_sha256(value)


def test_shard_digest_is_pinned() -> None:
    members = [("000000", "jpg", 1234), ("000000", "cls", 1), ("000001", "png", 99)]
    assert shard_digest(members) == sha256_hex(
        b"000000\0jpg\x001234\n" + b"000000\0cls\x001\n" + b"000001\0png\x0099\n"
    )


def test_shard_digest_depends_on_the_order_of_members() -> None:
    members = [("a", "jpg", 1), ("b", "jpg", 1)]
    assert shard_digest(members) != shard_digest(members[::-1])


def test_weights_sha256_does_not_depend_on_the_order_of_tensors() -> None:
    entries = [("w", "float32", (2,), bytes(8)), ("b", "bfloat16", (1,), b"\1\2")]
    assert weights_sha256(entries) == weights_sha256(entries[::-1])


@pytest.mark.parametrize(
    "other",
    [
        ("v", "float32", (2,), bytes(8)),
        ("w", "int32", (2,), bytes(8)),
        ("w", "float32", (1, 2), bytes(8)),
        ("w", "float32", (2,), bytes(7) + b"\1"),
    ],
)
def test_weights_sha256_covers_name_dtype_shape_and_bytes(
    other: tuple[str, str, tuple[int, ...], bytes],
) -> None:
    assert weights_sha256([("w", "float32", (2,), bytes(8))]) != weights_sha256([other])
