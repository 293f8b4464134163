"""Making a cache, or agreeing with the one that is there."""

from typing import Any

from kdcache.errors import ManifestMismatchError, StoreError
from kdcache.store.layout import ROOT_PATH, Layout
from kdcache.store.manifest import About, Identity, Manifest, differences
from kdcache.store.objects import ObjectStore
from kdcache.store.root import dump_root, read_manifest, write_arrays

__all__ = ["create_or_resume"]

_OUR_FOLDERS = {"samples", "views", "teachers", "commits"}
_NAMED_DIFFERENCES = 8


def create_or_resume(objects: ObjectStore, wanted: Manifest) -> Manifest:
    """Return the manifest of the cache at ``objects``, created or extended by teachers as ``wanted`` says.

    Raises:
        ManifestMismatchError: the cache there has another identity; each field that differs is named.
        StoreError: something that is not a cache is there, or it cannot be written.
    """
    with objects.exclusive():
        if _is_new(objects):
            merged = wanted
        else:
            there = read_manifest(objects)
            _demand_equal(there.identity, wanted.identity, objects.url)
            merged = _with_teachers_of(there, wanted)
            if merged == there:
                return there
        write_arrays(objects, Layout.of(merged.identity))
        objects.replace(ROOT_PATH, dump_root(merged))
        return merged


def _is_new(objects: ObjectStore) -> bool:
    try:
        objects.size(ROOT_PATH)
    except FileNotFoundError:
        strangers = [path for path, _ in objects.list("") if path.split("/")[0] not in _OUR_FOLDERS]
        if strangers:
            raise StoreError(
                f"{objects.url} is not a cache, but holds other files ({strangers[0]}, ...); "
                "give --cache a new or empty folder"
            ) from None
        return True
    return False


def _demand_equal(there: Identity, wanted: Identity, url: str) -> None:
    ours, theirs = there.canonical(), wanted.canonical()
    shared = ours["teachers"].keys() & theirs["teachers"].keys()
    for identity in (ours, theirs):
        identity["teachers"] = {name: identity["teachers"][name] for name in sorted(shared)}
    found = differences(ours, theirs)
    if found:
        raise ManifestMismatchError(
            f"the cache at {url} was made with other settings than this run has: {_listed(found)}; "
            "run with the settings that it was made with, or give --cache a new path" + _growth_hint(found)
        )


def _listed(found: list[tuple[str, Any, Any]]) -> str:
    texts = [f"{name} is {_short(ours)} there, {_short(theirs)} here" for name, ours, theirs in found]
    more = len(texts) - _NAMED_DIFFERENCES
    return "; ".join(texts[:_NAMED_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _growth_hint(found: list[tuple[str, Any, Any]]) -> str:
    grows = any(name in {"num_aug_seeds", "shards"} for name, _, _ in found)
    return " (kdcache extend adds views and shards)" if grows else ""


def _with_teachers_of(there: Manifest, wanted: Manifest) -> Manifest:
    known = there.identity.teachers
    new = {name: entry for name, entry in wanted.identity.teachers.items() if name not in known}
    if not new:
        return there
    facts = {name: wanted.about.teachers[name] for name in new if name in wanted.about.teachers}
    about = there.about.model_dump() | {"teachers": {**there.about.teachers, **facts}}
    identity = there.identity.model_copy(update={"teachers": {**known, **new}})
    return Manifest(identity=identity, about=About.model_validate(about))
