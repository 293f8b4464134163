"""Top-k teacher logits as NumPy arrays: the one form in which they are cut, encoded, read and joined.

Logits are natural-log scores before softmax (never probabilities). The tail is the classes that were cut off. Five
numbers say enough of it that any temperature can be chosen at training time, where kept classes follow
``softmax(logits / T) * (1 - tail mass at T)``.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NO_TAIL",
    "Float32",
    "Int32",
    "TopKLogits",
    "all_classes",
    "cubic_at_half",
    "order_keys",
    "tail_log_sum",
    "top_k",
]

NO_TAIL = (0.0, -np.inf, 0.0, 0.0, 0.0)

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
        tail_N5: float32; of the finite logits that were cut off their number, log(tail mass / kept mass) at T = 1,
            mean relative to ``top1_N`` (so never above 0), standard deviation, and the bend of ``tail_log_sum``;
            0, -inf, 0, 0, 0 (``NO_TAIL``) where there is no tail.
        num_classes: C, the size of the class space.
    """

    class_ids_NK: Int32 | None
    logits_NK: Float32
    top1_N: Float32
    tail_N5: Float32
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
            self.tail_N5[rows],
            self.num_classes,
        )

    def tail_mass_N(self, temperature: float) -> Float32:
        """Return the share of probability outside the kept classes at ``temperature``: ``tail_log_sum``."""
        has_tail_N = self.tail_N5[:, 0] > 0
        log_odds_N = self.tail_N5[:, 1] if temperature == 1.0 else self._tail_log_odds_N(temperature)
        half_N = np.tanh(np.float32(0.5) * np.where(has_tail_N, log_odds_N, np.float32(0.0)))
        mass_N: Float32 = np.where(has_tail_N, 0.5 * (1.0 + half_N), 0.0).astype(np.float32)
        return mass_N

    def _tail_log_odds_N(self, temperature: float) -> Float32:
        """Return log(tail mass / kept mass); rows without a tail have any number."""
        count_N, log_odds_N, mean_N, std_N, bend_N = self.tail_N5.T
        has_tail_N = count_N > 0
        below_NK = np.where(has_tail_N[:, None], self.logits_NK - self.top1_N[:, None], np.float32(0.0))
        inverse = np.float32(1.0 / temperature)
        log_tail_N = tail_log_sum(
            inverse,
            log_count=np.log(np.maximum(count_N, np.float32(1.0))),
            log_sum=np.where(has_tail_N, log_odds_N, np.float32(0.0)) + _log_sum_exp(below_NK),
            mean=mean_N,
            std=std_N,
            bend=bend_N,
            worst=below_NK[:, -1],
        )
        found_N: Float32 = log_tail_N - _log_sum_exp(below_NK * inverse)
        return found_N

    def kept_probs_NK(self, temperature: float) -> Float32:
        """Return the probabilities of the kept classes at ``temperature``; they sum to 1 - tail mass."""
        return self._kept_probs_NK(temperature, self.tail_mass_N(temperature))

    def _kept_probs_NK(self, temperature: float, tail_mass_N: Float32) -> Float32:
        scaled_NK = (self.logits_NK - self.top1_N[:, None]) / np.float32(temperature)
        exp_NK = np.exp(scaled_NK)
        probs_NK: Float32 = exp_NK * ((1.0 - tail_mass_N) / exp_NK.sum(axis=1))[:, None]
        return probs_NK

    def to_dense_NC(self, temperature: float) -> Float32:
        """Return probabilities over all C classes; the tail is spread evenly over the missing ones."""
        tail_mass_N = self.tail_mass_N(temperature)
        kept_NK = self._kept_probs_NK(temperature, tail_mass_N)
        if self.class_ids_NK is None:
            return kept_NK
        is_kept_NK = self.class_ids_NK >= 0
        num_missing_N = self.num_classes - is_kept_NK.sum(axis=1)
        fill_N = tail_mass_N / np.maximum(num_missing_N, 1)
        dense_NC = np.repeat(fill_N.astype(np.float32)[:, None], self.num_classes, axis=1)
        rows_N, columns_N = np.nonzero(is_kept_NK)
        dense_NC[rows_N, self.class_ids_NK[rows_N, columns_N]] = kept_NK[rows_N, columns_N]
        return dense_NC


