"""The pilot: how much of a teacher's mass the best K classes hold, measured before the run."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

__all__ = ["KeptMass", "kept_mass"]

KeptMass = dict[int, dict[str, float]]

_TEMPERATURES = (1.0, 2.0, 4.0)


def kept_mass(batches: Iterable[Tensor], ks: Sequence[int]) -> KeptMass:
    """Return {K: {T: mean share of the mass in the K best classes}}.

    Args:
        batches: float32 logits (B, C), without rows of bad samples.
        ks: the numbers of kept classes to ask about, each at most C.
    """
    sums_TK = torch.zeros(len(_TEMPERATURES), len(ks), dtype=torch.float64)
    num_rows = 0
    for logits_BC in batches:
        sorted_BC = logits_BC.to(torch.float64).sort(dim=1, descending=True).values
        for row, temperature in enumerate(_TEMPERATURES):
            mass_BC = torch.softmax(sorted_BC / temperature, dim=1).cumsum(dim=1)
            sums_TK[row] += mass_BC[:, [k - 1 for k in ks]].sum(dim=0)
        num_rows += len(logits_BC)
    means_TK = (sums_TK / max(num_rows, 1)).tolist()
    return {
        k: {f"{t:g}": round(means_TK[row][column], 6) for row, t in enumerate(_TEMPERATURES)}
        for column, k in enumerate(ks)
    }
