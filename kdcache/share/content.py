"""The bytes of what is copied: none is given to anybody before it was found right."""

from kdcache.digest import sha256_hex
from kdcache.share.plan import Item
from kdcache.share.source import Source, damaged

__all__ = ["content_of"]

_ATTEMPTS = 2
"""Once more where a checksum fails: it may have been the network."""


def content_of(source: Source, item: Item) -> bytes:
    """Return the bytes of an object; a data object is read and compared with its commit record.

    Raises:
        CorruptChunkError: it is damaged or missing; it is named.
    """
    return _read(source, item) if item.content is None else item.content


def _read(source: Source, item: Item) -> bytes:
    objects = source.objects
    for _ in range(_ATTEMPTS):
        try:
            data = (
                objects.get(item.path)
                if item.path in source.sizes
                # Never more than one byte too much, which is enough to tell.
                else objects.get_range(item.path, 0, item.size + 1)
            )
        except FileNotFoundError as error:
            raise damaged(objects, item.path, "it is committed, but missing") from error
        if len(data) == item.size and sha256_hex(data) == item.sha256:
            return data
    if len(data) != item.size:
        raise damaged(objects, item.path, "it has not the size that its commit record says")
    raise damaged(objects, item.path, "its sha256 is not the one in its commit record")
