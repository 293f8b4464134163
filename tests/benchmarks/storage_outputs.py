"""Real teacher outputs to store: ImageNet networks over crops of photographs, the demo's over its own pictures."""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from kdcache.config.precompute import TeacherConfig
from kdcache.config.views import ViewPolicy
from kdcache.data.index import expand_shards, index_shard
from kdcache.data.shards import ShardReader
from kdcache.demo.recipe import LABELLED, TEACHER, TRAIN_POLICY, UNLABELLED
from kdcache.digest import sample_digest
from kdcache.logits import Float32
from kdcache.store.tables import STATUS_OK, SampleTable
from kdcache.teachers.build import build_teacher
from kdcache.views import decode_for, render_views, thumbnail, view_digest
from tests.support.imagenet_teachers import ARCHITECTURES, save_imagenet_teacher
from tests.support.photographs import photographs

__all__ = ["Outputs", "demo_outputs", "imagenet_outputs", "probs"]

_THUMBNAILS = 8
# At 32 views the system spends as long on handing out memory as the network on computing.
_BATCH = 4


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a teacher says of N samples under V augmentation seeds.

    Attributes:
        teacher: its name.
        num_pictures: different pictures behind the samples.
        policy: how the views were drawn.
        table: the samples; several may have the same picture, under keys and so crops of their own.
        logits_VNC: float32.
        digests_VN: of the views, uint32.
        thumbnails: of the first 8 samples, uint8 (V, 8, 8, 8, 3).
    """

    teacher: str
    num_pictures: int
    policy: ViewPolicy
    table: SampleTable
    logits_VNC: Float32
    digests_VN: NDArray[np.uint32]
    thumbnails: NDArray[np.uint8]

    @property
    def num_views(self) -> int:
        """All views, V * N."""
        return self.digests_VN.size

    @property
    def num_classes(self) -> int:
        """Return C."""
        return int(self.logits_VNC.shape[2])

    @property
    def logits_MC(self) -> Float32:
        """The logits of all M = V * N views, seed by seed."""
        return self.logits_VNC.reshape(-1, self.num_classes)

    def shuffled(self) -> "Outputs":
        """Return them with the classes of every view in an order of its own: the least compressible ids."""
        logits_VNC = np.random.Generator(np.random.PCG64(0)).permuted(self.logits_VNC, axis=2)
        return Outputs(
            self.teacher,
            self.num_pictures,
            self.policy,
            self.table,
            logits_VNC,
            self.digests_VN,
            self.thumbnails,
        )

    def diversity(self) -> str:
        """Say how different the views are for the teacher."""
        probs_MC = probs(self.logits_MC, 1.0)
        entropy = -np.sum(probs_MC * np.log(np.maximum(probs_MC, 1e-300)), axis=1)
        top1, best = len(np.unique(probs_MC.argmax(axis=1))), probs_MC.max(axis=1)
        return (
            f"{self.num_views:,} views of {self.num_pictures:,} pictures, mean entropy {entropy.mean():.2f} nat, "
            f"{top1} different top-1 classes of {self.num_classes:,}, mean top-1 probability {best.mean():.2f}"
        )


def probs(logits_MC: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """Return the softmax at a temperature, in float64."""
    scaled_MC = (logits_MC.astype(np.float64) - logits_MC.max(axis=1, keepdims=True)) / temperature
    exp_MC = np.exp(scaled_MC)
    found_MC: NDArray[np.float64] = exp_MC / exp_MC.sum(axis=1, keepdims=True)
    return found_MC


def imagenet_outputs(numbers: Sequence[int], *, num_samples: int, num_aug_seeds: int) -> list[Outputs]:
    """Return the outputs of EfficientNet-Lite ``numbers`` over the same ``rrc`` crops of the 19 photographs."""
    policy, photos = ViewPolicy.named("rrc"), photographs()[:num_samples]
    images = [decode_for(policy, photo.encoded, where=photo.name) for photo in photos]
    places = [divmod(row, len(photos)) for row in range(num_samples)]
    table = SampleTable(
        keys=tuple(f"{photos[place].name}-{turn:03d}" for turn, place in places),
        labels=np.full(num_samples, -1, dtype=np.int32),
        digests=np.array([sample_digest(photos[place].encoded) for _, place in places], dtype=np.uint64),
        status=np.full(num_samples, STATUS_OK, dtype=np.uint8),
    )
    with tempfile.TemporaryDirectory() as name:
        teachers = [
            TeacherConfig(model=ARCHITECTURES[number], checkpoint=save_imagenet_teacher(number, Path(name)))
            for number in numbers
        ]
        return _outputs(
            teachers,
            [images[place] for _, place in places],
            table,
            num_pictures=len(photos),
            policy=policy,
            num_aug_seeds=num_aug_seeds,
        )


def demo_outputs(*, num_samples: int, num_aug_seeds: int) -> Outputs:
    """Return the outputs of the demo's teacher over the first of its 2,000 training pictures."""
    policy = ViewPolicy.parse(TRAIN_POLICY, where="benchmark")
    readers = [ShardReader(index_shard(url)) for url in expand_shards([LABELLED, UNLABELLED])]
    samples = (reader.read(row) for reader in readers for row in range(len(reader.index)))
    raws = list(itertools.islice(samples, num_samples))
    table = SampleTable(
        keys=tuple(raw.key for raw in raws),
        labels=np.array([raw.label for raw in raws], dtype=np.int32),
        digests=np.array([sample_digest(raw.encoded) for raw in raws], dtype=np.uint64),
        status=np.full(len(raws), STATUS_OK, dtype=np.uint8),
    )
    images = [decode_for(policy, raw.encoded, where=raw.key) for raw in raws]
    teacher = TeacherConfig.parse(TEACHER | {"name": "demo"}, where="benchmark")
    (found,) = _outputs(
        [teacher], images, table, num_pictures=len(raws), policy=policy, num_aug_seeds=num_aug_seeds
    )
    return found


