"""Make the golden store of format 1: ``python tests/golden/make_store.py``.

It must open for ever. Run this again only when the store is to hold more, never to make a test pass: a
change of what is there means a new format version. All values come from integer arithmetic.
"""

import shutil
from pathlib import Path

import numpy as np

from kdcache.config.views import ViewPolicy
from kdcache.digest import sample_digest, sha256_hex
from kdcache.logits import Float32, all_classes, top_k
from kdcache.store.encoding import empty_planes, encode
from kdcache.store.gap8 import count_saturated
from kdcache.store.manifest import (
    About,
    Encoding,
    Identity,
    Manifest,
    Preprocessing,
    ShardEntry,
    TeacherIdentity,
)
from kdcache.store.tables import STATUS_OK, STATUS_TOO_LARGE, STATUS_UNDECODABLE, SampleTable
from kdcache.store.writer import CacheWriter

PATH = Path(__file__).parent / "format-1"

KEYS = ("000000", "000001", "n01/é", "000003", "000004", "000005", "000006")
LABELS = (3, -1, 0, 7, 1, -1, 2)
STATUS = (STATUS_OK, STATUS_OK, STATUS_OK, STATUS_UNDECODABLE, STATUS_OK, STATUS_TOO_LARGE, STATUS_OK)
TEACHERS: dict[str, tuple[Encoding, int, int]] = {
    "gap8": ("gap8", 4, 10),
    "gap8-wide": ("gap8", 3, 70_000),
    "dense8": ("dense8", 10, 10),
    "float32": ("float32", 10, 10),
    "hard": ("hard", 1, 10),
}
ROWS, VIEWS, GROUP = 8, 4, 2


def logits_of(row: int, aug_seed: int, num_classes: int) -> Float32:
    """Return the logits (C,) of one view: multiples of 1/64, with ties, a far class and classes at -inf."""
    classes = np.arange(num_classes, dtype=np.int64)
    logits = (((classes * 7919 + row * 104_729 + aug_seed * 1_299_709) % 1009) / 64.0).astype(np.float32)
    logits[1] = logits[0]
    if row == 1:
        logits[2] = 60.0
    if row == 2:
        logits[4:] = -np.inf
        logits[0] = -np.inf
    return logits


def manifest() -> Manifest:
    """Describe the store."""
    policy = ViewPolicy.named("rrc", size=8)
    shards = [ShardEntry(name="golden-000.tar", num_samples=len(KEYS), digest=sha256_hex(b"golden"))]
    size = {"height": 8, "width": 8}
    preprocessing = Preprocessing(
        **size, mean=(0.5, 0.25, 0.125), std=(0.25, 0.25, 0.25), interpolation="bicubic"
    )
    identity = Identity(
        shards=tuple(shards),
        num_classes=10,
        policy=policy,
        policy_digest=policy.digest(),
        num_aug_seeds=VIEWS,
        rows_per_block=ROWS,
        seeds_per_group=GROUP,
        teachers={
            name: TeacherIdentity(
                architecture="golden",
                weights_sha256=sha256_hex(name.encode()),
                num_classes=num_classes,
                preprocessing=preprocessing,
                precision="float32",
                encoding=encoding,
                top_k=k,
            )
            for name, (encoding, k, num_classes) in TEACHERS.items()
        },
    )
    return Manifest(
        identity=identity, about=About(created="2026-01-01T00:00:00Z", software={"kdcache": "0.1.0"})
    )


def table() -> SampleTable:
    """Return the samples."""
    return SampleTable(
        keys=KEYS,
        labels=np.array(LABELS, dtype=np.int32),
        digests=np.array([sample_digest(key.encode()) for key in KEYS], dtype=np.uint64),
        status=np.array(STATUS, dtype=np.uint8),
    )


def write_group(writer: CacheWriter, group: int) -> None:
    """Write the views and all targets of one group."""
    seeds = range(group * GROUP, (group + 1) * GROUP)
    rows = [row for row, status in enumerate(STATUS) if status == STATUS_OK]
    digests_GR = np.zeros((GROUP, ROWS), dtype=np.uint32)
    digests_GR[:, rows] = [[row * 1000 + seed + 1 for row in rows] for seed in seeds]
    thumbnails = np.zeros((GROUP, 8, 8, 8, 3), dtype=np.uint8)
    thumbnails[:, rows] = np.arange(192).reshape(8, 8, 3)
    writer.write_views(0, group, digests_GR, thumbnails, seconds=0.5)
    for name, (encoding, k, num_classes) in TEACHERS.items():
        planes_GPR = empty_planes((GROUP, ROWS), encoding=encoding, top_k=k, num_classes=num_classes)
        saturated = 0
        for offset, seed in enumerate(seeds):
            logits_NC = np.stack([logits_of(row, seed, num_classes) for row in rows])
            cut = all_classes(logits_NC) if encoding in {"dense8", "float32"} else top_k(logits_NC, k)
            saturated += count_saturated(cut) if encoding == "gap8" else 0
            planes_GPR[offset][:, rows] = encode(cut, encoding=encoding, top_k=k)
        writer.write_targets(
            name,
            0,
            group,
            planes_GPR,
            labelled=8,
            correct=0,
            saturated=saturated,
            failures=table().failures(),
            seconds=0.25,
        )


def make(path: Path) -> None:
    """Write the whole store."""
    writer = CacheWriter.create_or_resume(path, manifest())
    writer.write_samples(0, table(), seconds=0.125)
    for group in range(VIEWS // GROUP):
        write_group(writer, group)
    writer.finish()


if __name__ == "__main__":
    shutil.rmtree(PATH, ignore_errors=True)
    make(PATH)
