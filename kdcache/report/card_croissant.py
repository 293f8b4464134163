"""Croissant metadata of a cache: its files with their digests, its teachers and its shards as records."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from kdcache.digest import sha256_hex
from kdcache.report.card_facts import CardFacts
from kdcache.report.hub_licence import spdx_url
from kdcache.store.layout import ROOT_PATH, Layout

__all__ = ["croissant"]

_LISTED: Final = 1000
"""Data objects that are listed one by one; of a larger cache its records have the digests."""

_SHARDS: Final = 4096
_DOCUMENT: Final = "application/json"
_OBJECT: Final = "application/octet-stream"

_CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{
        name: f"cr:{name}"
        for name in (
            *(
                "citeAs",
                "column",
                "equivalentProperty",
                "extract",
                "field",
                "fileProperty",
                "fileObject",
                "fileSet",
            ),
            *(
                "format",
                "includes",
                "isLiveDataset",
                "jsonPath",
                "key",
                "md5",
                "parentField",
                "path",
                "recordSet",
            ),
            *(
                "references",
                "regex",
                "repeated",
                "replace",
                "samplingRate",
                "separator",
                "source",
                "subField",
            ),
            "transform",
        )
    },
}

_TEACHERS: Final = {
    "name": "sc:Text",
    "architecture": "sc:Text",
    "weights_sha256": "sc:Text",
    "encoding": "sc:Text",
    "top_k": "sc:Integer",
    "num_classes": "sc:Integer",
    "views": "sc:Integer",
}
_SHARD_FIELDS: Final = {"name": "sc:Text", "num_samples": "sc:Integer", "digest": "sc:Text"}


def croissant(facts: CardFacts) -> bytes:
    """Return croissant.json, of Croissant 1.0; addresses of files are relative to it."""
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": facts.title(),
        "description": _description(facts),
        "identifier": facts.report.content_id,
        **dict(_known(facts)),
        "distribution": list(_files(facts)),
        "recordSet": list(_records(facts)),
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def _description(facts: CardFacts) -> str:
    report = facts.report
    return (
        f"Outputs of {len(report.teachers):,} teachers on {report.num_aug_seeds:,} views of each of "
        f"{report.samples:,} samples in {report.num_classes:,} classes, cached by kdcache for the distillation of "
        "image models; a Zarr 3 group without images."
    )


def _known(facts: CardFacts) -> Iterator[tuple[str, Any]]:
    """Yield the fields that only some caches have."""
    licence, contact, created = facts.about("licence"), facts.about("contact"), facts.about("created")
    if licence:
        yield "license", spdx_url(licence) or licence
    if contact:
        yield "creator", {"@type": "sc:Organization", "name": contact}
    if facts.url:
        yield "url", facts.url
    if created and _is_date(created):
        yield "datePublished", created


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _files(facts: CardFacts) -> Iterator[dict[str, Any]]:
    yield _file(ROOT_PATH, len(facts.root), sha256_hex(facts.root), _DOCUMENT)
    entries = [entry for record in facts.records for entry in record.objects]
    if len(entries) <= _LISTED:
        yield from (_file(entry.path, entry.size, entry.sha256, _OBJECT) for entry in entries)
    yield _file_set(
        "commits", "The commit records: size and sha256 of every data object.", "*.json", _DOCUMENT
    )
    for spec in Layout.of(facts.identity).arrays():
        yield _file_set(spec.path, f"The objects of the array {spec.path}.", "c/**", _OBJECT)


def _file(path: str, size: int, sha256: str, encoding: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{size} B",
        "encodingFormat": encoding,
        "sha256": sha256,
    }


def _file_set(folder: str, description: str, pattern: str, encoding: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{folder}/",
        "name": folder,
        "description": description,
        "encodingFormat": encoding,
        "includes": f"{folder}/{pattern}",
    }


def _records(facts: CardFacts) -> Iterator[dict[str, Any]]:
    teachers = facts.report.teachers
    rows = [
        {"name": name} | {field: getattr(one, field) for field in _TEACHERS if field != "name"}
        for name, one in teachers.items()
    ]
    if rows:
        yield _record_set("teachers", "Whose outputs the cache holds.", _TEACHERS, rows)
    shards = facts.identity.shards
    if len(shards) <= _SHARDS:
        yield _record_set(
            "shards",
            "The shards that the cache was made of; the digest is kdcache's, of a shard's members.",
            _SHARD_FIELDS,
            [entry.model_dump(mode="json") for entry in shards],
        )


def _record_set(
    name: str, description: str, fields: dict[str, str], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        "field": [
            {"@type": "cr:Field", "@id": f"{name}/{field}", "name": f"{name}/{field}", "dataType": kind}
            for field, kind in fields.items()
        ],
        "data": [{f"{name}/{field}": row[field] for field in fields} for row in rows],
    }
