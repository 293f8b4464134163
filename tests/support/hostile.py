"""Changes to a real cache that an attacker could make: every checksum that such a person can make is made right."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from kdcache.digest import canonical_json, json_sha256, sha256_hex
from kdcache.store import open_cache
from kdcache.store.documents import pretty_json
from kdcache.store.layout import Layout, Unit
from kdcache.store.pack import encode_object

__all__ = [
    "Change",
    "about",
    "cells",
    "change_array",
    "change_manifest",
    "change_object",
    "change_record",
    "change_root",
    "change_values",
    "field",
    "identity",
    "linked",
    "metadata",
    "one_chunk",
    "record",
    "sealed",
    "sparse",
    "text",
    "values_of",
]

Json = dict[str, Any]
Change = Callable[[Path], None]


def sealed(frame: bytes) -> bytes:
    """Return a frame with its crc32c."""
    checksum: int = google_crc32c.value(frame)
    return frame + checksum.to_bytes(4, "little")


def one_chunk(chunk: bytes, *, start: int | None = None, size: int | None = None) -> bytes:
    """Return an object of one chunk with the index before it; the index may say something else."""
    place = [20 if start is None else start, len(chunk) if size is None else size]
    return sealed(np.array([place], dtype="<u8").tobytes()) + chunk


def change_root(cache: Path, change: Callable[[Json], None]) -> None:
    """Change the root's ``zarr.json``."""
    document = json.loads((cache / "zarr.json").read_bytes())
    change(document)
    (cache / "zarr.json").write_bytes(pretty_json(document))


def change_manifest(cache: Path, change: Callable[[Json], None]) -> None:
    """Change identity or about, and seal both again."""

    def change_sealed(document: Json) -> None:
        manifest = document["attributes"]["kdcache"]
        change(manifest)
        manifest |= {f"{part}_sha256": json_sha256(manifest[part]) for part in ("identity", "about")}

    change_root(cache, change_sealed)


def change_array(
    cache: Path, path: str, change: Callable[[Json], None], *, consolidated: bool = False
) -> None:
    """Change an array's ``zarr.json``, and perhaps the copy in the root."""
    file = cache / path / "zarr.json"
    document = json.loads(file.read_bytes())
    change(document)
    file.write_bytes(pretty_json(document))
    if consolidated:
        change_root(cache, lambda root: root["consolidated_metadata"]["metadata"].update({path: document}))


def change_record(cache: Path, unit: str, change: Callable[[Json], None]) -> None:
    """Change a commit record and its copy in the index, and seal both again."""
    file, index = cache / f"commits/{unit}.json", cache / "commits/index.json"
    body = json.loads(file.read_bytes())["record"]
    bodies = json.loads(index.read_bytes())["records"]
    place = bodies.index(body)
    change(body)
    bodies[place] = body
    file.write_bytes(canonical_json({"record": body, "sha256": json_sha256(body)}))
    index.write_bytes(canonical_json({"records": bodies, "sha256": json_sha256(bodies)}))


def change_object(cache: Path, unit: Unit, data: bytes, *, number: int = 0) -> None:
    """Put other bytes into an object of a unit, and their size and sha256 into its record."""
    spec, position = _layout(cache).objects_of(unit)[number]
    path = spec.object_path(*position)
    (cache / path).write_bytes(data)

    def change(body: Json) -> None:
        body["objects"][number] |= {"size": len(data), "sha256": sha256_hex(data)}

    change_record(cache, unit.name, change)


def change_values(cache: Path, unit: Unit, change: Callable[[NDArray[Any]], Any], *, number: int = 0) -> None:
    """Change the values of an object in place; encoded, hashed and recorded as they should be."""
    spec, _ = _layout(cache).objects_of(unit)[number]
    values = values_of(cache, unit, number=number)
    change(values)
    change_object(cache, unit, encode_object(spec, values), number=number)


def values_of(cache: Path, unit: Unit, *, number: int = 0) -> NDArray[Any]:
    """Return a copy of the values of an object of one chunk."""
    reader = open_cache(cache)._reader
    if unit.group is None:
        table = reader.padded_samples(unit.block)
        columns = (np.array(table.keys, dtype=object), table.labels, table.digests, table.status)
        return columns[number].copy()
    if unit.kind == "views":
        read = (reader.view_digests, reader.thumbnails)[number]
        return read(unit.block, unit.group)[None].copy()
    return reader.planes(unit.kind, unit.block, unit.group)[None].copy()


def _layout(cache: Path) -> Layout:
    return open_cache(cache).layout


def field(*names: Any, value: Any) -> Callable[[Any], None]:
    """Return a change of one field of a JSON document."""

    def change(document: Any) -> None:
        for name in names[:-1]:
            document = document[name]
        document[names[-1]] = value

    return change


def identity(*names: Any, value: Any) -> Change:
    """Return a change of a field of the identity."""
    return lambda cache: change_manifest(cache, field("identity", *names, value=value))


def about(name: str, value: Any) -> Change:
    """Return a change of a field beside the identity."""
    return lambda cache: change_manifest(cache, field("about", name, value=value))


def metadata(path: str, *names: Any, value: Any, consolidated: bool = False) -> Change:
    """Return a change of a field of an array's ``zarr.json``."""
    return lambda cache: change_array(cache, path, field(*names, value=value), consolidated=consolidated)


def record(unit: str, *names: Any, value: Any) -> Change:
    """Return a change of a field of a commit record."""
    return lambda cache: change_record(cache, unit, field(*names, value=value))


def cells(unit: Unit, *places: Any, value: Any, number: int = 0) -> Change:
    """Return a change of some values of an object."""
    return lambda cache: change_values(
        cache, unit, lambda values: values.__setitem__(places, value), number=number
    )


def linked(path: str) -> Change:
    """Move a file or folder out of the cache and leave a link to it: all of its bytes are right."""

    def change(cache: Path) -> None:
        outside = cache.parent / "outside" / Path(path).name
        (cache / path).rename(outside)
        (cache / path).symlink_to(outside)

    return change


def text(name: str, change: Callable[[bytes], bytes]) -> Change:
    """Return a change of a document's bytes."""

    def rewrite(cache: Path) -> None:
        file = cache / name
        file.write_bytes(change(file.read_bytes()))

    return rewrite


def sparse(path: str, size: int) -> Change:
    """Return a change of a file's length: what is added takes no room on the disk."""
    return lambda cache: os.truncate(cache / path, size)