def tail_log_sum(
    inverse: Any, *, log_count: Any, log_sum: Any, mean: Any, std: Any, bend: Any, worst: Any
) -> Any:
    """Return the log of the sum of exp(z / T) over the tail's n logits z, of NumPy arrays and tensors alike.

    With s = 1/T, B(s) = log sum exp(s z) starts at log n with the slope ``mean`` and the curvature ``std``^2, and is
    ``log_sum`` at s = 1. The cubic with these four properties misses B at s = 1/2 by ``bend``; up to s = 1 the quartic
    that has it, too, stands for B, held between the tangent at 0 and the chord, as B itself is, being convex. Beyond
    (T < 1) the slope grows towards ``worst``, which no logit of the tail exceeds: worst - g / (1 + r u)^2 at
    s = 1 + u, where g closes the gap at 1 and 2 r g, the curvature there, is std^2 where the logits lie close
    together and g^2, that of a crowd just below ``worst``, where they don't.

    Args:
        inverse: s, a scalar array or one of each row.
        log_count: log n.
        log_sum: B(1).
        mean: of the logits.
        std: their standard deviation.
        bend: B(1/2) less the cubic there.
        worst: the smallest kept logit, relative to the same as all others.
    """
    inside, beyond = inverse.clip(max=1.0), (inverse - 1.0).clip(min=0.0)
    variance, chord = std * std, log_sum - log_count
    third, fourth = chord - mean - 0.5 * variance, 16.0 * bend
    rise = mean + inside * (0.5 * variance + inside * (third + (1.0 - inside) * fourth))
    rise = rise.clip(min=mean).clip(max=chord)
    slope = (mean + variance + 3.0 * third - fourth).clip(min=chord)
    gap = (worst - slope).clip(min=0.0)
    rate = 0.5 * variance * gap / (variance + gap * gap + 1e-6)
    return log_count + inside * rise + beyond * (worst - gap / (1.0 + rate * beyond))


def cubic_at_half(*, log_count: Any, log_sum: Any, mean: Any, std: Any) -> Any:
    """Return at s = 1/2 the cubic of ``tail_log_sum``; what the tail's log-sum at T = 2 exceeds it by is the bend."""
    return log_count + 0.375 * mean + std * std / 16.0 + 0.125 * (log_sum - log_count)


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

    Classes at -inf are never kept: their places read class id -1. The tail is that of the classes that are left, in
    float32 before any truncation.

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
    return TopKLogits(
        class_ids_NK=np.where(np.isneginf(kept_NK), -1, ids_NK).astype(np.int32),
        logits_NK=kept_NK,
        top1_N=top1_N,
        tail_N5=_tail(tail_NC - top1_N[:, None], kept_NK - top1_N[:, None]),
        num_classes=logits_NC.shape[1],
    )


def all_classes(logits_NC: Float32) -> TopKLogits:
    """Keep every class, in class order: what the dense encodings store. No tail is left.

    Raises:
        ValueError: a logit is NaN or +inf, or a row holds no finite logit.
    """
    top1_N = _largest(logits_NC)
    no_tail_N5 = np.tile(np.array(NO_TAIL, dtype=np.float32), (len(logits_NC), 1))
    return TopKLogits(None, logits_NC, top1_N, no_tail_N5, logits_NC.shape[1])


def _largest(logits_NC: Float32) -> Float32:
    top1_N: Float32 = logits_NC.max(axis=1)
    if not np.isfinite(top1_N).all():
        raise ValueError("logits hold NaN, +inf, or a row without a finite value")
    return top1_N


def _tail(tail_NC: Float32, kept_NK: Float32) -> Float32:
    is_finite_NC = np.isfinite(tail_NC)
    count_N = is_finite_NC.sum(axis=1)
    some_N = np.maximum(count_N, 1)
    mean_N = tail_NC.sum(axis=1, where=is_finite_NC, dtype=np.float64) / some_N
    squares_NC = np.square(tail_NC - mean_N[:, None])
    std_N = np.sqrt(squares_NC.sum(axis=1, where=is_finite_NC) / some_N)
    log_sum_N, half_N = (np.where(count_N > 0, _log_sum_exp(tail_NC * s), 0.0) for s in (1.0, 0.5))
    cubic_N = cubic_at_half(log_count=np.log(some_N), log_sum=log_sum_N, mean=mean_N, std=std_N)
    columns = [count_N, log_sum_N - _log_sum_exp(kept_NK), mean_N, std_N, half_N - cubic_N]
    tail_N5 = np.stack(columns, axis=1).astype(np.float32)
    tail_N5[count_N == 0] = NO_TAIL
    return tail_N5


def _log_sum_exp(values_NC: Float32) -> Float32:
    """Return log(sum(exp)) of each row; -inf only where a row has no finite value, however far down it is."""
    largest_N = values_NC.max(axis=1)
    shift_N = np.where(np.isneginf(largest_N), np.float32(0.0), largest_N)
    with np.errstate(divide="ignore"):
        log_N: Float32 = np.log(np.exp(values_NC - shift_N[:, None]).sum(axis=1)) + shift_N
    return log_N
