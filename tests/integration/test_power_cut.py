"""A power cut at any moment leaves whole units only and keeps what was promised; the run can go on from there."""

import contextlib
import json
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kdcache.digest import sha256_hex
from kdcache.errors import KdcacheError
from kdcache.store import objects, open_cache, writer
from kdcache.store.commits import CommitRecord, ObjectDigest, dump_record
from kdcache.store.create import create_or_resume
from kdcache.store.layout import Unit, record_path
from kdcache.store.manifest import Manifest
from kdcache.store.objects import LocalObjects
from kdcache.store.pack import encode_object
from kdcache.store.writer import CacheWriter
from tests.support.power_cuts import (
    BOTH,
    Scenario,
    Scene,
    a_killed_run_and_another,
    a_run_beside_one_that_stands,
    two_runs,
)
from tests.support.stores import make_store

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")

SOAK = [pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Scene]:
    """Return a maker of scenes."""
    publish, finish = CacheWriter._publish, CacheWriter.finish

    def beginning(store: Any, wanted: Manifest, *, grow: bool = False) -> Manifest:
        manifest = create_or_resume(store, wanted, grow=grow)
        for name in manifest.identity.teachers:
            Scene.note(f"teacher {name}")
        return manifest

    def publishing(self: CacheWriter, *arguments: Any) -> CommitRecord:
        record = publish(self, *arguments)
        Scene.note(record.unit)
        return record

    def finishing(self: CacheWriter) -> None:
        finish(self)
        Scene.note("index")

    monkeypatch.setattr(os, "fsync", lambda _: None)  # what is not recorded need not wait for a real disk
    monkeypatch.setattr(writer, "create_or_resume", beginning)
    monkeypatch.setattr(CacheWriter, "_publish", publishing)
    monkeypatch.setattr(CacheWriter, "finish", finishing)
    undisturbed = open_cache(make_store(tmp_path / "undisturbed.zarr", BOTH)).content_id()
    return lambda: Scene(tmp_path / secrets.token_hex(4), undisturbed)


@contextlib.contextmanager
def written_unsynced(self: LocalObjects, target: Path, data: bytes) -> Iterator[Path]:
    self._make_folder(target.parent)
    temporary = target.parent / f".tmp-{secrets.token_hex(8)}"
    temporary.write_bytes(data)
    yield temporary
    temporary.unlink(missing_ok=True)


def publish_record_first(
    self: CacheWriter, unit: Unit, arrays: Any, fields: Any, compare: Any
) -> CommitRecord:
    places = zip(self.layout.objects_of(unit), arrays(), strict=True)
    packed = {spec.object_path(*position): encode_object(spec, array) for (spec, position), array in places}
    digests = [
        ObjectDigest(path=path, size=len(data), sha256=sha256_hex(data)) for path, data in packed.items()
    ]
    record = CommitRecord(unit=unit.name, objects=tuple(digests), **fields)
    self._objects.put_new(record_path(unit.name), dump_record(record))
    for path, data in packed.items():
        self._objects.put_new(path, data)
    return record


def put_new_or_nothing(self: LocalObjects, path: str, data: bytes) -> bool:
    target = self.root / path
    self._make_folder(target.parent)
    if target.exists() or not self._linked(target, data):
        return False
    objects._sync_folder(target.parent)
    return True


def make_folder_unsynced(self: LocalObjects, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


# The last value is the seed of a cut that catches it.
MISTAKES = [
    pytest.param(two_runs, LocalObjects, {"_written": written_unsynced}, 0, id="does not sync files"),
    pytest.param(two_runs, objects, {"_sync_folder": lambda _: None}, 0, id="does not sync folders"),
    pytest.param(
        two_runs, LocalObjects, {"_make_folder": make_folder_unsynced}, 0, id="does not sync new folders"
    ),
    pytest.param(two_runs, CacheWriter, {"_publish": publish_record_first}, 0, id="writes the record first"),
    pytest.param(
        a_killed_run_and_another,
        LocalObjects,
        {"settle": lambda _: None},
        27,
        id="trusts in what a killed run left",
    ),
    pytest.param(
        a_run_beside_one_that_stands,
        LocalObjects,
        {"put_new": put_new_or_nothing},
        12,
        id="trusts in the object of another writer",
    ),
    pytest.param(
        a_run_beside_one_that_stands,
        CacheWriter,
        {"_settle": lambda *_: None},
        23,
        id="trusts in the record of another writer",
    ),
]


@pytest.mark.parametrize(("scenario", "owner", "mistake", "likely"), MISTAKES)
def test_these_cuts_catch_a_writer_that(  # noqa: PLR0917
    scenario: Scenario,
    owner: Any,
    mistake: dict[str, Any],
    likely: int,
    stage: Callable[[], Scene],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, replacement in mistake.items():
        monkeypatch.setattr(owner, name, replacement)
    seeds = [*range(likely, 60), *range(likely)]
    assert any(_is_caught(stage(), scenario, seed) for seed in seeds)


def _is_caught(scene: Scene, scenario: Scenario, seed: int) -> bool:
    moments = scenario(scene, seed)
    try:
        deque(scene.left(moments, seed=seed, times=8), maxlen=0)
    except (AssertionError, FileNotFoundError, json.JSONDecodeError, KdcacheError):
        return True
    return False


@pytest.mark.parametrize("num_cuts", [100, pytest.param(2000, marks=SOAK)])
def test_a_cut_at_any_moment_of_two_runs_is_survived(num_cuts: int, stage: Callable[[], Scene]) -> None:
    scene = stage()
    moments = two_runs(scene, 0)
    for seed in range(num_cuts):
        scene.cut_often(moments, seed=seed, times=1)


@pytest.mark.parametrize("num_runs", [12, pytest.param(400, marks=SOAK)])
@pytest.mark.parametrize("scenario", [a_killed_run_and_another, a_run_beside_one_that_stands])
def test_a_cut_is_survived_after(scenario: Scenario, num_runs: int, stage: Callable[[], Scene]) -> None:
    for seed in range(num_runs):
        scene = stage()
        scene.cut_often(scenario(scene, seed), seed=seed, times=2)