def _outputs(
    configs: Sequence[TeacherConfig],
    images: Sequence[Image.Image],
    table: SampleTable,
    *,
    num_pictures: int,
    policy: ViewPolicy,
    num_aug_seeds: int,
) -> list[Outputs]:
    """Render each view once, and show it to every teacher."""
    teachers = [build_teacher(config, device=torch.device("cpu")) for config in configs]
    shape = (num_aug_seeds, len(images))
    logits = [np.empty((*shape, teacher.num_classes), dtype=np.float32) for teacher in teachers]
    digests_VN = np.empty(shape, dtype=np.uint32)
    thumbnails = np.zeros((num_aug_seeds, _THUMBNAILS, 8, 8, 3), dtype=np.uint8)
    for rows in _batches(len(images), max(1, _BATCH // num_aug_seeds)):
        views = [render_views(table.keys[row], images[row], range(num_aug_seeds), policy) for row in rows]
        for row, views_V3HW in zip(rows, views, strict=True):
            digests_VN[:, row] = [view_digest(view) for view in views_V3HW]
            if row < _THUMBNAILS:
                thumbnails[:, row] = [thumbnail(view) for view in views_V3HW]
        batch = torch.from_numpy(np.concatenate(views))
        for teacher, logits_VNC in zip(teachers, logits, strict=True):
            found = teacher(batch).numpy().reshape(len(rows), num_aug_seeds, -1)
            logits_VNC[:, rows.start : rows.stop] = found.swapaxes(0, 1)
    return [
        Outputs(teacher.name, num_pictures, policy, table, logits_VNC, digests_VN, thumbnails)
        for teacher, logits_VNC in zip(teachers, logits, strict=True)
    ]


def _batches(count: int, size: int) -> Iterator[range]:
    for first in range(0, count, size):
        yield range(first, min(first + size, count))
