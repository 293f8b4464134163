"""Top-k teacher logits as NumPy arrays: the one form in which they are cut, encoded, read and joined.

Logits are natural-log scores before softmax (never probabilities). The tail is what the cut leaves; its
mass at T = 1, 2 and 4 is computed from all logits before the cut, so that any temperature from 1 to 4 can
be chosen at training time: kept classes follow ``softmax(logits / T) * (1 - tail mass at T)``.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kdcache.errors import ConfigError

__all__ = [
    "TAIL_TEMPERATURES",
    "Float32",
    "Int32",
    "TopKLogits",
    "all_classes",
    "interpolate_tail",
    "order_keys",
    "top_k",
]

TAIL_TEMPERATURES = (1.0, 2.0, 4.0)

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class TopKLogits:
    """The kept classes of N views, with what is needed to know their tail.

    Attributes:
        class_ids_NK: kept classes, best first, -1 where there are fewer than K; None when every class is
            kept in class order (then K = C).
        logits_NK: float32 logits of the kept classes, absolute; -inf where there is no class.
        top1_N: float32 largest logit; NaN marks a row without targets (bad sample or padding).
        tail_log_odds_N3: float32 log(tail mass / kept mass) at T = 1, 2, 4; -inf where there is no tail.
        mean_N: float32 mean over all finite logits, relative to ``top1_N`` (so never above 0).
        std_N: float32 standard deviation over all finite logits.
        num_classes: C, the size of the class space.
    """

    class_ids_NK: Int32 | None
    logits_NK: Float32
    top1_N: Float32
    tail_log_odds_N3: Float32
    mean_N: Float32
    std_N: Float32
    num_classes: int

    def __len__(self) -> int:
        """Return N."""
        return len(self.top1_N)

    @property
    def valid_N(self) -> NDArray[np.bool_]:
        """True for rows that have targets."""
        return ~np.isnan(self.top1_N)

    def take(self, rows: Any) -> Self:
        """Return the given rows (an index array or a slice)."""
        return type(self)(
            None if self.class_ids_NK is None else self.class_ids_NK[rows],
            self.logits_NK[rows],
            self.top1_N[rows],
            self.tail_log_odds_N3[rows],
            self.mean_N[rows],
            self.std_N[rows],
            self.num_classes,
        )

    def tail_mass_N(self, temperature: float) -> Float32:
        """Return the share of probability outside the kept classes at ``temperature`` in [1, 4].

        Between the stored temperatures the log-odds are interpolated linearly in 1/T. Where every class is
        kept there is no tail at any temperature.

        Raises:
            ConfigError: classes were cut off and ``temperature`` is not in [1, 4].
        """
        if self.class_ids_NK is None:
            return np.zeros(len(self), dtype=np.float32)
        log_odds_N = interpolate_tail(self.tail_log_odds_N3, temperature)
        mass_N: Float32 = (0.5 * (1.0 + np.tanh(0.5 * log_odds_N))).astype(np.float32)
        return mass_N

    def kept_probs_NK(self, temperature: float) -> Float32:
        """Return the probabilities of the kept classes at ``temperature``; they sum to 1 - tail mass."""
        scaled_NK = (self.logits_NK - self.top1_N[:, None]) / np.float32(temperature)
        exp_NK = np.exp(scaled_NK)
        share_NK = exp_NK / exp_NK.sum(axis=1, keepdims=True)
        probs_NK: Float32 = share_NK * (1.0 - self.tail_mass_N(temperature))[:, None]
        return probs_NK

    def to_dense_NC(self, temperature: float) -> Float32:
        """Return probabilities over all C classes; the tail is spread evenly over the missing ones."""
        kept_NK = self.kept_probs_NK(temperature)
        if self.class_ids_NK is None:
            return kept_NK
        is_kept_NK = self.class_ids_NK >= 0
        num_missing_N = self.num_classes - is_kept_NK.sum(axis=1)
        fill_N = self.tail_mass_N(temperature) / np.maximum(num_missing_N, 1)
        dense_NC = np.repeat(fill_N.astype(np.float32)[:, None], self.num_classes, axis=1)
        rows_N, columns_N = np.nonzero(is_kept_NK)
        dense_NC[rows_N, self.class_ids_NK[rows_N, columns_N]] = kept_NK[rows_N, columns_N]
        return dense_NC


def interpolate_tail(tail_log_odds_N3: Float32, temperature: float) -> Float32:
    """Return the tail log-odds at ``temperature`` in [1, 4], linear in 1/T between the stored ones.

    Raises:
        ConfigError: ``temperature`` is not in [1, 4].
    """
    if not TAIL_TEMPERATURES[0] <= temperature <= TAIL_TEMPERATURES[-1]:
        raise ConfigError(
            f"temperature {temperature} is not between 1 and 4, where the mass of the cut-off classes "
            "is known; choose one from there, or precompute with the dense8 encoding"
        )
    inverse = 1.0 / temperature
    upper = 0 if inverse >= 0.5 else 1
    ends = 1.0 / TAIL_TEMPERATURES[upper], 1.0 / TAIL_TEMPERATURES[upper + 1]
    weight = np.float32((inverse - ends[1]) / (ends[0] - ends[1]))
    if weight == 1.0:
        return tail_log_odds_N3[:, upper]
    if weight == 0.0:
        return tail_log_odds_N3[:, upper + 1]
    mixed_N: Float32 = weight * tail_log_odds_N3[:, upper] + (1 - weight) * tail_log_odds_N3[:, upper + 1]
    return mixed_N


def order_keys(logits_NC: Float32) -> NDArray[np.int64]:
    """Return one int64 per class whose descending order is (logit descending, class id ascending).

    The high half holds the float's bits made monotone, the low half the mirrored class id, so that equal
    logits (one row in four at the cut, in bfloat16) have one order on every device. -0.0 counts as 0.0.
    """
    bits_NC = (logits_NC + np.float32(0.0)).view(np.int32).astype(np.int64)
    monotone_NC = np.where(bits_NC >= 0, bits_NC, -(bits_NC & 0x7FFFFFFF))
    class_ids_C = np.arange(logits_NC.shape[1], dtype=np.int64)
    return (monotone_NC << 32) | (0xFFFFFFFF - class_ids_C)


def top_k(logits_NC: Float32, k: int) -> TopKLogits:
    """Cut (N, C) float32 logits to their ``k`` best classes; the reference for the cut on the device.

    Classes at -inf are never kept: their places read class id -1. The tail's log-odds come from the
    classes that are left, in float32 before any truncation.

    Raises:
        ValueError: ``k`` is not in [1, C], a logit is NaN or +inf, or a row holds no finite logit.
    """
    if not 1 <= k <= logits_NC.shape[1]:
        raise ValueError(f"k={k} is not between 1 and the {logits_NC.shape[1]} classes")
    top1_N = _largest(logits_NC)
    ids_NK = np.argsort(-order_keys(logits_NC), axis=1)[:, :k]
    kept_NK = np.take_along_axis(logits_NC, ids_NK, axis=1)
    tail_NC = logits_NC.copy()
    np.put_along_axis(tail_NC, ids_NK, -np.inf, axis=1)
    mean_N, std_N = _moments(logits_NC - top1_N[:, None])
    return TopKLogits(
        class_ids_NK=np.where(np.isneginf(kept_NK), -1, ids_NK).astype(np.int32),
        logits_NK=kept_NK,
        top1_N=top1_N,
        tail_log_odds_N3=_tail_log_odds(tail_NC - top1_N[:, None], kept_NK - top1_N[:, None]),
        mean_N=mean_N,
        std_N=std_N,
        num_classes=logits_NC.shape[1],
    )


def all_classes(logits_NC: Float32) -> TopKLogits:
    """Keep every class, in class order: what the dense encodings store. No tail is left.

    Raises:
        ValueError: a logit is NaN or +inf, or a row holds no finite logit.
    """
    top1_N = _largest(logits_NC)
    mean_N, std_N = _moments(logits_NC - top1_N[:, None])
    no_tail_N3 = np.full((len(logits_NC), 3), -np.inf, dtype=np.float32)
    return TopKLogits(None, logits_NC, top1_N, no_tail_N3, mean_N, std_N, logits_NC.shape[1])


def _largest(logits_NC: Float32) -> Float32:
    top1_N: Float32 = logits_NC.max(axis=1)
    if not np.isfinite(top1_N).all():
        raise ValueError("logits hold NaN, +inf, or a row without a finite value")
    return top1_N


def _tail_log_odds(tail_NC: Float32, kept_NK: Float32) -> Float32:
    columns = [
        _log_sum_exp(tail_NC * np.float32(1.0 / temperature))
        - _log_sum_exp(kept_NK * np.float32(1.0 / temperature))
        for temperature in TAIL_TEMPERATURES
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _log_sum_exp(values_NC: Float32) -> Float32:
    """Return log(sum(exp)) of each row; -inf only where a row has no finite value, however far down it is."""
    largest_N = values_NC.max(axis=1)
    shift_N = np.where(np.isneginf(largest_N), np.float32(0.0), largest_N)
    with np.errstate(divide="ignore"):
        log_N: Float32 = np.log(np.exp(values_NC - shift_N[:, None]).sum(axis=1)) + shift_N
    return log_N


def _moments(relative_NC: Float32) -> tuple[Float32, Float32]:
    """Return mean and standard deviation over the finite logits of each row."""
    is_finite_NC = np.isfinite(relative_NC)
    mean_N = relative_NC.mean(axis=1, where=is_finite_NC, dtype=np.float64)
    std_N = relative_NC.std(axis=1, where=is_finite_NC, dtype=np.float64)
    return mean_N.astype(np.float32), std_N.astype(np.float32)
