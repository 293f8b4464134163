"""The root ``zarr.json``: the manifest, sealed, and the metadata of all arrays."""

import json
from collections.abc import Iterator
from typing import Any, Final

from kdcache.digest import json_sha256
from kdcache.errors import ConfigError, CorruptChunkError, StoreError
from kdcache.store.arrays import grown_document
from kdcache.store.documents import (
    ARRAY_LIMIT,
    ROOT_LIMIT,
    parsed_json,
    pretty_json,
    read_document,
    read_limited,
)
from kdcache.store.layout import ROOT_PATH, Layout
from kdcache.store.manifest import FORMAT_VERSION, Manifest
from kdcache.store.objects import ObjectStore
from kdcache.store.texts import steers_terminal

__all__ = [
    "array_documents",
    "dump_root",
    "expected_root",
    "read_manifest",
    "write_arrays",
]

_PARTS: Final = ("identity", "about")


def dump_root(manifest: Manifest) -> bytes:
    """Return the bytes of the root ``zarr.json``."""
    return _root(_seal(manifest), Layout.of(manifest.identity))


def expected_root(objects: ObjectStore, layout: Layout) -> bytes:
    """Return what the bytes of the root must be, given the manifest in it.

    Raises:
        StoreError: there is no root, or it is not a cache's.
    """
    return _root(_sealed_part(_read_root(objects), objects.url), layout)


def array_documents(layout: Layout) -> dict[str, dict[str, Any]]:
    """Return the metadata of every group and array below the root, by path."""
    documents = {f"{path}/{ROOT_PATH}": _group({}) for path in layout.group_paths()}
    return documents | {spec.metadata_path: spec.document() for spec in layout.arrays()}


def write_arrays(objects: ObjectStore, layout: Layout) -> None:
    """Write the metadata of every group and array below the root; an array that is larger stays so."""
    for path, document in array_documents(layout).items():
        while not _is_written(objects, path, document):
            pass


def _is_written(objects: ObjectStore, path: str, document: dict[str, Any]) -> bool:
    """Swap one document in; False when somebody else changed it meanwhile."""
    try:
        there = read_limited(objects, path, limit=ARRAY_LIMIT)
    except FileNotFoundError:
        return objects.swap(path, None, pretty_json(document))
    wanted = pretty_json(grown_document(_parsed(there), document))
    if there == wanted:
        objects.put_new(path, wanted)  # makes durable what another writer put a moment ago
        return True
    return objects.swap(path, there, wanted)


def _parsed(data: bytes) -> Any:
    try:
        return parsed_json(data)
    except ValueError:
        return None


def read_manifest(objects: ObjectStore) -> Manifest:
    """Read and check the manifest of a cache.

    Raises:
        StoreError: there is no cache, or a newer kdcache wrote it.
        CorruptChunkError: the manifest is damaged.
    """
    document = _read_root(objects)
    sealed = _sealed_part(document, objects.url)
    _check_version(sealed, objects.url)
    manifest = _checked(sealed, f"{ROOT_PATH} of {objects.url}")
    if document != _root_document(sealed, Layout.of(manifest.identity)):
        raise StoreError(
            f"{ROOT_PATH} of {objects.url} says other things of its arrays than format 1 does for its manifest, or "
            "has fields that format 1 does not know; nothing was decoded: fetch the cache again"
        )
    return manifest


def _root(sealed: dict[str, Any], layout: Layout) -> bytes:
    return pretty_json(_root_document(sealed, layout))


def _root_document(sealed: dict[str, Any], layout: Layout) -> dict[str, Any]:
    # Zarr readers that know consolidated metadata open everything with one read; others may ignore it.
    nodes: dict[str, Any] = {path: _group({}) for path in layout.group_paths()}
    nodes |= {spec.path: spec.document() for spec in layout.arrays()}
    consolidated = {"kind": "inline", "must_understand": False, "metadata": nodes}
    return _group({"kdcache": sealed}) | {"consolidated_metadata": consolidated}


def _read_root(objects: ObjectStore) -> Any:
    try:
        return read_document(objects, ROOT_PATH, limit=ROOT_LIMIT)
    except FileNotFoundError as error:
        what = f"no {ROOT_PATH} in it"
        if _has_old_metadata(objects):
            what += ", but the metadata of Zarr 2, which no cache of kdcache has and kdcache never reads"
        raise StoreError(
            f"there is no cache at {objects.url} ({what}); check the path, or make the cache with kdcache precompute"
        ) from error


def _has_old_metadata(objects: ObjectStore) -> bool:
    for path in (".zgroup", ".zmetadata", ".zarray"):
        try:
            objects.size(path)
        except FileNotFoundError:
            continue
        return True
    return False


def _group(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def _seal(manifest: Manifest) -> dict[str, Any]:
    # Through JSON text once, so that what is hashed is what a reader will parse.
    body: dict[str, Any] = json.loads(manifest.model_dump_json())
    return body | {
        "identity_sha256": json_sha256(body["identity"]),
        "about_sha256": json_sha256(body["about"]),
    }


def _sealed_part(document: Any, url: str) -> dict[str, Any]:
    attributes = document.get("attributes") if isinstance(document, dict) else None
    sealed = attributes.get("kdcache") if isinstance(attributes, dict) else None
    if not isinstance(sealed, dict) or not isinstance(sealed.get("identity"), dict):
        raise StoreError(
            f"{url} is not a cache of kdcache (its {ROOT_PATH} has no kdcache identity); check the path"
        )
    return sealed


def _check_version(sealed: dict[str, Any], url: str) -> None:
    version = sealed["identity"].get("format_version")
    if type(version) is int and version > FORMAT_VERSION:
        raise StoreError(
            f"the cache at {url} has format {version}, this kdcache reads format {FORMAT_VERSION}; "
            "upgrade kdcache (pip install -U kdcache) to read it"
        )
    if type(version) is not int or version != FORMAT_VERSION:
        raise StoreError(
            f"the cache at {url} has format {str(version)[:20]!r}, and there is no such format; fetch it again"
        )


def _checked(sealed: dict[str, Any], where: str) -> Manifest:
    unknown = sealed.keys() - {*_PARTS, *(f"{part}_sha256" for part in _PARTS)}
    if unknown:
        raise StoreError(
            f"the manifest in {where} has a field {min(unknown)!r} that format 1 does not know; upgrade kdcache if a "
            "newer one wrote the cache, else fetch it again"
        )
    for part in _PARTS:
        if _json_sha256(sealed.get(part)) != sealed.get(f"{part}_sha256"):
            raise CorruptChunkError(
                f"the {part} in {where} does not have the sha256 beside it: "
                "the file is damaged or was edited; fetch or restore it"
            )
    strange = next((text for text in _texts(sealed) if steers_terminal(text)), None)
    if strange is not None:
        raise StoreError(
            f"the manifest in {where} holds control characters ({strange[:80]!r}), which could pass for other text on "
            "a terminal; fetch the cache again, or ask who made it"
        )
    try:
        return Manifest.parse({part: sealed[part] for part in _PARTS}, where=where)
    except ConfigError as error:
        raise StoreError(
            f"the manifest cannot be used: {error}; fetch the cache again or precompute anew"
        ) from error


def _texts(value: Any) -> Iterator[str]:
    """Yield every field name and every string of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _json_sha256(value: Any) -> str | None:
    try:
        return json_sha256(value)
    except ValueError:
        return None
