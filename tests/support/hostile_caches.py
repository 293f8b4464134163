"""What somebody can do to a small real cache who makes every checksum right, and what the error must say."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numcodecs import Blosc  # type: ignore[attr-defined]

from kdcache.digest import canonical_json, json_sha256
from kdcache.store.layout import Unit
from tests.support.hostile import (
    Change,
    about,
    cells,
    change_manifest,
    change_object,
    change_record,
    change_root,
    change_values,
    field,
    identity,
    linked,
    metadata,
    one_chunk,
    record,
    sealed,
    sparse,
    text,
)

__all__ = ["HOSTILE", "Hostile"]

TARGETS, SAMPLES, VIEWS = Unit("formula", 0, 0), Unit.samples(0), Unit.views(0, 0)
PATH: Final = "teachers/formula/targets"
ZSTD: Final = partial(Blosc, "zstd", 5, Blosc.BITSHUFFLE)


class Hostile(NamedTuple):
    """One attack: what is changed, and what the error must say; ``opens`` if only use finds it."""

    change: Change
    message: str
    opens: bool = False
    base: str = "gap8"


def chunk(make: Callable[[], bytes]) -> Change:
    return lambda cache: change_object(cache, TARGETS, one_chunk(make()))


def frame(values: Any, **header: int) -> bytes:
    """Return a chunk, its Blosc header changed."""
    data = bytearray(ZSTD().encode(values))
    places = {"nbytes": 4, "blocksize": 8}
    for name, number in header.items():
        data[places[name] : places[name] + 4] = number.to_bytes(4, "little")
    return sealed(bytes(data))


def planes(rows: int = 64) -> Any:
    return np.zeros((1, 13, rows), dtype="<u2")


def piped(cache: Path) -> None:
    (cache / "zarr.json").unlink()
    os.mkfifo(cache / "zarr.json")


def pickled_store(cache: Path) -> None:
    """Leave a Zarr 2 store whose chunk would run code through the pickle filter."""
    (cache / "zarr.json").unlink()
    metadata = {"zarr_format": 2, "dtype": "|O", "filters": [{"id": "pickle"}], "shape": [1], "chunks": [1]}
    for name in (".zgroup", "samples/key/.zarray"):
        (cache / name).write_text(json.dumps(metadata))
    target = str(cache.parent / "outside/owned")
    (cache / "samples/key/0").write_bytes(b"cos\nsystem\n(S'touch " + target.encode() + b"'\ntR.")


def twice_in_index(cache: Path) -> None:
    bodies = json.loads((cache / "commits/index.json").read_bytes())["records"]
    bodies.append(bodies[-1])
    (cache / "commits/index.json").write_bytes(
        canonical_json({"records": bodies, "sha256": json_sha256(bodies)})
    )


def oversized_record(cache: Path) -> None:
    os.truncate(cache / "commits/formula/0-0.json", 1 << 36)
    (cache / "commits/index.json").unlink()


def huge_sparse_object(cache: Path) -> None:
    record("formula/0-0", "objects", 0, "size", value=1 << 40)(cache)
    os.truncate(cache / PATH / "c/0/0/0", 1 << 40)


def repeated_ids(values: Any) -> None:
    values[0, 1] = values[0, 0]


PICKLE = {"name": "numcodecs.pickle", "configuration": {"protocol": 4}}
CHUNK_SHAPE = ("codecs", 0, "configuration", "chunk_shape")
HUGE = {"top_k": (1 << 24) - 1, "num_classes": 1 << 24}

HOSTILE = {
    # code
    "pickle filter in a v2 store": Hostile(pickled_store, "metadata of Zarr 2"),
    "pickle codec in an array": Hostile(
        metadata(PATH, "codecs", value=[PICKLE]), f"{PATH}/zarr.json", opens=True
    ),
    "pickle codec in root and array": Hostile(
        metadata(PATH, "codecs", value=[PICKLE], consolidated=True), "zarr.json .*other things of its arrays"
    ),
    "object array": Hostile(
        metadata("samples/key", "data_type", value="object"), "samples/key/zarr.json", opens=True
    ),
    "command for a shard": Hostile(
        identity("shards", 0, "name", value="pipe:id>owned"), "'pipe:id>owned' is not the name"
    ),
    # bombs
    "codec bomb": Hostile(
        chunk(lambda: frame(np.zeros(1 << 22, "u2"))),
        f"{PATH}/c/0/0/0 .*would decode to 8,388,608 bytes",
        opens=True,
    ),
    "large codec bomb": Hostile(
        chunk(lambda: frame(np.zeros(1 << 26, "u2"))),
        "commits/formula/0-0.json .*above the limit",
        opens=True,
    ),
    "frame longer than it says": Hostile(
        chunk(lambda: frame(planes(1 << 16), nbytes=1664, blocksize=1664)),
        f"{PATH}/c/0/0/0 .*cannot be decompressed",
        opens=True,
    ),
    "frame of huge blocks": Hostile(
        chunk(lambda: frame(planes(), blocksize=2**31 - 1)), "its blocks have 2,147,483,647", opens=True
    ),
    "another compressor": Hostile(
        chunk(lambda: sealed(Blosc("lz4").encode(planes()))), "compressed in another way", opens=True
    ),
    "bomb of keys": Hostile(
        lambda cache: change_object(cache, SAMPLES, frame(np.zeros(1 << 27, "u1"))),
        "samples/key/c/0 .*would decode to",
        opens=True,
    ),
    "16 GB chunk in an array": Hostile(
        metadata(PATH, *CHUNK_SHAPE, value=[1, 13, 1 << 33]), f"{PATH}/zarr.json", opens=True
    ),
    "16 GB chunk in the manifest": Hostile(
        lambda cache: change_manifest(cache, lambda m: m["identity"]["teachers"]["formula"].update(HUGE)),
        "one chunk of teacher 'formula'",
    ),
    "huge shape in an array": Hostile(
        metadata(PATH, "shape", value=[2, 13, 1 << 60]), f"{PATH}/zarr.json", opens=True
    ),
    "huge number of samples": Hostile(
        identity("shards", 0, "num_samples", value=1 << 32), "67,108,865 blocks"
    ),
    "huge number of views": Hostile(
        identity("num_aug_seeds", value=1 << 20), "the cache would have .* units"
    ),
    "oversized manifest": Hostile(
        text("zarr.json", lambda data: data + b" " * (1 << 26)), "zarr.json .* has 67,1.* at most"
    ),
    "manifest of small values": Hostile(
        text("zarr.json", lambda _: b"[" + b"[]," * (1 << 23) + b"0]"), "it has too many values"
    ),
    "deep manifest": Hostile(text("zarr.json", lambda _: b"[" * 100_000), "nested too deeply"),
    "deep field": Hostile(
        about("decoder", {"a": json.loads("[" * 60 + "]" * 60)}), "zarr.json .*nested too deeply"
    ),
    "index of small values": Hostile(
        text("commits/index.json", lambda _: b"{" + b"[]," * (1 << 23)),
        "index.json .*too many values",
        opens=True,
    ),
    "oversized record": Hostile(oversized_record, "commits/formula/0-0.json .* at most", opens=True),
    "sparse object": Hostile(huge_sparse_object, "commits/formula/0-0.json .*above the limit", opens=True),
    "sparse table": Hostile(sparse("samples/label/c/0", 1 << 36), "samples/label/c/0 ", opens=True),
    # paths
    "record that names ../": Hostile(
        record("formula/0-0", "objects", 0, "path", value="../../outside/canary"),
        "commits/.*cannot name an object",
        opens=True,
    ),
    "record that names /": Hostile(
        record("formula/0-0", "objects", 0, "path", value="/etc/passwd"),
        "commits/.*'/etc/passwd' cannot name",
        opens=True,
    ),
    "unit that is named ../": Hostile(
        record("formula/0-0", "unit", value="../../outside/0"), "commits/.*cannot name an object", opens=True
    ),
    "record of another object": Hostile(
        record("formula/0-0", "objects", 0, "path", value="samples/key/c/1"),
        "names other objects",
        opens=True,
    ),
    "linked object": Hostile(linked("samples/key/c/0"), "samples/key/c/0 is a link", opens=True),
    "linked folder": Hostile(linked("teachers"), "teachers is a link", opens=True),
    "linked records": Hostile(linked("commits"), "commits is a link", opens=True),
    "linked manifest": Hostile(linked("zarr.json"), "zarr.json is a link"),
    "pipe for a manifest": Hostile(piped, "zarr.json is neither a file nor a folder"),
    # values
    "huge class id": Hostile(
        cells(TARGETS, 0, 1, 5, value=0xFFFE),
        f"{PATH}/c/0/0/0 .*row 5: a class id is not below 10",
        opens=True,
    ),
    "negative class id": Hostile(
        cells(TARGETS, 0, 1, 5, value=-1 & 0xFFFF), "row 5: a class follows a missing one", opens=True
    ),
    "unsorted top-k": Hostile(
        cells(TARGETS, 0, 4, 5, value=-3 & 0xFFFF), f"{PATH}/c/0/0/0 .*row 5: a gap is above 254", opens=True
    ),
    "repeated class ids": Hostile(
        lambda cache: change_values(cache, TARGETS, repeated_ids),
        "row 0: a class id is there twice",
        opens=True,
    ),
    "tail out of range": Hostile(
        cells(TARGETS, 0, 10, 5, value=7), "row 5: the tail's mean logit is above the best one", opens=True
    ),
    "NaN logit": Hostile(
        cells(TARGETS, 0, 6, 5, value=0x7FC0),
        f"{PATH}/c/0/0/0 .*row 5: a logit is NaN",
        opens=True,
        base="float32",
    ),
    "targets left out": Hostile(
        cells(TARGETS, 0, slice(None), 5, value=0xFFFF), f"{PATH}/c/0/0/0 .*aug_seed 0 ", opens=True
    ),
    "digests left out": Hostile(
        cells(VIEWS, 0, slice(None), value=0), "views/digest/c/0/0 .*aug_seed 0 ", opens=True
    ),
    "duplicate sample keys": Hostile(
        cells(SAMPLES, 3, value="s00001"), "samples/key/c/0 .*a key is there twice", opens=True
    ),
    "label out of range": Hostile(
        cells(SAMPLES, 3, value=10, number=1), "samples/label/c/0 .*not below 10", opens=True
    ),
    "unknown status": Hostile(
        cells(SAMPLES, 3, value=77, number=3), "samples/status/c/0 .*unknown status", opens=True
    ),
    "fewer samples than said": Hostile(
        record("samples/0", "rows", value=23), "samples/key/c/0 .*(counts other|24 good)", opens=True
    ),
    "more samples than there are": Hostile(
        record("samples/0", "rows", value=1 << 40), "commits/samples/0.json .*counts more", opens=True
    ),
    "array of another length": Hostile(
        chunk(lambda: frame(planes(32))), "would decode to 832 bytes, not 1,664", opens=True
    ),
    "chunk outside its object": Hostile(
        lambda cache: change_object(cache, TARGETS, one_chunk(frame(planes()), start=1 << 50)),
        "points to where no chunk can be",
        opens=True,
    ),
    # documents
    "unknown identity field": Hostile(identity("run", value="id"), "unknown field 'identity.run'"),
    "unknown manifest field": Hostile(
        lambda cache: change_manifest(cache, field("hook", value="id")), "a field 'hook'"
    ),
    "unknown root field": Hostile(
        lambda cache: change_root(cache, field("attributes", "hook", value=1)), "zarr.json .*other things"
    ),
    "newer version": Hostile(identity("format_version", value=2), "has format 2, .*upgrade kdcache"),
    "version that never was": Hostile(identity("format_version", value="1"), "no such format"),
    "field that is there twice": Hostile(
        text(
            "zarr.json", lambda data: data.replace(b'"zarr_format"', b'"zarr_format": 2,\n  "zarr_format"', 1)
        ),
        "'zarr_format' is there twice",
    ),
    "record without digest": Hostile(
        lambda cache: change_record(cache, "formula/0-0", lambda body: body["objects"][0].pop("sha256")),
        "sha256: Field required",
        opens=True,
    ),
    "unit twice in the index": Hostile(twice_in_index, "index.json .*not sorted", opens=True),
    "escapes for a terminal": Hostile(about("contact", "\x1b]0;owned\x07"), "control characters"),
}
