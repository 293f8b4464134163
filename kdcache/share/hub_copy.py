"""Copying a cache to a hub: many objects in a commit, the manifest in the last one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

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

__all__ = ["HubCopy", "HubOptions"]

_FILES_A_COMMIT, _BYTES_A_COMMIT = 1000, 1 << 30
_FILES_AT_ONCE, _BYTES_AT_ONCE = 256, 1 << 26
"""What is in memory; large files leave it as soon as they are sent."""


@dataclass(frozen=True, slots=True)
class HubOptions:
    """What only a hub has.

    Attributes:
        extra_files: by path below the cache, what the last commit adds beside the manifest: a card, say.
        private: a repository that is made is a private one.
    """

    extra_files: Mapping[str, bytes] = field(default_factory=dict)
    private: bool = False


class HubCopy:
    """Brings a repository to what a plan says."""

    def __init__(self, source: Source, hub: HubObjects, jobs: int, options: HubOptions) -> None:
        self._source, self._hub, self._jobs, self._options = source, hub, jobs, options
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
            self._commits.begin(private=self._options.private)
            is_through, extras = False, self._extras()
            while work.missing or extras:
                if is_through:
                    raise self._not_taken([*work.missing, *extras])
                read_back(self._hub, plan, work, jobs=self._jobs)
                items = [item for item in plan if item.path in work.missing]
                is_through = self._write(items, extras, progress)
                plan, work = survey(self._hub, plan, jobs=self._jobs)
                extras = self._extras()
        return f"the commit is {self._hub.commit}"

    def _write(self, items: Sequence[Item], extras: Mapping[str, bytes], progress: Progress) -> bool:
        """Make the commits; False if somebody else made one meanwhile, so that one has to look again."""
        batches = list(_cut(items, files=_FILES_A_COMMIT, num_bytes=_BYTES_A_COMMIT)) or [()]
        for batch in batches:
            parts = _cut(batch, files=_FILES_AT_ONCE, num_bytes=_BYTES_AT_ONCE)
            files = [file for part in parts for file in self._sent(part, progress)]
            if batch is batches[-1]:
                files += self._commits.upload(extras)
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

    def _extras(self) -> dict[str, bytes]:
        """Return those of the further files that are not there as they should be."""
        there = self._hub.files()
        wanted = self._options.extra_files.items()
        return {path: data for path, data in wanted if path not in there or not there[path].holds(data)}

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
