"""What is at a destination already: nothing, a part of this copy, the whole of it, or something else."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from kdcache.digest import sha256_hex
from kdcache.errors import ManifestMismatchError, StoreError
from kdcache.share.plan import CopyPlan, Item, Work, compare, plan_copy
from kdcache.share.pool import in_parallel
from kdcache.share.source import Source, read_source
from kdcache.store.documents import INDEX_LIMIT, read_limited
from kdcache.store.hub_objects import HubObjects
from kdcache.store.layout import CARD_PATHS, ROOT_PATH, SUMS_PATH
from kdcache.store.manifest import differences
from kdcache.store.objects import ObjectStore
from kdcache.store.sums import parse_sums

__all__ = ["read_back", "refuse_wrong", "survey"]

_WELCOME = (*CARD_PATHS, ".gitattributes")
"""What a hub or a person may have put there before."""
_NAMED = 4


def survey(objects: ObjectStore, plan: CopyPlan, *, jobs: int) -> tuple[CopyPlan, Work]:
    """Return the plan and what of it is left to do at a destination; nothing is written.

    Args:
        objects: the destination.
        plan: the copy.
        jobs: requests at once.

    Raises:
        ManifestMismatchError: another cache is there, whole or in part.
        StoreError: something that is no cache is there.
        CorruptChunkError: the cache there is damaged.
    """
    is_none = isinstance(objects, HubObjects) and not objects.is_there()
    sizes = {} if is_none else {entry.path: entry.size for entry in objects.list("")}
    if ROOT_PATH in sizes:
        there = read_source(objects, jobs=jobs)
        _demand_equal(there, plan)
        # Equal caches may have other records: of when and how fast they were made.
        whole = plan_copy(there.manifest, objects.get(ROOT_PATH), there.records.values())
        plan = replace(whole, extras=plan.extras)
        work = compare(plan, sizes, {}, _equal(objects, plan.extras, sizes, jobs), is_whole=True)
    else:
        _refuse_strangers(objects, plan, sizes)
        sums = _read_sums(objects, sizes) | _sums_told(objects, plan)
        unsure = [*(item for item in plan.records if item.path not in sums), *plan.extras]
        equal = _equal(objects, unsure, sizes, jobs)
        work = compare(plan, sizes, sums, equal, is_whole=False)
    refuse_wrong(objects, work.wrong)
    return plan, work


def read_back(
    objects: ObjectStore,
    plan: CopyPlan,
    work: Work,
    *,
    jobs: int,
    done: Callable[[Item], None] | None = None,
) -> None:
    """Read the objects of which nothing but their bytes tells whether they are right.

    Args:
        objects: the destination.
        plan: the copy.
        work: what ``survey`` found.
        jobs: requests at once.
        done: is told of each object.

    Raises:
        ManifestMismatchError: some are not right; the first is named.
    """
    wrong: list[str] = []

    def look(item: Item) -> None:
        if sha256_hex(objects.get(item.path)) != item.sha256:
            wrong.append(item.path)

    items = [item for item in plan if item.path in work.unsure]
    in_parallel(items, look, jobs=jobs, size_of=lambda item: item.size, done=done)
    refuse_wrong(objects, tuple(sorted(wrong)))


def refuse_wrong(objects: ObjectStore, paths: tuple[str, ...]) -> None:
    """Refuse to write among objects that are not this copy's.

    Raises:
        ManifestMismatchError: there are some; the first is named.
    """
    if paths:
        raise ManifestMismatchError(
            f"{objects.url} holds another object under the name {paths[0]} than this copy has there "
            f"({len(paths):,} in all): part of another cache, or damaged; nothing was overwritten: give another "
            "destination, or remove what is there"
        )


def _demand_equal(there: Source, plan: CopyPlan) -> None:
    if there.content_id == plan.content_id:
        return
    ours, theirs = plan.manifest.identity.canonical(), there.manifest.identity.canonical()
    fields = [name for name, _, _ in differences(ours, theirs)]
    more = f" and {len(fields) - _NAMED} more" if len(fields) > _NAMED else ""
    what = (
        f"they differ in {', '.join(fields[:_NAMED])}{more}" if fields else "they hold other units or values"
    )
    raise ManifestMismatchError(
        f"{there.objects.url} holds another cache: its content id is {there.content_id}, the copy's would be "
        f"{plan.content_id} ({what}); nothing was written: give another destination, or remove what is there"
    )


def _refuse_strangers(objects: ObjectStore, plan: CopyPlan, sizes: Mapping[str, int]) -> None:
    planned = {item.path for item in plan}
    strangers = [path for path in sizes if path not in planned and path not in _WELCOME]
    if strangers:
        name = strangers[0] if strangers[0].isprintable() else repr(strangers[0])
        raise StoreError(
            f"{objects.url} holds {name}, which is no part of this copy ({len(strangers):,} such objects), "
            "and no whole cache; nothing was written: give a new or empty destination"
        )


def _read_sums(objects: ObjectStore, sizes: Mapping[str, int]) -> dict[str, str]:
    if SUMS_PATH not in sizes:
        return {}
    data = read_limited(objects, SUMS_PATH, limit=INDEX_LIMIT)
    return parse_sums(data) | {SUMS_PATH: sha256_hex(data)}


def _sums_told(objects: ObjectStore, plan: CopyPlan) -> dict[str, str]:
    """Return what a hub says of objects without their being read: a sum, or that it is another one."""
    if not isinstance(objects, HubObjects):
        return {}
    there = objects.files()
    sums = {item.path: there[item.path].sha256 for item in plan if item.path in there}
    for item in plan:
        if item.path in there and item.content is not None:
            sums[item.path] = item.sha256 if there[item.path].holds(item.content) else ""
    return {path: sha256 for path, sha256 in sums.items() if sha256 is not None}


def _equal(
    objects: ObjectStore, items: Iterable[Item], sizes: Mapping[str, int], jobs: int
) -> frozenset[str]:
    """Read those items that have the right size there, and return those that have the right bytes."""
    known = [item for item in items if sizes.get(item.path) == item.size]
    equal = set()

    def read(path: str, content: bytes | None) -> None:
        if objects.get(path) == content:
            equal.add(path)

    in_parallel(known, lambda item: read(item.path, item.content), jobs=jobs)
    return frozenset(equal)
