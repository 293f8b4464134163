"""Top-k logits to integer planes and back: ``gap8``, ``dense8``, ``float32`` and ``hard``.

Planes of one view, each a row of numbers over the block's rows; the head (``head.py``) ends all of them:

- ``gap8``: K class ids, best first; K - 1 gaps to the class before, in 1/16 nat, 255 = no more classes.
- ``dense8``: C times (top1 - logit) / step, 255 = -inf; two planes with the float32 bits of step.
- ``float32``: per class the float32 bits of its logit.
- ``hard``: the best class id.

Floats take two planes, high half first. All bits set in plane 0 marks a row without targets. Embeddings
(``features16``) are in ``features.py``.
"""

from typing import Any

import numpy as np

from kdcache.errors import CorruptChunkError
from kdcache.logits import NO_TAIL, Float32, TopKLogits
from kdcache.store.gap8 import decode_gap8, encode_gap8
from kdcache.store.head import NUM_HEAD_PLANES, Planes, check_head, decode_head, encode_head
from kdcache.store.manifest import Encoding, num_planes
from kdcache.store.rows import demand_rows

__all__ = ["decode", "empty_planes", "encode", "plane_dtype"]

_NO_CLASS = 255
_LARGEST_STEP = 254
_LARGEST_STEP_NATS = float(np.finfo(np.float32).max) / 256
_LARGEST_UINT16_CLASSES = 65_534


def plane_dtype(encoding: Encoding, num_classes: int) -> np.dtype[Any]:
    """Return uint16, or uint32 where class ids need it."""
    has_ids = encoding in {"gap8", "hard"}
    return np.dtype(np.uint32 if has_ids and num_classes > _LARGEST_UINT16_CLASSES else np.uint16)


def empty_planes(shape: tuple[int, ...], *, encoding: Encoding, top_k: int, num_classes: int) -> Planes:
    """Return planes (*shape, P, rows) of rows without targets, given (*shape, rows)."""
    planes = num_planes(encoding, top_k, num_classes)
    dtype = plane_dtype(encoding, num_classes)
    return np.full((*shape[:-1], planes, shape[-1]), np.iinfo(dtype).max, dtype=dtype)


def encode(cut: TopKLogits, *, encoding: Encoding, top_k: int) -> Planes:
    """Return the planes (P, N) of N views; rows whose top-1 is NaN become rows without targets.

    Raises:
        ValueError: the cut does not fit the encoding, or holds NaN or +inf.
    """
    _check_cut(cut, encoding, top_k)
    planes_PN = empty_planes((len(cut),), encoding=encoding, top_k=top_k, num_classes=cut.num_classes)
    if encoding in {"gap8", "hard"}:
        encode_gap8(cut, planes_PN[:-NUM_HEAD_PLANES], top_k)
    elif encoding == "dense8":
        _encode_dense8(cut, planes_PN[:-NUM_HEAD_PLANES])
    else:
        planes_PN[:-NUM_HEAD_PLANES] = _halves(cut.logits_NK)
    planes_PN[-NUM_HEAD_PLANES:] = encode_head(cut, planes_PN.dtype)
    planes_PN[:, ~cut.valid_N] = np.iinfo(planes_PN.dtype).max
    return planes_PN


def decode(planes_PN: Planes, *, encoding: Encoding, top_k: int, num_classes: int) -> TopKLogits:
    """Return the N views of planes (P, N).

    Every value that is returned is checked: whoever made the cache may have written anything.

    Raises:
        CorruptChunkError: the planes are not of this encoding, or hold what ``encode`` never writes.
        ValueError: the encoding is that of an embedding, which ``decode_features`` reads.
    """
    if encoding == "features16":
        raise ValueError("an embedding has no logits")
    if len(planes_PN) != num_planes(encoding, top_k, num_classes):
        raise CorruptChunkError(
            f"a view has {len(planes_PN)} planes, {encoding} with K={top_k} and {num_classes} classes has "
            f"{num_planes(encoding, top_k, num_classes)}; the chunk is damaged: run kdcache verify"
        )
    body_PN, head_6N = planes_PN[:-NUM_HEAD_PLANES], planes_PN[-NUM_HEAD_PLANES:]
    is_bad_N = planes_PN[0] == np.iinfo(planes_PN.dtype).max
    has_ids = encoding in {"gap8", "hard"}
    nats_6N = decode_head(head_6N)
    if has_ids:
        class_ids_NK, logits_NK = decode_gap8(body_PN, nats_6N[0], is_bad_N, num_classes)
    else:
        read = _decode_dense8 if encoding == "dense8" else _decode_float32
        class_ids_NK, logits_NK = None, read(body_PN, nats_6N[0], is_bad_N)
    check_head(head_6N, is_bad_N, largest_tail=num_classes - top_k)
    if class_ids_NK is not None:
        has_all_N = (class_ids_NK[:, -1] >= 0) | is_bad_N
        demand_rows(has_all_N | (nats_6N[1] == 0), "classes are missing, yet some were cut off")
    top1_N, tail_N5 = nats_6N[0], np.ascontiguousarray(nats_6N[1:].T)
    if is_bad_N.any():
        top1_N[is_bad_N], tail_N5[is_bad_N] = np.nan, NO_TAIL
    return TopKLogits(class_ids_NK, logits_NK, top1_N, tail_N5, num_classes)


