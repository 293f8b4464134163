"""A strict scan of tar headers: every member is found, or an error says why not.

Python's ``tarfile`` (and so webdataset) takes a damaged header for the end of the archive and loses all
that follows in silence. Here header sums, block alignment and the end marker are checked. Directories are
passed over; links, sparse files and devices are refused, because their bytes are not where the header is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kdcache.errors import ShardError

__all__ = ["Member", "scan"]

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_LARGEST_EXTENSION = 1 << 20
_LONGEST_END = 1 << 20
_LONGEST_NUMBER = 20
_FILES, _SKIPPED, _LONG_NAMES = (b"0", b"\0", b"7"), (b"5", b"g"), (b"L", b"x")
_REFUSED = {b"1": "a hard link", b"2": "a symbolic link", b"K": "a symbolic link", b"S": "a sparse file"}


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a tar: its name, and where its bytes are."""

    name: str
    offset: int
    size: int


@dataclass(slots=True)
class _Extension:
    """What an extended header says of the member after it."""

    name: str | None = None
    size: int | None = None


def scan(data: Any, *, where: str) -> Iterator[Member]:
    """Yield the files of a tar in order; ``data`` is its bytes or a memory map of them.

    Raises:
        ShardError: a header is damaged, a member is cut off, the end marker is missing, or a member is no
            plain file. Every member before it has been yielded.
    """
    position, extension = 0, _Extension()
    while (header := bytes(data[position : position + _BLOCK])) != _ZEROS:
        _check_header(header, position, where=where)
        kind, start = header[156:157], position + _BLOCK
        size = _number(header[124:136], position, where=where)
        if extension.size is not None and kind in _FILES:
            size = extension.size
        if start + size > len(data):
            raise _broken(
                where, position, f"its member of {size:,} bytes is cut off after {len(data) - start:,}"
            )
        if kind in _LONG_NAMES:
            _extend(
                extension, kind, bytes(data[start : start + min(size, _LARGEST_EXTENSION)]), where, position
            )
        elif kind in _FILES:
            name = extension.name or _short_name(header, position, where=where)
            if not name.endswith("/"):  # so that tar's oldest dialect names a directory
                yield Member(name, start, size)
            extension = _Extension()
        elif kind in _SKIPPED:
            extension = _Extension() if kind == b"5" else extension
        else:
            raise _broken(where, position, f"it holds {_REFUSED.get(kind, f'a member of type {kind!r}')}")
        position = start + -(-size // _BLOCK) * _BLOCK
    _check_end(data, position, extension, where=where)


def _check_header(header: bytes, position: int, *, where: str) -> None:
    if len(header) < _BLOCK:
        raise _broken(where, position, "the end marker is missing, so the file was cut here")
    stored = _number(header[148:156], position, where=where)
    if stored != sum(header) - sum(header[148:156]) + 8 * ord(" "):
        raise _broken(where, position, "the header's checksum is wrong")


def _check_end(data: Any, position: int, extension: _Extension, *, where: str) -> None:
    """The end is two zero blocks, and then zeros up to a full record; a long hole is a download under way."""
    if extension != _Extension():
        raise _broken(where, position, "an extended header stands alone: its member is missing")
    rest = len(data) - position
    if rest < 2 * _BLOCK or len(data) % _BLOCK:
        raise _broken(where, position, "the end marker is incomplete, so the file was cut here")
    if bytes(data[position : position + _LONGEST_END]).strip(b"\0"):
        raise _broken(where, position, "more data follows the end marker")
    if rest > _LONGEST_END:
        raise _broken(where, position, f"{rest:,} bytes follow the end marker, so a part is not there yet")


def _number(field: bytes, position: int, *, where: str) -> int:
    """Read an octal number, or GNU's base 256 for large ones."""
    if field[0] & 0x80:
        return int.from_bytes(field, "big") - (0x80 << (8 * (len(field) - 1)))
    digits = field.strip(b" \0") or b"0"
    if digits.strip(b"01234567"):  # int() would take a sign or an underscore, too
        raise _broken(where, position, f"the header holds {field!r} for a number")
    return int(digits, 8)


def _short_name(header: bytes, position: int, *, where: str) -> str:
    name, prefix = header[:100].split(b"\0", 1)[0], header[345:500].split(b"\0", 1)[0]
    has_prefix = header[257:262] == b"ustar" and header[257:265] != b"ustar  \0" and prefix
    return _text(prefix + b"/" + name if has_prefix else name, position, where=where)


def _extend(extension: _Extension, kind: bytes, body: bytes, where: str, position: int) -> None:
    if kind == b"L":
        extension.name = _text(body.rstrip(b"\0"), position, where=where)
        return
    while body.strip(b"\0"):
        length, _, _ = body.partition(b" ")
        if not _is_number(length) or not 0 < int(length) <= len(body):
            raise _broken(where, position, "an extended header is damaged")
        name, _, value = body[len(length) + 1 : int(length) - 1].partition(b"=")
        if name == b"path":
            extension.name = _text(value, position, where=where)
        elif name == b"size":
            if not _is_number(value):
                raise _broken(where, position, f"an extended header holds {value!r} for a size")
            extension.size = int(value)
        elif name.startswith(b"GNU.sparse"):
            raise _broken(where, position, "it holds a sparse file")
        body = body[int(length) :]


def _is_number(digits: bytes) -> bool:
    return digits.isdigit() and len(digits) <= _LONGEST_NUMBER  # int() refuses to read thousands of digits


def _text(name: bytes, position: int, *, where: str) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _broken(where, position, f"the name {name!r} is not UTF-8") from error


def _broken(where: str, position: int, what: str) -> ShardError:
    return ShardError(
        f"{where}: broken at byte {position:,}: {what}; fetch or pack the shard again (plain files, tar format)"
    )
