"""Ways to make a ``gap8`` cache smaller that were tried: what each would save, and what it would cost in truth.

The first two only compress the same numbers otherwise. The others store other numbers, which format 1 does not allow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kdcache.logits import TopKLogits, top_k
from kdcache.store.encoding import decode, encode
from kdcache.store.head import NUM_HEAD_PLANES, Planes
from tests.benchmarks.storage_coder import blosc_bytes
from tests.benchmarks.storage_formats import TEMPERATURES, fidelity
from tests.benchmarks.storage_outputs import Outputs

__all__ = ["Try", "tries"]


@dataclass(frozen=True, slots=True)
class Try:
    """One way, over all views.

    Attributes:
        what: what was done.
        k: kept classes.
        stored: bytes a view of the targets as stored.
        saved: bytes a view less than that.
        kl_of_exact: KL against the dense teacher by temperature, as a ratio to that of the exact cut.
    """

    what: str
    k: int
    stored: float
    saved: float
    kl_of_exact: dict[float, float]


@dataclass(frozen=True, slots=True)
class _Draft:
    """All views of a teacher as they would be stored, and as they would be read.

    Attributes:
        cut: before any rounding.
        planes_PM: what is compressed, all seeds side by side.
        read: what a reader makes of them.
        rows: of a chunk.
        level: of the codec.
    """

    cut: TopKLogits
    planes_PM: Planes
    read: TopKLogits
    rows: int
    level: int = 5

    @property
    def size(self) -> int:
        """The bytes of all chunks."""
        firsts = range(0, self.planes_PM.shape[1], self.rows)
        chunks = (self.planes_PM[:, first : first + self.rows] for first in firsts)
        return sum(blosc_bytes(chunk_PN, level=self.level) for chunk_PN in chunks)


def tries(outputs: Outputs, ks: Sequence[int]) -> list[Try]:
    """Try every way on a teacher's outputs."""
    found = []
    for k in ks:
        cut = top_k(outputs.logits_MC, k)
        planes_PM = encode(cut, encoding="gap8", top_k=k)
        read = decode(planes_PM, encoding="gap8", top_k=k, num_classes=cut.num_classes)
        stored = _Draft(cut, planes_PM, read, rows=outputs.digests_VN.shape[1])
        exact, size = _kl(outputs, cut), stored.size
        for what, changes in _WAYS.items():
            draft = stored
            for change in changes:
                draft = change(draft)
            kl = {t: value / exact[t] for t, value in _kl(outputs, draft.read).items()}
            found.append(Try(what, k, size / len(cut), (size - draft.size) / len(cut), kl))
    return found


def _kl(outputs: Outputs, cut: TopKLogits) -> dict[float, float]:
    return {t: fidelity(outputs, t, cut.to_dense_NC(t), cut.class_ids_NK).kl for t in TEMPERATURES}


def _level_9(draft: _Draft) -> _Draft:
    return replace(draft, level=9)


def _eighths(draft: _Draft) -> _Draft:
    """Round the distance to the best class to 1/8 nat instead of 1/16."""
    planes_PM, top1_M1 = draft.planes_PM.copy(), draft.cut.top1_N[:, None].astype(np.float64)
    steps_MK = np.floor((top1_M1 - draft.cut.logits_NK) * 8 + 0.5)
    planes_PM[steps_MK.shape[1] : -NUM_HEAD_PLANES] = np.diff(steps_MK, axis=1).T
    logits_MK = (draft.read.top1_N[:, None] - steps_MK / 8).astype(np.float32)
    return replace(draft, planes_PM=planes_PM, read=replace(draft.read, logits_NK=logits_MK))


def _finer_head(draft: _Draft) -> _Draft:
    """Store the head in 1/256 nat."""
    planes_PM, cut = draft.planes_PM.copy(), draft.cut
    head_6M = np.concatenate([cut.top1_N[None], cut.tail_N5.T])
    count_M = planes_PM[1 - NUM_HEAD_PLANES].copy()
    planes_PM[-NUM_HEAD_PLANES:] = np.floor(head_6M * 256 + 0.5).astype(np.int16).view(np.uint16)
    planes_PM[1 - NUM_HEAD_PLANES] = count_M
    return replace(draft, planes_PM=planes_PM, read=replace(draft.read, tail_N5=cut.tail_N5))


def _without_bend(draft: _Draft) -> _Draft:
    """Leave out how far the cubic through the other numbers misses the tail at T = 2."""
    tail_M5 = draft.read.tail_N5.copy()
    tail_M5[:, -1] = 0.0
    planes_PM = np.delete(draft.planes_PM, -1, axis=0)
    return replace(draft, planes_PM=planes_PM, read=replace(draft.read, tail_N5=tail_M5))


def _by_frequency(draft: _Draft) -> _Draft:
    """Number the classes by how often they are kept; a cache would hold the table once."""
    planes_PM, k = draft.planes_PM.copy(), draft.cut.logits_NK.shape[1]
    counts_C = np.bincount(planes_PM[:k].ravel(), minlength=draft.cut.num_classes)
    ranks_C = np.empty(len(counts_C), dtype=np.uint16)
    ranks_C[np.argsort(-counts_C, kind="stable")] = np.arange(len(counts_C))
    planes_PM[:k] = ranks_C[planes_PM[:k]]
    return replace(draft, planes_PM=planes_PM)


Change = Callable[[_Draft], _Draft]

_WAYS: dict[str, tuple[Change, ...]] = {
    "codec level 9 instead of 5": (_level_9,),
    "gaps of 1/8 nat": (_eighths,),
    "head in 1/256 nat": (_finer_head,),
    "no bend of the tail": (_without_bend,),
    "classes numbered by frequency": (_by_frequency,),
    "gaps of 1/8 nat, by frequency": (_eighths, _by_frequency),
}
