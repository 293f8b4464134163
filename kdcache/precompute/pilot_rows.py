"""The rows of a pilot: what a run would commit, for a few hundred views spread over the data."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kdcache.errors import TeacherError
from kdcache.precompute.encoded_rows import EncodedRows, complaint_about
from kdcache.precompute.look import Look
from kdcache.precompute.outcome import Outcome
from kdcache.precompute.panel import Panel
from kdcache.precompute.plan import Item, Task, spread
from kdcache.precompute.reader import ItemReader, rendered_items
from kdcache.store.encoding import empty_planes
from kdcache.store.manifest import TeacherIdentity
from kdcache.views.mix import MATCH_WINDOW

__all__ = ["RUN", "PilotRows", "chunk_rows", "pilot_items", "pilot_rows"]

RUN = 8
"""Consecutive samples of a run: Blosc's bitshuffle puts the same bit of eight rows into one byte, and
neighbours may be alike."""

Rows = NDArray[np.intp]


def pilot_rows(look: Look) -> "PilotRows":
    """Render a pilot under the run's own policy, and ask the teachers that have work to do.

    Raises:
        TeacherError: NaN or +inf.
    """
    identity, settings = look.identity, look.prepared.settings
    items = pilot_items(
        [0 if index is None else len(index) for index in settings.data.indexes],
        settings.config.check_samples,
        run=RUN if identity.policy.mixing is None else MATCH_WINDOW,
        num_aug_seeds=identity.num_aug_seeds,
    )
    reader = ItemReader(settings.data.indexes, identity.policy, num_classes=identity.num_classes)
    rendered = rendered_items(reader, items, processes=min(settings.readers, len(items)))
    names = tuple(name for name in look.names if look.tasks_of(name))
    panel = Panel(look.prepared.teachers, identity.teachers, settings.tuning)
    outcomes = panel.outcomes((item, Task(look.blocks[0], 0, names)) for item in rendered)
    return PilotRows.of(outcomes, {name: identity.teachers[name] for name in names})


def pilot_items(counts: Sequence[int], wanted: int, *, run: int, num_aug_seeds: int) -> tuple[Item, ...]:
    """Return runs of ``wanted`` samples in all, evenly spaced over shards of these sizes.

    Each run is seen under another seed; where there are fewer samples, each is seen under several.
    """
    seeds = max(1, min(num_aug_seeds, wanted // sum(counts)))
    places = spread([-(-count // run) for count in counts], -(-wanted // run))
    items = []
    for i, (shard, number) in enumerate(places):
        samples = tuple(range(number * run, min((number + 1) * run, counts[shard])))
        aug_seeds = tuple((i * seeds + k) % num_aug_seeds for k in range(seeds))
        items.append(Item(shard, samples, aug_seeds, thumbnail_rows=len(samples)))
    return tuple(items)


@dataclass(frozen=True, slots=True)
class PilotRows:
    """Views as a run would commit them, one a row, in runs of consecutive samples under one seed.

    Attributes:
        runs: the rows of each run.
        planes: by teacher, encoded targets (P, N); the fill for bad samples.
        ok_N: False for bad samples.
        labels_N: int32.
        thumbnails_N: uint8 (N, 8, 8, 3).
        num_samples: how many samples there are views of.
    """

    runs: tuple[range, ...]
    planes: Mapping[str, NDArray[Any]]
    ok_N: NDArray[np.bool_]
    labels_N: NDArray[np.int32]
    thumbnails_N: NDArray[np.uint8]
    num_samples: int

    @classmethod
    def of(cls, outcomes: Iterable[Outcome], identities: Mapping[str, TeacherIdentity]) -> Self:
        """Encode what the teachers of ``identities`` say.

        Raises:
            TeacherError: NaN or +inf.
        """
        parts = sorted(
            (part for outcome in outcomes for part in _parts(outcome, identities)), key=lambda part: part.turn
        )
        ends = np.cumsum([len(part.ok_N) for part in parts]).tolist()
        starts = [0, *ends]
        return cls(
            runs=tuple(
                range(first, min(first + RUN, end))
                for start, end in zip(starts, ends, strict=False)
                for first in range(start, end, RUN)
            ),
            planes={
                name: np.concatenate([part.planes[name] for part in parts], axis=1) for name in identities
            },
            ok_N=np.concatenate([part.ok_N for part in parts]),
            labels_N=np.concatenate([part.labels_N for part in parts]),
            thumbnails_N=np.concatenate([part.thumbnails_N for part in parts]),
            num_samples=sum(len(part.ok_N) for part in parts if part.turn == 0),
        )

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.ok_N)

    @property
    def share_ok(self) -> float:
        """The share of views that are of good samples."""
        return float(self.ok_N.mean())


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one item under one of its seeds, the ``turn``-th."""

    turn: int
    planes: dict[str, NDArray[Any]]
    ok_N: NDArray[np.bool_]
    labels_N: NDArray[np.int32]
    thumbnails_N: NDArray[np.uint8]


def _parts(outcome: Outcome, identities: Mapping[str, TeacherIdentity]) -> Iterator[_Part]:
    rendered = outcome.rendered
    planes = {name: _planes_PNG(name, entry, outcome) for name, entry in identities.items()}
    for turn in range(len(rendered.item.aug_seeds)):
        yield _Part(
            turn,
            {name: planes_PNG[:, :, turn] for name, planes_PNG in planes.items()},
            rendered.table.ok_N,
            rendered.table.labels,
            rendered.thumbnails[turn],
        )


def _planes_PNG(name: str, entry: TeacherIdentity, outcome: Outcome) -> NDArray[Any]:
    """Return a teacher's planes of the samples of one item under its seeds, as a run would commit them."""
    table, num_seeds = outcome.rendered.table, len(outcome.rendered.item.aug_seeds)
    is_ok_B = np.repeat(table.ok_N, num_seeds)
    planes_PB = empty_planes(
        (len(is_ok_B),), encoding=entry.encoding, top_k=entry.top_k, num_classes=entry.num_classes
    )
    values = outcome.cuts[name].to_numpy()
    complaint = complaint_about(values, is_ok_B)
    if complaint is not None:
        raise TeacherError(
            f"{entry.subject(name)} returned {complaint.problem} for a view of {table.keys[0]!r} or of a sample "
            f"close behind it. {complaint.remedy}"
        )
    if is_ok_B.any():
        planes_PB[:, is_ok_B] = EncodedRows.of(values, is_ok_B, entry).planes_PB
    return planes_PB.reshape(len(planes_PB), len(table), num_seeds)


def chunk_rows(runs: Sequence[range], *, num_rows: int, num_chunks: int) -> Rows:
    """Return the pilot's rows that fill each chunk (num_chunks, num_rows), whole runs where they fit.

    When all runs are used up, runs are drawn again, their rows in another order: a compressor would notice
    the same bytes, and must not find what is not there in the data.

    >>> chunk_rows([range(0, 2), range(2, 4)], num_rows=2, num_chunks=2).tolist()
    [[0, 1], [2, 3]]
    """
    coming = _endless(runs)
    chunks = []
    for _ in range(num_chunks):
        rows: list[int] = []
        while len(rows) < num_rows:
            rows += next(coming)
        chunks.append(rows[:num_rows])
    return np.array(chunks)


def _endless(runs: Sequence[range]) -> Iterator[list[int]]:
    yield from map(list, runs)
    words = np.random.Philox(key=0)
    while True:
        run = runs[int(words.random_raw()) % len(runs)]
        order = np.argsort(words.random_raw(len(run)))
        yield [run[i] for i in order]
