"""Large caches and their shards within seconds: real values, real objects and records, made-up pictures.

A cache of a million samples cannot be precomputed here. So a teacher's logits over crops of real photographs are
encoded once, a few blocks are drawn from them and written by the real writer, and every other block gets the bytes of
one of those under its own name, with a commit record of its own. The samples of each block are its own. A shard holds
pictures of one colour, so that the view digests of a block are known without rendering a million views, and a real
loader can check them.
"""

import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from timm.data.config import resolve_model_data_config

from kdcache.config.views import ViewPolicy
from kdcache.digest import sample_digest
from kdcache.logits import Float32, top_k
from kdcache.store.commits import CommitRecord, dump_record
from kdcache.store.encoding import empty_planes, encode
from kdcache.store.layout import (
    SAMPLES,
    THUMBNAIL_ROWS,
    Block,
    Unit,
    default_rows_per_block,
    default_seeds_per_group,
    record_path,
)
from kdcache.store.manifest import About, Identity, Manifest, Preprocessing, ShardEntry, TeacherIdentity
from kdcache.store.objects import LocalObjects
from kdcache.store.tables import STATUS_OK, SampleTable
from kdcache.store.writer import CacheWriter
from kdcache.views import decode_for, render_views, thumbnail, view_digest
from tests.benchmarks.scale_shards import link_indexed_shard, one_colour_pngs, write_indexed_shard
from tests.support.imagenet_teachers import ARCHITECTURES, save_imagenet_teacher
from tests.support.photographs import photographs

__all__ = [
    "ROWS_PER_SHARD",
    "TEACHER",
    "Outputs",
    "drawn_planes",
    "make_cache",
    "real_outputs",
    "shard_sizes",
]

ROWS_PER_SHARD = 1252
"""ImageNet-1k in 1,024 shards, as WebDataset packs it."""

TEACHER = "lite0"
_DISTINCT = 2
"""So many blocks of each size are encoded; the others have their bytes."""

_NOISE = 0.25
_VIEW_SIZE = 32
_RECORD = {"labelled": 0, "correct": 0, "saturated": 0, "failures": {}, "seconds": 1.0}


@dataclass(frozen=True)
class Outputs:
    """What a teacher says of real photographs.

    Attributes:
        logits_NC: of each crop.
        thumbnails: uint8 (N, 8, 8, 3) of each crop.
    """

    logits_NC: Float32
    thumbnails: NDArray[np.uint8]


@dataclass
class _Master:
    """A block that was encoded: its shard, and the records of its units."""

    colours: NDArray[np.uint8]
    pictures: NDArray[np.uint8]
    shard: tuple[ShardEntry, SampleTable] | None = None
    records: list[CommitRecord] = field(default_factory=list)


def real_outputs(crops_per_photograph: int = 16) -> Outputs:
    """Run EfficientNet-Lite0 over random crops of 19 photographs."""
    policy = ViewPolicy.named("rrc")
    with tempfile.TemporaryDirectory() as folder:
        model = timm.create_model(ARCHITECTURES[0], pretrained=False).eval()
        model.load_state_dict(load_file(save_imagenet_teacher(0, Path(folder))))
    config = resolve_model_data_config(model)
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    logits, thumbnails = [], []
    for photograph in photographs():
        image = decode_for(policy, photograph.encoded, where=photograph.name)
        views = render_views(photograph.name, image, range(crops_per_photograph), policy)
        with torch.inference_mode():
            logits.append(model((torch.from_numpy(views) / 255 - mean) / std).numpy())
        thumbnails += [thumbnail(view) for view in views]
    return Outputs(np.concatenate(logits), np.stack(thumbnails))


