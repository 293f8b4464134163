"""How fast cached targets are read into float32, against TinyViT's reader, FKD's files and bare memory maps.

Run ``python -m tests.benchmarks.read [--short] [--json]``. All sides hold the same views: real ImageNet logits cut to
K = 50 of 1,000 classes, in a cache of the default encoding that stage one's own code wrote. They take turns in one
process and thread, with all files in the page cache, and count in CPU seconds. No side's opening is timed: TinyViT's
would read all its keys.

- whole blocks, in sequence: class ids and float32 values, (1,024 or 4,096, K) at a time from ``Cache.targets``;
  TinyViT's reader finds, reads and parses its records one by one, in the order of its file, and puts 256 together;
- batches of 256 in the order of training, as tensors: rows of shuffle windows of 4,096 samples, as an epoch plan has
  them; TinyViT's records are shuffled throughout;
- the same batches as dense float32 probabilities (B, 1000) at T = 1, which TinyViT's trainer needs and kdcache's does
  not.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kdcache.data.cells import RowCells
from kdcache.data.epoch_plan import EpochPlan, MicroBatch, PlanSettings
from kdcache.data.gather import gather_targets
from kdcache.logits import Float32, TopKLogits
from kdcache.losses.targets import TeacherTargets
from kdcache.store.read_once import ReadOnce
from kdcache.store.reader import Cache, open_cache
from tests.benchmarks import fkd, memmaps, tinyvit
from tests.benchmarks.cuts import Cuts, teacher_logits
from tests.benchmarks.rows import Row, in_turns, median_of, run_alone
from tests.benchmarks.units import TEACHER, cache_manifest, key_of, outcomes_of, write_cache

__all__ = ["measure", "rows"]

GOALS = {1024: 8.0, 4096: 10.0}
"""Times the views per CPU-second of TinyViT's reader, by rows of a block."""

_TOP_K = 50
_SEEDS = 8
_BATCH = 256

_MAPPED = 1024

Side = Callable[[int], object]
Seconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Files:
    """The same views in every format.

    Attributes:
        caches: by rows of a block.
        order: micro-batches of all epochs, by rows of a block.
    """

    caches: Mapping[int, Cache]
    order: Mapping[int, Sequence[MicroBatch]]
    reader: tinyvit.TinyViTReader
    keys: Sequence[str]
    shuffled: Sequence[str]
    fkd_folder: Path
    fkd_images: int
    records: memmaps.Records
    num_classes: int


def rows(*, short: bool = False) -> list[Row]:
    """Measure everything."""
    views_of_each, num_samples, repeats = (4, 4096, 7) if short else (16, 8192, 25)
    return measure(teacher_logits(views_of_each), num_samples=num_samples, repeats=repeats)


def measure(
    logits_NC: Float32, *, num_samples: int, repeats: int, rows_of_blocks: Sequence[int] = tuple(GOALS)
) -> list[Row]:
    """Read ``num_samples`` samples under 8 seeds from every side; their views are like the given ones."""
    torch.set_num_threads(1)
    cuts = Cuts.like(logits_NC, num_samples * _SEEDS, _TOP_K)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        files = _write(cuts, Path(folder), rows_of_blocks, opened)
        # A loader's worker makes batches of images, and glibc then keeps as much freed memory at hand. A process
        # that does not gives what it frees back at once, and gets it back page by page: all sides lose by that.
        np.ones((64, 3, 224, 224), dtype=np.uint8)
        sides = _sides(files)
        found = in_turns([side for side, _ in sides.values()], repeats)
    seconds = {
        name: np.array(times) / views for (name, (_, views)), times in zip(sides.items(), found, strict=True)
    }
    return _as_rows(seconds, rows_of_blocks)


