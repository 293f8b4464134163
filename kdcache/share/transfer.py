"""Copying a cache: every byte is checked before it gets a name, and the manifest comes last."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from kdcache.errors import ConfigError
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.progress import Progress, make_progress
from kdcache.share.content import content_of
from kdcache.share.destination import read_back, refuse_wrong, survey
from kdcache.share.hub_copy import HubCopy
from kdcache.share.plan import CopyPlan, Item, Work
from kdcache.share.pool import in_parallel
from kdcache.share.report import TransferReport
from kdcache.share.source import Source
from kdcache.store.hub_objects import HubObjects
from kdcache.store.objects import LocalObjects, ObjectStore

__all__ = ["refuse_same_place", "transfer"]


def refuse_same_place(source: ObjectStore, destination: ObjectStore) -> None:
    """Refuse to copy a cache onto itself.

    Raises:
        ConfigError: both are one place.
    """
    if _place(source) == _place(destination):
        raise ConfigError(f"source and destination are both {source.url}; give two places")


def transfer(
    source: Source,
    destination: ObjectStore,
    plan: CopyPlan,
    *,
    label: str,
    jobs: int,
    dry_run: bool,
    quiet: bool,
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
    private: bool = False,
) -> TransferReport:
    """Bring a destination to what ``plan`` says; what is there with equal checksum stays.

    Args:
        source: where the data objects come from.
        destination: where the copy is, in part or not at all yet.
        plan: the copy.
        label: of the progress.
        jobs: requests at once.
        dry_run: find out what there is to do, and write nothing.
        quiet: no progress.
        notes: for the report.
        warnings: likewise.
        private: a repository that has to be made on a hub is a private one.

    Raises:
        ManifestMismatchError: the destination holds another cache, or part of one.
        CorruptChunkError: an object of the source is damaged or missing; it is named.
        StoreError: the destination cannot be written, or holds something else.
        InterruptedRunError: a signal came; the same call goes on from there.
    """
    start = time.monotonic()
    plan, work = survey(destination, plan, jobs=jobs)
    if not dry_run:
        if isinstance(destination, HubObjects):
            copy = HubCopy(source, destination, jobs, private=private)
            notes = (*notes, copy.run(plan, work, label=label, quiet=quiet))
        else:
            _Copy(source, destination, jobs).run(plan, work, label=label, quiet=quiet)
    missing = [item for item in plan if item.path in work.missing]
    present = [item for item in plan if item.path not in work.missing]
    parent = plan.manifest.about.parent
    return TransferReport(
        source=source.objects.url,
        destination=destination.url,
        content_id=plan.content_id,
        parent=parent.content_id if parent else None,
        selection=parent.selection if parent else {},
        objects=len(missing),
        num_bytes=_num_bytes(missing),
        present=len(present),
        present_bytes=_num_bytes(present),
        read_back=len(work.unsure),
        reads=sum(item.content is None for item in missing) + len(work.unsure),
        writes=len(missing),
        seconds=round(time.monotonic() - start, 3),
        dry_run=dry_run,
        notes=tuple(notes),
        warnings=tuple(warnings),
    )


class _Copy:
    def __init__(self, source: Source, destination: ObjectStore, jobs: int) -> None:
        self._source, self._destination, self._jobs = source, destination, jobs
        self._done = self._total = 0

    def run(self, plan: CopyPlan, work: Work, *, label: str, quiet: bool) -> None:
        """Do what there is to do; whenever it ends, what is there is right, and the same call goes on."""
        todo = [item for item in plan if item.path in work.missing or item.path in work.unsure]
        self._total = len(todo)
        progress = make_progress(label, total=_num_bytes(todo), unit="bytes", quiet=quiet)
        with Interrupts() as interrupts, progress, interrupts.anywhere(self._standing):
            # Whoever was killed here before may not have made durable what is built on now.
            self._destination.settle()
            read_back(
                self._destination, plan, work, jobs=self._jobs, done=lambda item: self._tell(item, progress)
            )
            for stage in plan.stages():
                self._in_parallel([item for item in stage if item.path in work.missing], self._put, progress)

    def _put(self, item: Item) -> None:
        data = content_of(self._source, item)
        if item.may_change:
            self._destination.replace(item.path, data)
        elif not self._destination.put_new(item.path, data) and self._destination.get(item.path) != data:
            # Somebody else came first, a moment ago.
            refuse_wrong(self._destination, (item.path,))

    def _in_parallel(self, items: Sequence[Item], task: Callable[[Item], None], progress: Progress) -> None:
        def done(item: Item) -> None:
            self._tell(item, progress)

        in_parallel(items, task, jobs=self._jobs, size_of=lambda item: item.size, done=done)

    def _tell(self, item: Item, progress: Progress) -> None:
        self._done += 1
        progress.advance(item.size, f"{self._done:,} of {self._total:,} objects")

    def _standing(self) -> str:
        return f"{self._done:,} of {self._total:,} objects are done and stay; run the same command again to go on"


def _num_bytes(items: Iterable[Item]) -> int:
    return sum(item.size for item in items)


def _place(objects: ObjectStore) -> str:
    return str(Path(objects.url).resolve()) if isinstance(objects, LocalObjects) else objects.url