def drawn_planes(
    outputs: Outputs, num_rows: int, *, top_k_: int = 50, num_classes: int = 1000, seed: int = 0
) -> NDArray[np.uint16]:
    """Return encoded targets (P, N) of rows that are drawn at random, each with a little noise.

    The classes of a row are moved on by a random number, so that all are as common as they are in ImageNet: 19
    photographs show few, which would take less space. Ids of a larger class space are spread over all of it.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    logits_NC = outputs.logits_NC[rng.integers(0, len(outputs.logits_NC), num_rows)]
    noise_NC = rng.standard_normal(logits_NC.shape, dtype=np.float32)
    cut = top_k(logits_NC + np.float32(_NOISE) * noise_NC, top_k_)
    assert cut.class_ids_NK is not None
    spread = rng.permutation(num_classes)
    moved_NK = (cut.class_ids_NK + rng.integers(0, num_classes, (num_rows, 1))) % num_classes
    cut.class_ids_NK[:] = spread[moved_NK]
    planes_PN: NDArray[np.uint16] = encode(cut, encoding="gap8", top_k=top_k_)
    return planes_PN


def shard_sizes(num_samples: int) -> list[int]:
    """Return how many samples each shard holds.

    >>> sizes = shard_sizes(1_281_167)
    >>> len(sizes), min(sizes), max(sizes)
    (1024, 1251, 1252)
    """
    num_shards = -(-num_samples // ROWS_PER_SHARD)
    each, more = divmod(num_samples, num_shards)
    return [each + (number < more) for number in range(num_shards)]


def make_cache(
    folder: Path,
    num_samples: int,
    *,
    num_views: int,
    outputs: Outputs,
    pool_rows: int = 4096,
    repeat_samples: bool = False,
) -> tuple[Path, list[str]]:
    """Write a whole cache and its shards below ``folder``, with their indexes; return (cache, shards).

    With ``repeat_samples`` the samples of a few shards are those of all: keys need to be unique within a shard only.
    """
    folder.mkdir(parents=True)
    pool_PN = drawn_planes(outputs, pool_rows)
    maker = _Maker(folder, outputs, pool_PN, seed=num_samples, repeat_samples=repeat_samples)
    # What is made here is thrown away: it need not survive a power cut, which would cost 7 ms an object.
    with mock.patch("os.fsync"):
        made = [maker.write_shard(number, size) for number, size in enumerate(shard_sizes(num_samples))]
        entries = tuple(entry for entry, _ in made)
        writer = CacheWriter.create_or_resume(folder / "cache.zarr", _manifest(entries, num_views))
        for block in writer.layout.blocks:
            maker.write_block(writer, block, made[block.shard][1])
        writer.finish()
    return folder / "cache.zarr", [str(folder / entry.name) for entry in entries]


def _manifest(entries: tuple[ShardEntry, ...], num_views: int) -> Manifest:
    policy = ViewPolicy.named("rrc", size=_VIEW_SIZE)
    rows = default_rows_per_block([entry.num_samples for entry in entries])
    teacher = TeacherIdentity(
        architecture=ARCHITECTURES[0],
        weights_sha256="0" * 64,
        num_classes=1000,
        preprocessing=Preprocessing(
            height=224, width=224, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic"
        ),
        precision="float32",
        encoding="gap8",
        top_k=50,
    )
    identity = Identity(
        shards=entries,
        num_classes=1000,
        policy=policy,
        policy_digest=policy.digest(),
        num_aug_seeds=num_views,
        rows_per_block=rows,
        seeds_per_group=default_seeds_per_group(num_views, rows),
        teachers={TEACHER: teacher},
    )
    return Manifest(identity=identity, about=About(created="2026-11-21T00:00:00Z"))


class _Maker:
    """Writes shards and their blocks; a shard is one block."""

    def __init__(
        self, folder: Path, outputs: Outputs, pool_PN: NDArray[np.uint16], *, seed: int, repeat_samples: bool
    ) -> None:
        self._folder, self._outputs, self._pool_PN = folder, outputs, pool_PN
        self._repeat_samples = repeat_samples
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._masters: defaultdict[int, list[_Master]] = defaultdict(list)
        self._master_of: dict[int, _Master] = {}
        self._objects = LocalObjects(folder / "cache.zarr")

    def write_shard(self, number: int, size: int) -> tuple[ShardEntry, SampleTable]:
        """Write a shard; return what a cache says of it and of its samples."""
        masters, name = self._masters[size], f"train-{number:05d}.tar"
        if len(masters) < _DISTINCT:
            colours = self._rng.integers(0, 256, (size, 3), dtype=np.uint8)
            masters.append(_Master(colours, one_colour_pngs(colours)))
        master = self._master_of[number] = masters[number % len(masters)]
        if master.shard is None or not self._repeat_samples:
            master.shard = self._new_shard(number, name, master.pictures)
            return master.shard
        entry, table = master.shard
        link_indexed_shard(self._folder / entry.name, self._folder / name)
        return entry.model_copy(update={"name": name}), table

    def _new_shard(
        self, number: int, name: str, pictures: NDArray[np.uint8]
    ) -> tuple[ShardEntry, SampleTable]:
        size = len(pictures)
        # Random bytes behind a picture's end tell it from all others.
        pictures[:, -16:] = self._rng.integers(0, 256, (size, 16), dtype=np.uint8)
        labels = self._rng.integers(0, 1000, size)
        keys = tuple(f"n{label:08d}_{number * 2048 + row}" for row, label in enumerate(labels.tolist()))
        digest = write_indexed_shard(self._folder / name, keys, pictures, labels)
        digests = np.array([sample_digest(picture.tobytes()) for picture in pictures], dtype=np.uint64)
        status = np.full(size, STATUS_OK, dtype=np.uint8)
        table = SampleTable(keys, labels.astype(np.int32), digests, status)
        return ShardEntry(name=name, num_samples=size, digest=digest), table

    def write_block(self, writer: CacheWriter, block: Block, table: SampleTable) -> None:
        """Commit a block: its samples, and all of its views and targets."""
        master = self._master_of[block.shard]
        is_new = not master.records
        if is_new:
            master.records.append(writer.write_samples(block.index, table, seconds=1.0))
            master.records += self._encoded(writer, block, master.colours)
        elif not self._repeat_samples:
            writer.write_samples(block.index, table, seconds=1.0)
        for record in master.records[is_new * len(master.records) :]:
            if self._repeat_samples or not record.unit.startswith(f"{SAMPLES}/"):
                self._copy_unit(writer, record, block)

    def _encoded(self, writer: CacheWriter, block: Block, colours: NDArray[np.uint8]) -> list[CommitRecord]:
        identity, records = writer.manifest.identity, []
        shape = (identity.seeds_per_group, identity.rows_per_block)
        for group in range(writer.layout.num_groups):
            digests_GR = np.zeros(shape, dtype=np.uint32)
            digests_GR[:, : block.num_rows] = _view_digests(colours)
            drawn = self._rng.integers(0, len(self._outputs.thumbnails), (shape[0], THUMBNAIL_ROWS))
            records.append(
                writer.write_views(
                    block.index, group, digests_GR, self._outputs.thumbnails[drawn], seconds=1.0
                )
            )
            planes_GPR = empty_planes(shape, encoding="gap8", top_k=50, num_classes=1000)
            for planes_PR in planes_GPR:
                rows = self._rng.integers(0, self._pool_PN.shape[1], block.num_rows)
                planes_PR[:, : block.num_rows] = self._pool_PN[:, rows]
            records.append(writer.write_targets(TEACHER, block.index, group, planes_GPR, **_RECORD))  # type: ignore[arg-type]
        return records

    def _copy_unit(self, writer: CacheWriter, master: CommitRecord, block: Block) -> None:
        """Commit the bytes of another block's unit under this block's name."""
        kind, _, place = master.unit.rpartition("/")
        _, dash, group = place.partition("-")
        unit = Unit(kind, block.index, int(group) if dash else None)
        entries = []
        for (spec, position), entry in zip(writer.layout.objects_of(unit), master.objects, strict=True):
            path = spec.object_path(*position)
            self._objects.put_new(path, self._objects.get(entry.path))
            entries.append(entry.model_copy(update={"path": path}))
        record = master.model_copy(update={"unit": unit.name, "objects": tuple(entries)})
        self._objects.put_new(record_path(unit.name), dump_record(record))


def _view_digests(colours: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return the digest of each colour's view: every crop of it is the same."""
    pixels = np.empty((3, _VIEW_SIZE, _VIEW_SIZE), dtype=np.uint8)
    digests = np.empty(len(colours), dtype=np.uint32)
    for row, colour in enumerate(colours):
        pixels[:] = colour[:, None, None]
        digests[row] = view_digest(pixels)
    return digests
