"""Samples of a pipeline that is not ours: what they hold, and where they say that they come from."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import braceexpand

from kdcache.data.samples import IMAGE_EXTS, LABEL_EXT
from kdcache.errors import ConfigError, ShardError
from kdcache.store.addresses import public_url

__all__ = ["encoded_image", "expand_urls", "label_text", "refuse_pipe", "shard_name"]


def expand_urls(patterns: str | Sequence[str]) -> list[str]:
    """Expand braces as webdataset does; whether there is anything at the URLs is its business.

    >>> expand_urls("train-{000..002}.tar")
    ['train-000.tar', 'train-001.tar', 'train-002.tar']
    """
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return [url for pattern in patterns for url in braceexpand.braceexpand(pattern)]


def shard_name(url: str) -> str:
    """Return the file name of a shard, by which caches know it.

    >>> shard_name("https://host/data/train-000.tar?version=2"), shard_name("pipe:cat data/train-000.tar")
    ('train-000.tar', 'train-000.tar')
    """
    path = url if url.startswith("pipe:") else urlsplit(url).path
    return path.rpartition("/")[2]


def refuse_pipe(url: str, *, allowed: bool) -> None:
    """Refuse a shard that is a command, unless it was asked for.

    Raises:
        ConfigError: it is one.
    """
    if url.startswith("pipe:") and not allowed:
        raise ConfigError(
            f"the shard {public_url(url)!r} is a command, which webdataset would run in a shell; pass allow_pipe=True "
            "if you trust it, and set WDS_SECURE=1 to have webdataset refuse such shards and pickled members"
        )


def encoded_image(sample: Mapping[str, Any], *, where: str) -> bytes:
    """Return the bytes of a sample's one image.

    Raises:
        ShardError: there is none, there are several, or it is decoded already.
    """
    found = [ext for ext in IMAGE_EXTS if ext in sample]
    if len(found) == 1 and isinstance(sample[found[0]], bytes):
        encoded: bytes = sample[found[0]]
        return encoded
    what = f"its .{found[0]} is decoded already" if len(found) == 1 else f"it has {len(found) or 'no'} images"
    raise ShardError(
        f"{where}: {what}; the stage needs the bytes of one image ({', '.join(IMAGE_EXTS)}): put it before any "
        "decoding, and select one image"
    )


def label_text(sample: Mapping[str, Any]) -> str | None:
    r"""Return the label as plain digits, whether it is decoded or not; None where the pipeline has none.

    >>> label_text({"cls": b" 007\n"}), label_text({"cls": 7}), label_text({})
    ('7', '7', None)
    """
    if LABEL_EXT not in sample:
        return None
    label = sample[LABEL_EXT]
    text = label.decode("utf-8", "backslashreplace") if isinstance(label, bytes) else str(label)
    digits = text.strip().removeprefix("+")
    return digits.lstrip("0") or digits[:1]
