"""Runs on a disk that loses what was not synced, and what must be true after each power cut."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from kdcache.digest import sha256_hex
from kdcache.store import open_cache
from kdcache.store.manifest import Manifest
from kdcache.store.verify import verify
from kdcache.store.writer import CacheWriter
from tests.support.lossy_disk import LossyDisk
from tests.support.stores import fill_block, make_manifest, make_teacher

__all__ = [
    "BOTH",
    "Scenario",
    "Scene",
    "a_killed_run_and_another",
    "a_run_beside_one_that_stands",
    "two_runs",
]

Scenario = Callable[["Scene", int], range]


def _manifest(*names: str) -> Manifest:
    teachers = {name: make_teacher(weights=name) for name in names}
    return make_manifest(
        num_samples=(6,), rows_per_block=4, num_aug_seeds=1, seeds_per_group=1, teachers=teachers
    )


def _run(cache: Path, manifest: Manifest) -> None:
    """Do what is not committed yet, as precompute does; what was is as good as promised."""
    store = CacheWriter.create_or_resume(cache, manifest)
    committed = store.committed()
    for unit in committed:
        Scene.note(unit)
    for block in store.layout.blocks:
        if not all(f"{teacher}/{block.index}-0" in committed for teacher in manifest.identity.teachers):
            fill_block(store, block)
    store.finish()


FIRST, BOTH = _manifest("cnn"), _manifest("cnn", "vit")


class Scene:
    """A cache on a disk that loses what was not synced, and what must be true after each power cut."""

    recorded: LossyDisk | None = None
    num_cuts = num_records = 0

    def __init__(self, folder: Path, content_id: str) -> None:
        (folder / "disk").mkdir(parents=True)
        self.disk = LossyDisk(folder / "disk")
        self.cache = self.disk.root / "c.zarr"
        self._left = folder / "left"
        self._content_id = content_id

    @classmethod
    def note(cls, promise: str) -> None:
        """Hear of a promise of a writer: a call returned, so what it did must last."""
        if cls.recorded is not None:
            cls.recorded.note(promise)

    @contextlib.contextmanager
    def recording(self, **how: Any) -> Iterator[None]:
        """Note what happens to the disk, and what is promised meanwhile."""
        Scene.recorded = self.disk
        try:
            with self.disk.recording(**how):
                yield
        finally:
            Scene.recorded = None

    def cut_often(self, moments: range, *, seed: int, times: int) -> None:
        """Cut at some of the moments; each time, see what is left and run again to the end."""
        for cache in self.left(moments, seed=seed, times=times):
            _run(cache, BOTH)
            assert open_cache(cache).content_id() == self._content_id
            verify(cache)

    def left(self, moments: range, *, seed: int, times: int) -> Iterator[Path]:
        """Cut at some of the moments, check what is left and yield it."""
        rng = Random(seed)
        for _ in range(times):
            moment = rng.choice(moments)
            self.disk.cut_power(moment, seed=rng.getrandbits(32), into=self._left)
            self._check(self._left / "c.zarr", self.disk.promised(moment))
            yield self._left / "c.zarr"
            shutil.rmtree(self._left)
            Scene.num_cuts += 1

    def _check(self, cache: Path, promised: set[str]) -> None:
        paths = sorted((cache / "commits").rglob("*.json"))
        records = [json.loads(path.read_bytes())["record"] for path in paths if path.name != "index.json"]
        for entry in (entry for record in records for entry in record["objects"]):
            assert sha256_hex((cache / entry["path"]).read_bytes()) == entry["sha256"]
        there = {record["unit"] for record in records}
        there |= {"index"} if cache / "commits" / "index.json" in paths else set()
        if (cache / "zarr.json").exists():
            assert verify(cache).units == len(records)
            there |= {f"teacher {name}" for name in open_cache(cache).manifest.identity.teachers}
        assert promised <= there
        Scene.num_records += len(records)


def two_runs(scene: Scene, seed: int) -> range:
    """Make a cache, add a teacher; return the moments at which a power cut is of interest."""
    with scene.recording():
        _run(scene.cache, FIRST)
        _run(scene.cache, BOTH)
    return range(len(scene.disk.events) + 1)


def a_killed_run_and_another(scene: Scene, seed: int) -> range:
    """Kill a run, often before it makes a name durable; the next run builds on what it left."""
    rng = Random(seed)
    moment, syncs = rng.randrange(5, 430), rng.randrange(3, 190)
    how = {"kill_at": moment} if seed % 4 == 0 else {"meanwhile": (syncs, scene.disk.kill)}
    with scene.recording(**how):
        _run(scene.cache, FIRST)
        _run(scene.cache, BOTH)
    first = len(scene.disk.events)
    with scene.recording():
        _run(scene.cache, BOTH)
    return range(first, min(first + 60, len(scene.disk.events) + 1))


def a_run_beside_one_that_stands(scene: Scene, seed: int) -> range:
    """Let a writer stand before it makes a name durable, while another does the work, or a part, and finishes."""
    rng = Random(seed)
    num_blocks = rng.randrange(3)
    moments: list[int] = []

    def work(other: CacheWriter) -> None:
        moments.append(len(scene.disk.events))
        for block in other.layout.blocks[:num_blocks]:
            fill_block(other, block)
        other.finish()
        moments.append(len(scene.disk.events))

    with scene.recording():
        other = CacheWriter.create_or_resume(scene.cache, BOTH)
    with scene.recording(meanwhile=(rng.randrange(18, 80), lambda: work(other))):
        _run(scene.cache, BOTH)
        if not moments:
            work(other)
    return range(moments[0], moments[1] + 1)
