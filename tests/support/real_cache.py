"""A cache over real shards whose teacher is a formula: what stage one writes, without a network."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdcache.config.views import ViewPolicy
from kdcache.data.index import expand_shards, index_shard
from kdcache.data.pairs import partners_of
from kdcache.data.shards import ShardReader
from kdcache.digest import sample_digest
from kdcache.logits import Float32, all_classes, top_k
from kdcache.store.encoding import empty_planes, encode
from kdcache.store.layout import Block, default_rows_per_block, default_seeds_per_group
from kdcache.store.manifest import About, Encoding, Identity, Manifest, ShardEntry
from kdcache.store.tables import STATUS_OK, SampleTable
from kdcache.store.writer import CacheWriter
from kdcache.views import decode_for, render_views, thumbnail, view_digest
from kdcache.views.fingerprint import decoder_fingerprint
from kdcache.views.mix import mix_params, mix_views
from tests.support.stores import make_teacher

__all__ = ["formula_logits", "make_real_cache"]


def formula_logits(view_3HW: NDArray[np.uint8], num_classes: int) -> Float32:
    """Return logits (C,) that depend on the pixels, in quarters."""
    means_C = (
        view_3HW.reshape(-1)[: num_classes * 16].reshape(num_classes, 16).astype(np.float32).mean(axis=1)
    )
    logits_C: Float32 = (np.round(means_C / 8.0) / 4.0).astype(np.float32)
    return logits_C


def make_real_cache(
    path: Path,
    shards: Sequence[str],
    *,
    policy: ViewPolicy | None = None,
    num_aug_seeds: int = 4,
    seeds_per_group: int | None = None,
    rows_per_block: int | None = None,
    num_classes: int = 10,
    encoding: Encoding = "gap8",
    kept: int = 4,
    groups: Sequence[int] | None = None,
    teachers: Sequence[str] = ("formula",),
) -> Path:
    """Write a cache of all views (or of some groups) of the shards.

    The first teacher's logits are those of ``formula_logits``; each further one counts its classes one place on.
    """
    policy = policy or ViewPolicy.named("rrc", size=24)
    indexes = [index_shard(url) for url in expand_shards(shards)]
    rows = rows_per_block or default_rows_per_block([len(index) for index in indexes])
    identity = Identity(
        shards=tuple(ShardEntry(name=i.name, num_samples=len(i), digest=i.digest) for i in indexes),
        num_classes=num_classes,
        policy=policy,
        policy_digest=policy.digest(),
        num_aug_seeds=num_aug_seeds,
        rows_per_block=rows,
        seeds_per_group=seeds_per_group or default_seeds_per_group(num_aug_seeds, rows),
        teachers=dict.fromkeys(
            teachers, make_teacher(encoding=encoding, top_k=kept, num_classes=num_classes)
        ),
    )
    about = About(created="2026-01-01T00:00:00Z", decoder=dict(decoder_fingerprint()))
    writer = CacheWriter.create_or_resume(path, Manifest(identity=identity, about=about))
    for block in writer.layout.blocks:
        _write_block(writer, block, ShardReader(indexes[block.shard]), groups)
    writer.finish()
    return path


def _write_block(
    writer: CacheWriter, block: Block, reader: ShardReader, groups: Sequence[int] | None
) -> None:
    identity = writer.manifest.identity
    raws = [reader.read(block.first + row) for row in range(block.num_rows)]
    table = SampleTable(
        keys=tuple(raw.key for raw in raws),
        labels=np.array([raw.label for raw in raws], dtype=np.int32),
        digests=np.array([sample_digest(raw.encoded) for raw in raws], dtype=np.uint64),
        status=np.full(len(raws), STATUS_OK, dtype=np.uint8),
    )
    writer.write_samples(block.index, table, seconds=0.0)
    images = [decode_for(identity.policy, raw.encoded, where=raw.key) for raw in raws]
    for group in range(writer.layout.num_groups) if groups is None else groups:
        seeds = range(group * identity.seeds_per_group, (group + 1) * identity.seeds_per_group)
        views_GN = [_views_of(table, images, seed, identity.policy) for seed in seeds]
        _write_group(writer, block, group, views_GN)


def _views_of(
    table: SampleTable, images: Sequence[object], seed: int, policy: ViewPolicy
) -> NDArray[np.uint8]:
    views = np.stack(
        [render_views(key, image, [seed], policy)[0] for key, image in zip(table.keys, images, strict=True)]  # type: ignore[arg-type]
    )
    if policy.mixing is None:
        return views
    mixed = views.copy()
    for row, partner in enumerate(partners_of(table, seed).tolist()):
        if partner != row:
            params = mix_params(table.keys[min(row, partner)], seed, policy)
            mixed[row] = mix_views(views[row], views[partner], params)
    return mixed


def _write_group(
    writer: CacheWriter, block: Block, group: int, views_GN: Sequence[NDArray[np.uint8]]
) -> None:
    identity = writer.manifest.identity
    shape = (len(views_GN), identity.rows_per_block)
    digests_GR, thumbnails = (
        np.zeros(shape, dtype=np.uint32),
        np.zeros((len(views_GN), 8, 8, 8, 3), dtype=np.uint8),
    )
    for offset, views in enumerate(views_GN):
        digests_GR[offset, : len(views)] = [view_digest(view) for view in views]
        for row, view in enumerate(views[:8]):
            thumbnails[offset, row] = thumbnail(view)
    writer.write_views(block.index, group, digests_GR, thumbnails, seconds=0.0)
    facts = {"labelled": 0, "correct": 0, "saturated": 0, "failures": {}, "seconds": 0.0}
    for shift, (name, entry) in enumerate(identity.teachers.items()):
        planes = empty_planes(
            shape, encoding=entry.encoding, top_k=entry.top_k, num_classes=entry.num_classes
        )
        for offset, views in enumerate(views_GN):
            logits = np.stack([np.roll(formula_logits(view, entry.num_classes), shift) for view in views])
            is_dense = entry.encoding in {"dense8", "float32"}
            cut = all_classes(logits) if is_dense else top_k(logits, entry.top_k)
            planes[offset][:, : len(views)] = encode(cut, encoding=entry.encoding, top_k=entry.top_k)
        writer.write_targets(name, block.index, group, planes, **facts)  # type: ignore[arg-type]
