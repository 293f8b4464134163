"""Copying a cache to a hub: many objects in a commit, the manifest in the last one."""

from collections.abc import Iterator, Sequence

from kdcache.errors import StoreError
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.progress import Progress, make_progress
from kdcache.share.content import content_of
from kdcache.share.destination import read_back, survey
from kdcache.share.hub_commits import HubCommits
from kdcache.share.plan import CopyPlan, Item, Work
from kdcache.share.pool import in_parallel
from kdcache.share.source import Source
from kdcache.store.hub_objects import HubObjects

__all__ = ["HubCopy"]

_FILES_A_COMMIT, _BYTES_A_COMMIT = 1000, 1 << 30
_FILES_AT_ONCE, _BYTES_AT_ONCE = 256, 1 << 26
"""What is in memory; large files leave it as soon as they are sent."""


class HubCopy:
    """Brings a repository to what a plan says."""

    def __init__(self, source: Source, hub: HubObjects, jobs: int, *, private: bool) -> None:
        self._source, self._hub, self._jobs, self._private = source, hub, jobs, private
        self._commits = HubCommits(hub, jobs=jobs)
        self._num_sent = self._done = self._total = 0

    def run(self, plan: CopyPlan, work: Work, *, label: str, quiet: bool) -> str:
        """Do what there is to do; whenever it ends, what is there is right, and the same call goes on.

        Returns:
            The commit that has all of it, for people.
        """
        todo = [item for item in plan if item.path in work.missing]
        self._total = len(todo)
        progress = make_progress(label, total=sum(item.size for item in todo), unit="bytes", quiet=quiet)
        with Interrupts() as interrupts, progress, interrupts.anywhere(self._standing):
            self._commits.begin(private=self._private)
            is_through = False
            while work.missing:
                if is_through:
                    raise self._not_taken(sorted(work.missing))
                read_back(self._hub, plan, work, jobs=self._jobs)
                items = [item for item in plan if item.path in work.missing]
                is_through = self._write(items, progress)
                plan, work = survey(self._hub, plan, jobs=self._jobs)
        return f"the commit is {self._hub.commit}"

    def _write(self, items: Sequence[Item], progress: Progress) -> bool:
        """Make the commits; False if somebody else made one meanwhile, so that one has to look again."""
        for batch in _cut(items, files=_FILES_A_COMMIT, num_bytes=_BYTES_A_COMMIT):
            parts = _cut(batch, files=_FILES_AT_ONCE, num_bytes=_BYTES_AT_ONCE)
            files = [file for part in parts for file in self._sent(part, progress)]
            if not self._commits.commit(files, f"Add {len(files):,} files of a kdcache cache"):
                return False
            self._done += len(batch)
        return True

    def _sent(self, items: Sequence[Item], progress: Progress) -> list[object]:
        contents: dict[str, bytes] = {}

        def read(item: Item) -> None:
            contents[item.path] = content_of(self._source, item)

        in_parallel(items, read, jobs=self._jobs)
        files = self._commits.upload(contents)
        self._num_sent += len(items)
        progress.advance(
            sum(item.size for item in items), f"{self._num_sent:,} of {self._total:,} objects sent"
        )
        return files

    def _not_taken(self, paths: Sequence[str]) -> StoreError:
        return StoreError(
            f"{self._hub.url} does not have {min(paths)} ({len(paths):,} such files), although it was committed; if "
            "the repository has a .gitignore, take out what leaves it out, and run the same command again"
        )

    def _standing(self) -> str:
        return (
            f"{self._done:,} of {self._total:,} objects are committed and stay, and so do large files that were sent; "
            "run the same command again to go on"
        )


def _cut(items: Sequence[Item], *, files: int, num_bytes: int) -> Iterator[tuple[Item, ...]]:
    """Yield the items in groups, in order; a group has more bytes only if it is one item."""
    group: list[Item] = []
    size = 0
    for item in items:
        if group and (len(group) == files or size + item.size > num_bytes):
            yield tuple(group)
            group, size = [], 0
        group.append(item)
        size += item.size
    if group:
        yield tuple(group)