def _check_cut(cut: TopKLogits, encoding: Encoding, top_k: int) -> None:
    if not (cut.logits_NK < np.inf).all() or np.isinf(cut.top1_N).any():  # a NaN is not below either
        raise ValueError("logits hold NaN or +inf, or a row has no finite logit")
    is_dense = encoding in {"dense8", "float32"}
    if is_dense != (cut.class_ids_NK is None):
        raise ValueError(f"{encoding} stores {'all classes in class order' if is_dense else 'kept classes'}")
    if cut.logits_NK.shape[1] != top_k or (is_dense and top_k != cut.num_classes):
        raise ValueError(
            f"the cut keeps {cut.logits_NK.shape[1]} of {cut.num_classes} classes, not K={top_k}"
        )


def _encode_dense8(cut: TopKLogits, body_PN: Planes) -> None:
    below_NC = cut.top1_N[:, None].astype(np.float64) - cut.logits_NK
    is_class_NC = np.isfinite(below_NC)
    below_NC[~is_class_NC] = 0.0
    step_N = (below_NC.max(axis=1) / _LARGEST_STEP).astype(np.float32)
    steps_NC = np.floor(below_NC / np.where(step_N > 0, step_N, 1.0)[:, None] + 0.5)
    steps_NC = np.minimum(steps_NC, _LARGEST_STEP)
    body_PN[:-2] = np.where(is_class_NC, steps_NC, _NO_CLASS).T
    body_PN[-2:] = _halves(step_N[:, None])


def _decode_dense8(body_PN: Planes, top1_N: Float32, is_bad_N: Planes) -> Float32:
    steps_CN = body_PN[:-2]
    step_N = _from_halves(body_PN[-2:])[:, 0]
    is_step_N = (step_N >= 0) & (step_N <= _LARGEST_STEP_NATS)
    demand_rows(is_step_N | is_bad_N, "the step is not a finite number")
    demand_rows((steps_CN.max(axis=0) <= _NO_CLASS) | is_bad_N, f"a class has more than {_NO_CLASS} steps")
    demand_rows((steps_CN.min(axis=0) == 0) | is_bad_N, "no class is the best")
    with np.errstate(invalid="ignore"):  # rows without targets have NaN for a step
        logits_CN = top1_N - steps_CN * step_N
    logits_CN[steps_CN == _NO_CLASS] = -np.inf
    logits_NC = np.ascontiguousarray(logits_CN.T, dtype=np.float32)
    logits_NC[is_bad_N] = -np.inf
    return logits_NC


def _decode_float32(body_PN: Planes, top1_N: Float32, is_bad_N: Planes) -> Float32:
    """Return the logits; their best ones replace the rounded ``top1_N``."""
    logits_NC = _from_halves(body_PN)
    logits_NC[is_bad_N] = -np.inf
    best_N = logits_NC.max(axis=1)
    demand_rows((best_N < np.inf) | is_bad_N, "a logit is NaN or +inf")
    demand_rows((best_N > -np.inf) | is_bad_N, "no logit is finite")
    top1_N[~is_bad_N] = best_N[~is_bad_N]
    return logits_NC


def _halves(values_NK: Float32) -> Planes:
    """Return the float32 bits of (N, K) as uint16 (2K, N), high half first."""
    bits_KN = np.ascontiguousarray(values_NK.T, dtype=np.float32).view(np.uint32)
    halves = np.stack([bits_KN >> 16, bits_KN & 0xFFFF], axis=1)
    return halves.reshape(-1, values_NK.shape[0]).astype(np.uint16)


def _from_halves(planes_PN: Planes) -> Float32:
    """Return float32 (N, K) from uint16 (2K, N)."""
    bits_KN = (planes_PN[0::2].astype(np.uint32) << 16) | planes_PN[1::2]
    return np.ascontiguousarray(bits_KN.T).view(np.float32)