def _write(cuts: Cuts, folder: Path, rows_of_blocks: Sequence[int], opened: ExitStack) -> _Files:
    caches, order = {}, {}
    for size in rows_of_blocks:
        manifest = cache_manifest(cuts, num_seeds=_SEEDS, rows_per_block=size)
        write_cache(folder / f"cache-{size}", manifest, outcomes_of(cuts, manifest, batch_size=1024))
        caches[size] = open_cache(folder / f"cache-{size}")
        order[size] = _training_order(caches[size])
    keys = [key_of(number) for number in range(len(cuts))]
    (folder / "tinyvit").mkdir()
    tinyvit.write_directly(folder / "tinyvit", keys, cuts.ids_NK, cuts.probs_NK, sync=False)
    memmaps.write_records(folder / "records.bin", cuts.ids_NK, cuts.probs_NK)
    (folder / "fkd").mkdir()
    images = min(256, len(cuts) // _SEEDS)
    of_images = slice(0, images * _SEEDS)
    by_image = (images, _SEEDS, cuts.top_k)
    fkd.write_images(
        folder / "fkd", cuts.ids_NK[of_images].reshape(by_image), cuts.probs_NK[of_images].reshape(by_image)
    )
    shuffled = np.random.Generator(np.random.PCG64(2)).permutation(len(keys))
    return _Files(
        caches=caches,
        order=order,
        reader=opened.enter_context(tinyvit.TinyViTReader(folder / "tinyvit", cuts.top_k)),
        keys=keys,
        shuffled=[keys[number] for number in shuffled],
        fkd_folder=folder / "fkd",
        fkd_images=images,
        records=memmaps.open_records(folder / "records.bin", cuts.top_k),
        num_classes=cuts.cut.num_classes,
    )


def _training_order(cache: Cache) -> list[MicroBatch]:
    seeds = {block.index: range(_SEEDS) for block in cache.blocks}
    cells = RowCells({block.index: np.arange(block.num_rows) for block in cache.blocks})
    settings = PlanSettings(run_seed=0, batch_size=_BATCH)
    plans = [EpochPlan(seeds, cells, settings, epoch=epoch) for epoch in range(_SEEDS)]
    return [plan.batch(number) for plan in plans for number in range(plan.num_batches)]


def _sides(files: _Files) -> dict[str, tuple[Side, int]]:
    """Return what reads, and how many views it reads in a turn."""
    all_views, some = len(files.keys), len(files.keys) // _SEEDS
    sides: dict[str, tuple[Side, int]] = {
        "tinyvit": (lambda _: _tinyvit_blocks(files, files.reader.parse), all_views),
        "tinyvit together": (lambda _: _tinyvit_blocks(files, files.reader.parse_together), all_views),
        "tinyvit batches": (lambda _: _tinyvit_batches(files), all_views),
        "tinyvit dense": (lambda turn: _tinyvit_dense(files, turn, some), some),
        "fkd": (
            lambda _: fkd.read_images(files.fkd_folder, range(files.fkd_images)),
            files.fkd_images * fkd.CROPS_OF_A_READ,
        ),
        "memmap copy": (lambda _: _memmap(files, memmaps.copy), all_views),
        "memmap float32": (lambda _: _memmap(files, memmaps.to_float32), all_views),
    }
    for size in files.caches:
        sides |= _cache_sides(files, size)
    return sides


def _cache_sides(files: _Files, size: int) -> dict[str, tuple[Side, int]]:
    cache, order = files.caches[size], files.order[size]
    an_epoch = len(order) // _SEEDS

    def blocks(_: int) -> None:
        for block in cache.blocks:
            for aug_seed in range(_SEEDS):
                cache.targets(TEACHER, block.index, aug_seed)

    def batches(_: int) -> None:
        for cut in _gathered(cache, order):
            TeacherTargets.from_numpy(cut)

    def dense(turn: int) -> None:
        first = turn % _SEEDS * an_epoch
        for cut in _gathered(cache, order[first : first + an_epoch]):
            torch.from_numpy(cut.to_dense_NC(1.0))

    return {
        f"blocks {size}": (blocks, len(files.keys)),
        f"batches {size}": (batches, len(order) * _BATCH),
        f"dense {size}": (dense, an_epoch * _BATCH),
    }


def _gathered(cache: Cache, order: Sequence[MicroBatch]) -> Iterator[TopKLogits]:
    """Yield batch after batch; each block is read once, as in a loader's worker."""
    targets = ReadOnce(cache.targets, size=len(cache.blocks))
    for micro_batch in order:
        yield gather_targets(lambda block, aug_seed: targets(TEACHER, block, aug_seed), micro_batch)


def _tinyvit_blocks(files: _Files, parse: Callable[..., object]) -> None:
    for first in range(0, len(files.keys), _BATCH):
        parse(files.reader.in_sequence(files.keys[first : first + _BATCH]))


def _tinyvit_batches(files: _Files) -> None:
    for first in range(0, len(files.shuffled), _BATCH):
        _, ids_BK, probs_BK = files.reader.parse(
            files.reader.at_random(files.shuffled[first : first + _BATCH])
        )
        torch.from_numpy(ids_BK).long()
        torch.from_numpy(probs_BK)


def _tinyvit_dense(files: _Files, turn: int, count: int) -> None:
    begin = turn * count % len(files.shuffled)
    for first in range(begin, begin + count, _BATCH):
        _, ids_BK, probs_BK = files.reader.parse(
            files.reader.at_random(files.shuffled[first : first + _BATCH])
        )
        tinyvit.dense_targets(ids_BK, probs_BK, files.num_classes)


def _memmap(files: _Files, read: Callable[[memmaps.Records], object]) -> None:
    for first in range(0, len(files.records), _MAPPED):
        read(files.records[first : first + _MAPPED])


def _as_rows(seconds: Mapping[str, Seconds], rows_of_blocks: Sequence[int]) -> list[Row]:
    def ratio(what: str, ours: str, theirs: str, goal: float | None = None) -> Row:
        note = f"{_speed(seconds[ours])} against {_speed(seconds[theirs])} views per CPU-second"
        return median_of(what, (seconds[theirs] / seconds[ours]).tolist(), goal=goal, note=note)

    found = []
    for size in rows_of_blocks:
        of_size = f"blocks of {size:,} rows"
        blocks, batches, dense = f"blocks {size}", f"batches {size}", f"dense {size}"
        found += [
            ratio(f"{of_size}, to float32: TinyViT's reader", blocks, "tinyvit", GOALS.get(size)),
            ratio(f"{of_size}, to float32: its records, parsed 256 at once", blocks, "tinyvit together"),
            ratio(f"{of_size}, batches in training order: TinyViT's reader", batches, "tinyvit batches"),
            ratio(f"{of_size}, the same as dense float32: TinyViT's reader", dense, "tinyvit dense"),
            ratio(f"{of_size}, to float32: FKD's files", blocks, "fkd"),
            ratio(f"{of_size}, to float32: a memmap to float32", blocks, "memmap float32"),
            ratio(f"{of_size}, to float32: a copy of a memmap", blocks, "memmap copy"),
        ]
    return found


def _speed(seconds: Seconds) -> str:
    return f"{1.0 / float(np.median(seconds)):,.0f}"


if __name__ == "__main__":
    run_alone(__doc__, rows)
