"""Making a cache, or agreeing with the one that is there."""

from typing import Any

from kdcache.config.terms import Terms
from kdcache.errors import ManifestMismatchError, StoreError
from kdcache.store.layout import ROOT_PATH, Layout
from kdcache.store.manifest import About, Identity, Manifest, differences
from kdcache.store.objects import ObjectStore
from kdcache.store.root import dump_root, read_manifest, write_arrays

__all__ = ["agreed_manifest", "create_or_resume", "set_terms"]

_OUR_FOLDERS = {"samples", "views", "teachers", "commits"}
_NAMED_DIFFERENCES = 8


def create_or_resume(objects: ObjectStore, wanted: Manifest, *, grow: bool = False) -> Manifest:
    """Return the manifest of the cache at ``objects``: created, or with the teachers of ``wanted`` added.

    Any number of runs may do this at once: the root is swapped, never overwritten.

    Args:
        objects: where the cache is or will be.
        wanted: what this run needs.
        grow: also add the shards behind, and the augmentation seeds above, those that are there, and take over
            the licence and the contact, where there are any.

    Raises:
        ManifestMismatchError: the cache there has another identity; each field that differs is named.
        StoreError: something that is not a cache is there, or it cannot be written.
    """
    objects.settle()
    while True:
        root, there = _there(objects)
        if there is not None:
            # Also mends what a run that lost the race for the root wrote before it knew.
            write_arrays(objects, Layout.of(there.identity))
        merged = _merged(there, wanted, grow=grow, url=objects.url)
        if merged == there and root is not None:
            objects.put_new(ROOT_PATH, root)  # makes durable what another writer put a moment ago
            return merged
        write_arrays(objects, Layout.of(merged.identity))
        if objects.swap(ROOT_PATH, root, dump_root(merged)):
            return merged


def agreed_manifest(objects: ObjectStore, wanted: Manifest, *, grow: bool = False) -> Manifest:
    """Return what ``create_or_resume`` would, and raise what it would, but write nothing."""
    _, there = _there(objects)
    return _merged(there, wanted, grow=grow, url=objects.url)


def set_terms(objects: ObjectStore, terms: Terms) -> Manifest:
    """Put a licence, a contact or both into the manifest of a cache, and return it; nothing else changes.

    Raises:
        StoreError: there is no cache, or it cannot be written.
    """
    objects.settle()
    while True:
        root, there = _there(objects)
        if there is None:
            raise StoreError(f"there is no cache at {objects.url}; make one with kdcache precompute")
        about = there.about.model_dump() | terms.model_dump(exclude_none=True)
        described = Manifest(identity=there.identity, about=About.model_validate(about))
        if described == there or objects.swap(ROOT_PATH, root, dump_root(described)):
            return described


def _there(objects: ObjectStore) -> tuple[bytes | None, Manifest | None]:
    if _is_new(objects):
        return None, None
    return objects.get(ROOT_PATH), read_manifest(objects)


def _is_new(objects: ObjectStore) -> bool:
    try:
        objects.size(ROOT_PATH)
    except FileNotFoundError:
        strangers = [path for path, *_ in objects.list("") if path.split("/")[0] not in _OUR_FOLDERS]
        if strangers:
            raise StoreError(
                f"{objects.url} is not a cache, but holds other files ({strangers[0]}, ...); "
                "give --cache a new or empty folder"
            ) from None
        return True
    return False


def _merged(there: Manifest | None, wanted: Manifest, *, grow: bool, url: str) -> Manifest:
    """Return what the cache becomes; what it holds already stays as it is."""
    if there is None:
        return wanted
    grown = _grown(there.identity, wanted.identity) if grow else there.identity
    _demand_equal(
        there.identity, _without_growth(wanted.identity, there.identity) if grow else wanted.identity, url
    )
    known = there.identity.teachers
    new = {name: entry for name, entry in wanted.identity.teachers.items() if name not in known}
    identity = grown.model_copy(update={"teachers": {**known, **new}})
    terms = _terms(wanted.about) if grow else {}
    if identity == there.identity and terms.items() <= _terms(there.about).items():
        return there
    facts = {name: wanted.about.teachers[name] for name in new if name in wanted.about.teachers}
    has_new_shards = len(identity.shards) > len(there.identity.shards)
    sources = [*there.about.sources, *(s for s in wanted.about.sources if s not in there.about.sources)]
    about = there.about.model_dump() | {
        "teachers": {**there.about.teachers, **facts},
        "sources": sources if has_new_shards else there.about.sources,
        **terms,
    }
    return Manifest(identity=identity, about=About.model_validate(about))


def _terms(about: About) -> dict[str, str]:
    return about.model_dump(include=set(Terms.model_fields), exclude_none=True)


def _grown(there: Identity, wanted: Identity) -> Identity:
    """Return ``there`` with the further shards and seeds of ``wanted``."""
    views = max(there.num_aug_seeds, wanted.num_aug_seeds)
    return there.model_copy(
        update={"shards": there.shards + wanted.shards[len(there.shards) :], "num_aug_seeds": views}
    )


def _without_growth(wanted: Identity, there: Identity) -> Identity:
    """Return ``wanted`` without what it adds: the rest has to be equal."""
    shards = wanted.shards[: len(there.shards)]
    return wanted.model_copy(update={"shards": shards, "num_aug_seeds": there.num_aug_seeds})


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
