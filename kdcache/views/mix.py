"""Mixup and CutMix between the two samples of a pair, independent of batches, order and data set size.

Windows of 64 consecutive samples of a block are perfectly matched into pairs. A pair mixes its two views
with each other, so two mixed views cost two decodes.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdcache.config.views import Mixing, ViewPolicy
from kdcache.keys import Words, random_for
from kdcache.views.params import Box, MatchStream, MixStream

__all__ = [
    "MATCH_SEEDS",
    "MATCH_WINDOW",
    "ONE",
    "MixParams",
    "match_window",
    "mix_pair",
    "mix_params",
    "mix_views",
]

MATCH_WINDOW = 64
"""Rows of a window (W)."""

MATCH_SEEDS = 4
"""Consecutive augmentation seeds that share one matching, so that decoded pairs can be used again."""

ONE = 65536
"""The fixed-point 1 of lambda."""


@dataclass(frozen=True, slots=True)
class MixParams:
    """How the two views of a pair are mixed.

    Both rows keep the share ``lam`` of their own pixels and of their own label, and take the rest from the
    partner.

    Attributes:
        lam_q: lambda in 1/65,536; 65,536 means unmixed.
        box: the part that CutMix exchanges; None for mixup.
    """

    lam_q: int = ONE
    box: Box | None = None

    @property
    def lam(self) -> float:
        """The weight of the row's own label; exact in float32."""
        return self.lam_q / ONE


def match_window(first_key: str, aug_seed: int, num_rows: int) -> NDArray[np.int64]:
    """Return the partner of each row of a window as int64 (num_rows,); the odd one is its own partner.

    Args:
        first_key: key of the window's first sample.
        aug_seed: the seed of the view; MATCH_SEEDS consecutive ones share a matching.
        num_rows: at most MATCH_WINDOW; fewer only where the block ends. Bad samples count.
    """
    words = random_for("match", first_key, aug_seed // MATCH_SEEDS).words(MatchStream.ORDER, num_rows)
    order = list(range(num_rows))
    for last in range(num_rows - 1, 0, -1):
        other = words.integer(last + 1)
        order[last], order[other] = order[other], order[last]
    partners = np.arange(num_rows, dtype=np.int64)
    for one, other in zip(order[0::2], order[1::2], strict=False):
        partners[one], partners[other] = other, one
    return partners


def mix_params(pair_first_key: str, aug_seed: int, policy: ViewPolicy) -> MixParams:
    """Draw how a pair is mixed under one seed.

    Args:
        pair_first_key: key of the pair's first sample in shard order.
        aug_seed: the seed of the view.
        policy: without a mixing section nothing is mixed.
    """
    if policy.mixing is None:
        return MixParams()
    rng = random_for("mix", pair_first_key, aug_seed)
    kind = rng.words(MixStream.KIND, 2)
    if kind.uniform() >= policy.mixing.prob:
        return MixParams()
    cutmix = _takes_cutmix(policy.mixing, kind.uniform())
    alpha = policy.mixing.cutmix_alpha if cutmix else policy.mixing.mixup_alpha
    lam = rng.words(MixStream.LAMBDA, 64).beta(alpha)
    if not cutmix:
        return MixParams(lam_q=round(lam * ONE))
    return _cutmix_params(lam, rng.words(MixStream.BOX, 2), policy)


def _takes_cutmix(mixing: Mixing, u: float) -> bool:
    if mixing.mixup_alpha == 0.0:
        return True
    return mixing.cutmix_alpha > 0.0 and u < mixing.switch_prob


def _cutmix_params(lam: float, words: Words, policy: ViewPolicy) -> MixParams:
    """Place the box as timm does: uniform centre, clipped; lambda is what is left of the row's own area."""
    height, width = policy.height, policy.width
    share = math.sqrt(1.0 - lam)
    cut_h, cut_w = int(height * share), int(width * share)
    y, x = words.integer(height), words.integer(width)
    top, bottom = max(y - cut_h // 2, 0), min(y + (cut_h + 1) // 2, height)
    left, right = max(x - cut_w // 2, 0), min(x + (cut_w + 1) // 2, width)
    area = (bottom - top) * (right - left)
    if area == 0:
        return MixParams()
    total = height * width
    return MixParams(lam_q=ONE - (area * ONE + total // 2) // total, box=(left, top, right, bottom))


def mix_views(
    own_3HW: NDArray[np.uint8], partner_3HW: NDArray[np.uint8], params: MixParams
) -> NDArray[np.uint8]:
    """Return the row's own view mixed with its partner's, as a new uint8 array of the same shape."""
    if params.lam_q == ONE:
        return own_3HW.copy()
    if params.box is not None:
        left, top, right, bottom = params.box
        mixed = own_3HW.copy()
        mixed[..., top:bottom, left:right] = partner_3HW[..., top:bottom, left:right]
        return mixed
    weighted = own_3HW.astype(np.uint32)
    weighted *= params.lam_q
    weighted += partner_3HW.astype(np.uint32) * np.uint32(ONE - params.lam_q)
    weighted += ONE // 2
    weighted >>= 16
    return weighted.astype(np.uint8)


def mix_pair(one_3HW: NDArray[np.uint8], other_3HW: NDArray[np.uint8], params: MixParams) -> None:
    """Mix the two views of a pair with each other, in place."""
    if params.lam_q != ONE:
        own_3HW = one_3HW.copy()
        one_3HW[:] = mix_views(one_3HW, other_3HW, params)
        other_3HW[:] = mix_views(other_3HW, own_3HW, params)
