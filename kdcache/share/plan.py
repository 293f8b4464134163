"""What a copy consists of, object by object, and what of it a destination lacks. Nothing here reads or writes."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kdcache.digest import sha256_hex
from kdcache.store.commits import CommitRecord, content_id, dump_index, dump_record
from kdcache.store.documents import pretty_json
from kdcache.store.layout import INDEX_PATH, ROOT_PATH, SUMS_PATH, Layout, record_path
from kdcache.store.manifest import Manifest
from kdcache.store.root import array_documents
from kdcache.store.sums import dump_sums

__all__ = ["CopyPlan", "Item", "Work", "compare", "plan_copy"]


@dataclass(frozen=True, slots=True)
class Item:
    """One object of the copy.

    Attributes:
        content: its bytes, where they follow from manifest and records; None: they are read from the source.
        record: of a data object, the path of the record that names it.
        may_change: the format lets others replace it.
        is_extra: no part of the cache: one that differs is replaced.
    """

    path: str
    size: int
    sha256: str
    content: bytes | None = None
    record: str = ""
    may_change: bool = False
    is_extra: bool = False

    @classmethod
    def of(cls, path: str, content: bytes, *, may_change: bool = False, is_extra: bool = False) -> "Item":
        """Return the item of a text that is known already."""
        digest = sha256_hex(content)
        return cls(path, len(content), digest, content, may_change=may_change, is_extra=is_extra)


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """A whole copy, in the order of writing: what a reader looks for first comes last.

    Attributes:
        manifest: of the copy.
        content_id: of the copy.
        data: the data objects.
        records: the commit records.
        documents: metadata of the arrays, and the compacted records.
        sums: ``SHA256SUMS``.
        extras: files beside the cache, as its card.
        root: the manifest.
    """

    manifest: Manifest
    content_id: str
    data: tuple[Item, ...]
    records: tuple[Item, ...]
    documents: tuple[Item, ...]
    sums: Item
    extras: tuple[Item, ...]
    root: Item

    def stages(self) -> tuple[tuple[Item, ...], ...]:
        """Return the items in groups; each group is complete before the next one begins."""
        return (self.data, self.records, self.documents, (self.sums,), self.extras, (self.root,))

    def __iter__(self) -> Iterator[Item]:
        """Yield every item."""
        return (item for stage in self.stages() for item in stage)


@dataclass(frozen=True, slots=True)
class Work:
    """What is left to do at a destination.

    Attributes:
        missing: paths that have to be put.
        unsure: data objects of the right size of which only their bytes can tell whether they are right.
        wrong: what is there under a name of the plan, but is something else.
    """

    missing: frozenset[str]
    unsure: frozenset[str] = frozenset()
    wrong: tuple[str, ...] = ()


def plan_copy(
    manifest: Manifest,
    root: bytes,
    records: Iterable[CommitRecord],
    *,
    extra_files: Mapping[str, bytes] = MappingProxyType({}),
) -> CopyPlan:
    """Plan the copy of a cache that holds just these units, with files beside it."""
    records = tuple(records)
    entries = [(entry, record_path(record.unit)) for record in records for entry in record.objects]
    data = tuple(Item(entry.path, entry.size, entry.sha256, record=path) for entry, path in entries)
    proofs = tuple(Item.of(record_path(record.unit), dump_record(record)) for record in records)
    layout = Layout.of(manifest.identity)
    texts = {path: pretty_json(document) for path, document in array_documents(layout).items()}
    documents = tuple(
        Item.of(path, text, may_change=True)
        for path, text in (texts | {INDEX_PATH: dump_index(records)}).items()
    )
    sums = dump_sums((item.path, item.sha256) for item in (*data, *proofs, *documents))
    return CopyPlan(
        manifest=manifest,
        content_id=content_id(manifest.identity, (entry for entry, _ in entries)),
        data=data,
        records=proofs,
        documents=documents,
        sums=Item.of(SUMS_PATH, sums, may_change=True),
        extras=tuple(
            Item.of(path, content, may_change=True, is_extra=True) for path, content in extra_files.items()
        ),
        root=Item.of(ROOT_PATH, root),
    )


def compare(
    plan: CopyPlan,
    sizes: Mapping[str, int],
    sums: Mapping[str, str],
    equal: Collection[str],
    *,
    is_whole: bool,
) -> Work:
    """Say what is left to do where some objects are already.

    Args:
        plan: the copy.
        sizes: of what is there.
        sums: sha256 of what is there, as far as it is known.
        equal: records and extras that were read there and are the plan's.
        is_whole: there is a cache of the plan's content id, and the plan was made from its own records: whatever
            of it is there stays as it is, but for data objects of another size.
    """
    states: dict[str, list[str]] = {"missing": [], "unsure": [], "wrong": [], "right": []}
    for item in plan:
        is_right = item.path in sums or item.path in equal or item.record in equal
        if item.path not in sizes:
            state = "missing"
        elif item.is_extra:
            state = "right" if item.path in equal else "missing"
        elif is_whole and not item.record:
            state = "right"
        elif sizes[item.path] != item.size or sums.get(item.path, item.sha256) != item.sha256:
            state = "missing" if item.may_change else "wrong"
        else:
            state = "right" if is_whole or is_right else _without_proof(item)
        states[state].append(item.path)
    return Work(frozenset(states["missing"]), frozenset(states["unsure"]), tuple(states["wrong"]))


def _without_proof(item: Item) -> str:
    """Return what an object of the right size is; records were all read, so one that is not equal is wrong."""
    if item.record:
        return "unsure"
    return "missing" if item.may_change else "wrong"
