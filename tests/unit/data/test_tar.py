"""The strict scan: what tarfile reads, and an error wherever tarfile would stop without a word."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcache.data.tar import Member, scan
from kdcache.errors import ShardError
from tests.support.broken_shards import BLOCK, header, header_starts, tar_bytes, without_padding

DIALECTS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
SMALL = [("a/0001.jpg", b"x" * 700), ("a/0001.cls", b"3"), ("a/0002.jpg", b"y" * 512)]
names = st.lists(
    st.text(st.characters(exclude_categories=["C"], exclude_characters="/"), min_size=1, max_size=70).filter(
        lambda part: part not in {".", ".."}
    ),
    min_size=1,
    max_size=5,
).map("/".join)


def found(data: bytes) -> list[tuple[str, bytes]]:
    return [(m.name, data[m.offset : m.offset + m.size]) for m in scan(data, where="t.tar")]


def before_error(data: bytes) -> tuple[list[Member], str | None]:
    members: list[Member] = []
    try:
        members.extend(scan(data, where="t.tar"))
    except ShardError as error:
        return members, str(error)
    return members, None


@pytest.mark.parametrize("dialect", DIALECTS)
def test_members_are_found_in_every_dialect(dialect: int) -> None:
    assert found(tar_bytes(SMALL, dialect=dialect)) == SMALL


@pytest.mark.parametrize("dialect", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@given(members=st.lists(st.tuples(names, st.binary(max_size=1100)), max_size=4))
def test_long_and_foreign_names_are_read_as_tarfile_reads_them(
    dialect: int, members: list[tuple[str, bytes]]
) -> None:
    data = tar_bytes(members, dialect=dialect)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [name for name, _ in found(data)] == tar.getnames()
    assert [body for _, body in found(data)] == [body for _, body in members]


def test_a_long_ustar_name_is_joined_from_its_prefix() -> None:
    name = "folder" * 20 + "/" + "0001.jpg"
    assert found(tar_bytes([(name, b"z")])) == [(name, b"z")]


def test_a_size_in_base_256_is_read() -> None:
    data = (
        header("a.jpg", size=b"\x80" + (5).to_bytes(11, "big")) + b"12345".ljust(BLOCK, b"\0") + bytes(1024)
    )
    assert found(data) == [("a.jpg", b"12345")]


def test_a_pax_size_goes_before_the_header_s() -> None:
    record = b"9 size=5\n"
    pax = header("PaxHeaders/a.jpg", size=b"%011o\0" % len(record), kind=b"x") + record.ljust(BLOCK, b"\0")
    assert found(pax + header("a.jpg") + b"12345".ljust(BLOCK, b"\0") + bytes(1024)) == [("a.jpg", b"12345")]


def test_directories_are_passed_over() -> None:
    data = header("a/", kind=b"5") + header("old/", kind=b"\0") + header("a/b.jpg") + bytes(1024)
    assert [name for name, _ in found(data)] == ["a/b.jpg"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_tar_cut_at_any_byte_is_refused(dialect: int) -> None:
    whole = without_padding(tar_bytes([*SMALL, ("b" * 120 + "/1.jpg", b"q")], dialect=dialect))
    complete = list(scan(whole, where="t.tar"))
    for size in range(len(whole)):
        members, message = before_error(whole[:size])
        assert message is not None, size
        assert members == complete[: len(members)]
        assert all(member.offset + member.size <= size for member in members)


def test_more_zeros_at_the_end_are_no_harm() -> None:
    data = tar_bytes(SMALL)
    assert found(data + bytes(3 * BLOCK)) == found(without_padding(data)) == SMALL


def test_an_unaligned_end_is_refused() -> None:
    with pytest.raises(ShardError, match=r"end marker is incomplete, so the file was cut here"):
        found(tar_bytes(SMALL)[:-1])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_flipped_bit_of_a_header_is_found_or_harmless(dialect: int) -> None:
    data = tar_bytes([("a/0001.jpg", b"x" * 30), ("a/0001.cls", b"3")], dialect=dialect)
    whole, passed = found(data), set()
    for start in header_starts(data):
        for bit in range(8 * BLOCK):
            broken = bytearray(data)
            broken[start + bit // 8] ^= 1 << bit % 8
            members, message = before_error(bytes(broken))
            if message is None:
                assert [(m.name, data[m.offset : m.offset + m.size]) for m in members] == whole
                passed.add(bit // 8)
    # What passes is the padding of the checksum field itself: a space for a zero byte, or the other way.
    assert passed <= set(range(148, 156))


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (b"1", "a hard link"),
        (b"2", "a symbolic link"),
        (b"S", "a sparse file"),
        (b"3", "a member of type b'3'"),
    ],
)
def test_what_is_no_plain_file_is_refused(kind: bytes, what: str) -> None:
    with pytest.raises(ShardError, match=rf"t\.tar: broken at byte 0: it holds {what}; fetch or pack"):
        found(header("a.jpg", kind=kind) + bytes(1024))


def test_a_pax_sparse_file_is_refused() -> None:
    record = b"22 GNU.sparse.major=1\n"
    pax = header("p", size=b"%011o\0" % len(record), kind=b"x") + record.ljust(BLOCK, b"\0")
    with pytest.raises(ShardError, match="sparse file"):
        found(pax + header("a.jpg") + bytes(1024))


@pytest.mark.parametrize("record", [b"x path=a\n", b"99 path=a\n", b"0 path=a\n", b"nothing"])
def test_a_damaged_pax_record_is_refused(record: bytes) -> None:
    pax = header("p", size=b"%011o\0" % len(record), kind=b"x") + record.ljust(BLOCK, b"\0")
    with pytest.raises(ShardError, match="extended header is damaged"):
        found(pax + header("a.jpg") + bytes(1024))


@pytest.mark.parametrize("size", [b"-0000000777\0", b"0000_000777\0", b"0000000o010\0", b"00000000008\0"])
def test_a_size_that_is_no_octal_number_is_refused(size: bytes) -> None:
    with pytest.raises(ShardError, match="for a number"):
        found(header("a.jpg", size=size) + bytes(2048))


@pytest.mark.parametrize("digits", [b"9" * 5000, b"-5", b"5 ", b"0x5"])
def test_a_pax_number_that_is_none_is_refused(digits: bytes) -> None:
    for record in (digits + b" path=a\n", b"%d size=%s\n" % (len(digits) + 10, digits)):
        pax = header("p", size=b"%011o\0" % len(record), kind=b"x")
        body = record + bytes(-len(record) % BLOCK)
        with pytest.raises(ShardError, match=r"t\.tar: broken at byte 0: an extended header"):
            found(pax + body + header("a.jpg") + bytes(1024))


@pytest.mark.parametrize("dialect", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_long_name_without_its_member_is_refused(dialect: int) -> None:
    data = tar_bytes([("a.jpg", b"x"), ("b" * 120 + ".jpg", b"y")], dialect=dialect)
    last = list(header_starts(data))[-1]
    with pytest.raises(ShardError, match="stands alone: its member is missing"):
        found(data[:last] + bytes(len(data) - last))


def test_a_download_that_is_zeros_from_some_member_on_is_refused() -> None:
    data = tar_bytes([*SMALL, ("a/0003.jpg", bytes(range(256)) * 8000)])
    third = list(header_starts(data))[3]
    with pytest.raises(
        ShardError, match=r"2,\d+,\d+ bytes follow the end marker, so a part is not there yet"
    ):
        found(data[:third] + bytes(len(data) - third))


def test_data_after_a_zeroed_header_is_not_lost_in_silence() -> None:
    data = bytearray(tar_bytes(SMALL))
    second = list(header_starts(bytes(data)))[1]
    data[second : second + BLOCK] = bytes(BLOCK)
    with pytest.raises(ShardError, match=r"broken at byte 1,536: more data follows the end marker"):
        found(bytes(data))


def test_a_name_that_is_not_utf8_is_refused() -> None:
    block = bytearray(header("a.jpg"))
    block[0] = 0xFF
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(ShardError, match="is not UTF-8"):
        found(bytes(block) + bytes(1024))
