"""Small real caches on disk, with targets that a test can compute again."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdcache.config.views import ViewPolicy
from kdcache.digest import sample_digest, sha256_hex
from kdcache.logits import Float32, all_classes, top_k
from kdcache.store.encoding import empty_planes, encode
from kdcache.store.features import encode_features
from kdcache.store.gap8 import count_saturated
from kdcache.store.layout import Block
from kdcache.store.manifest import (
    About,
    Encoding,
    FeaturesOf,
    Identity,
    Manifest,
    Preprocessing,
    ShardEntry,
    TeacherIdentity,
)
from kdcache.store.tables import STATUS_OK, STATUS_UNDECODABLE, SampleTable
from kdcache.store.writer import CacheWriter

__all__ = [
    "features_entry",
    "fill_block",
    "keys_of",
    "logits_of",
    "make_manifest",
    "make_store",
    "make_teacher",
    "table_of",
    "view_digests_of",
    "write_targets_of",
]


def keys_of(shard: int, num_samples: int) -> list[str]:
    """Return the keys of a shard's samples; every fifth is bad, every second has no label."""
    return [f"s{shard}-{number:04d}" for number in range(num_samples)]


def logits_of(teacher: str, key: str, aug_seed: int, num_classes: int) -> Float32:
    """Return the dense logits (C,) that the store's targets were cut from."""
    seed = zlib.crc32(f"{teacher}/{key}/{aug_seed}".encode())
    return (np.random.default_rng(seed).standard_normal(num_classes) * 2).astype(np.float32)


def make_teacher(
    *, encoding: Encoding = "gap8", top_k: int = 5, num_classes: int = 20, weights: str = "weights"
) -> TeacherIdentity:
    """Describe a teacher that no network stands behind."""
    return TeacherIdentity(
        architecture="testnet",
        weights_sha256=sha256_hex(weights.encode()),
        num_classes=num_classes,
        preprocessing=Preprocessing(
            height=32, width=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), interpolation="bilinear"
        ),
        precision="float32",
        encoding=encoding,
        top_k=num_classes if encoding in {"dense8", "float32"} else 1 if encoding == "hard" else top_k,
    )


def features_entry(teacher: TeacherIdentity, name: str, num_features: int = 6) -> TeacherIdentity:
    """Describe the embedding of a teacher; its values are ``logits_of`` its own name."""
    changes = {"encoding": "features16", "top_k": num_features, "features_of": FeaturesOf(teacher=name)}
    return TeacherIdentity.model_validate(teacher.model_dump() | changes)


def make_manifest(
    *,
    num_samples: Sequence[int] = (10, 7),
    rows_per_block: int = 8,
    num_aug_seeds: int = 4,
    seeds_per_group: int = 2,
    num_classes: int = 20,
    teachers: Mapping[str, TeacherIdentity] | None = None,
    policy: ViewPolicy | None = None,
) -> Manifest:
    """Describe a small cache: by default two shards, three blocks, two groups and a ``gap8`` teacher."""
    policy = policy or ViewPolicy.named("rrc", size=32)
    teachers = {"cnn": make_teacher(num_classes=num_classes)} if teachers is None else dict(teachers)
    identity = Identity(
        shards=tuple(
            ShardEntry(name=f"train-{i:03d}.tar", num_samples=n, digest=sha256_hex(b"%d" % i))
            for i, n in enumerate(num_samples)
        ),
        num_classes=num_classes,
        policy=policy,
        policy_digest=policy.digest(),
        num_aug_seeds=num_aug_seeds,
        rows_per_block=rows_per_block,
        seeds_per_group=seeds_per_group,
        teachers=dict(teachers),
    )
    facts = {name: {"source": "made up", "kept_mass": {"5": {"1": 0.75, "2": 0.5}}} for name in teachers}
    about = About(created="2026-01-01T00:00:00Z", software={"kdcache": "0.1.0"}, teachers=facts)
    return Manifest(identity=identity, about=about)


def table_of(block: Block) -> SampleTable:
    """Return the samples of a block."""
    keys = keys_of(block.shard, block.first + block.num_rows)[block.first :]
    numbers = np.arange(block.first, block.first + block.num_rows)
    return SampleTable(
        keys=tuple(keys),
        labels=np.where(numbers % 2 == 0, numbers % 10, -1).astype(np.int32),
        digests=np.array([sample_digest(key.encode()) for key in keys], dtype=np.uint64),
        status=np.where(numbers % 5 == 4, STATUS_UNDECODABLE, STATUS_OK).astype(np.uint8),
    )


def view_digests_of(writer: CacheWriter, block: Block, group: int) -> NDArray[np.uint32]:
    """Return made-up view digests (G, R) of a unit."""
    identity = writer.manifest.identity
    table = table_of(block)
    digests_GR = np.zeros((identity.seeds_per_group, identity.rows_per_block), dtype=np.uint32)
    for offset in range(identity.seeds_per_group):
        seed = group * identity.seeds_per_group + offset
        values = [zlib.crc32(f"{key}/{seed}".encode()) | 1 for key in table.keys]
        digests_GR[offset, : len(table)] = np.where(table.ok_N, values, 0)
    return digests_GR


def write_targets_of(writer: CacheWriter, teacher: str, block: Block, group: int) -> None:
    """Commit one unit of one teacher."""
    identity = writer.manifest.identity
    entry = identity.teachers[teacher]
    table, saturated, correct = table_of(block), 0, 0
    planes_GPR = empty_planes(
        (identity.seeds_per_group, identity.rows_per_block),
        encoding=entry.encoding,
        top_k=entry.top_k,
        num_classes=entry.num_classes,
    )
    rows = np.flatnonzero(table.ok_N)
    for offset in range(identity.seeds_per_group):
        seed = group * identity.seeds_per_group + offset
        if entry.features_of is not None:
            values_ND = np.stack([logits_of(teacher, table.keys[i], seed, entry.top_k) for i in rows])
            planes_GPR[offset][:, rows] = encode_features(values_ND)
            continue
        logits_NC = np.stack([logits_of(teacher, table.keys[i], seed, entry.num_classes) for i in rows])
        is_dense = entry.encoding in {"dense8", "float32"}
        cut = all_classes(logits_NC) if is_dense else top_k(logits_NC, entry.top_k)
        planes_GPR[offset][:, rows] = encode(cut, encoding=entry.encoding, top_k=entry.top_k)
        saturated += count_saturated(cut) if entry.encoding == "gap8" else 0
        correct += int((logits_NC.argmax(axis=1) == table.labels[rows]).sum())
    writer.write_targets(
        teacher,
        block.index,
        group,
        planes_GPR,
        labelled=identity.seeds_per_group * int((table.labels[rows] >= 0).sum()),
        correct=correct,
        saturated=saturated,
        failures=table.failures(),
        seconds=0.5,
    )


def fill_block(writer: CacheWriter, block: Block, *, groups: Sequence[int] | None = None) -> None:
    """Commit a block: its samples, and views and targets of the given groups (default: of all)."""
    writer.write_samples(block.index, table_of(block), seconds=0.25)
    for group in range(writer.layout.num_groups) if groups is None else groups:
        digests_GR = view_digests_of(writer, block, group)
        thumbnails = np.full((len(digests_GR), 8, 8, 8, 3), group, dtype=np.uint8)
        writer.write_views(block.index, group, digests_GR, thumbnails, seconds=0.25)
        for teacher in writer.manifest.identity.teachers:
            write_targets_of(writer, teacher, block, group)


def make_store(path: Path, manifest: Manifest | None = None, *, finished: bool = True) -> Path:
    """Write a whole small cache; every target can be had again from ``logits_of``."""
    writer = CacheWriter.create_or_resume(path, manifest or make_manifest())
    for block in writer.layout.blocks:
        fill_block(writer, block)
    if finished:
        writer.finish()
    return path
