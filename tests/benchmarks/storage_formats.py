"""What targets take and how true they are: in a real cache, in TinyViT's records, and cut but not rounded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdcache.logits import TopKLogits, all_classes, top_k
from kdcache.store import open_cache
from kdcache.store.encoding import encode
from kdcache.store.head import NUM_HEAD_PLANES, Planes
from kdcache.store.manifest import Encoding, TeacherIdentity
from kdcache.store.writer import CacheWriter
from tests.benchmarks.storage_coder import blosc_bytes, floats_bytes, head_bytes, ids_bytes, planes_bytes
from tests.benchmarks.storage_outputs import Outputs, probs
from tests.support.stores import make_manifest, make_teacher

__all__ = ["TEMPERATURES", "Fidelity", "Kept", "encodings_of", "exact", "fidelity", "store", "tiny_vit"]

TEMPERATURES = (1.0, 2.0, 4.0)
DIGEST_BYTES = 3
_SMALLEST_FP16 = 2.0**-24


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How far targets are from the dense softmax at one temperature, in the mean over views.

    Attributes:
        kl: KL(dense || target) in nat over all classes, the tail spread evenly over those that were cut.
        bucket: the part of it between the kept classes and one bucket, as the tail policy ``bucket`` has it: none
            for an exact cut, so the format's own error. The rest is what no cut can know.
        l1: the sum of absolute differences over all classes.
    """

    kl: float
    bucket: float
    l1: float


@dataclass(frozen=True, slots=True)
class Kept:
    """One format's targets of one teacher.

    Attributes:
        form: the encoding, ``exact`` or ``TinyViT``.
        k: kept classes.
        bytes_per_view: as really stored, with the view's digest where the format has one; none for ``exact``.
        ideal: what an ideal coder with simple static models would need for the same numbers.
        parts: bytes a view by what they say; compressed alone, so they need not add up to the last tenth.
        at: fidelity by temperature.
    """

    form: str
    k: int
    at: dict[float, Fidelity]
    bytes_per_view: float = 0.0
    ideal: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)


def fidelity(
    outputs: Outputs, temperature: float, dense_MC: NDArray[Any], ids_MK: NDArray[Any] | None
) -> Fidelity:
    """Compare targets over all classes with the dense softmax; ``ids_MK`` are the kept classes, None for all."""
    true_MC, found_MC = probs(outputs.logits_MC, temperature), dense_MC.astype(np.float64)
    kl = _kl(true_MC, found_MC)
    bucket = kl
    if ids_MK is not None:
        bucket = _kl(_in_bucket(true_MC, ids_MK), _in_bucket(found_MC, ids_MK))
    return Fidelity(kl, bucket, float(np.abs(true_MC - found_MC).sum(axis=1).mean()))


def _kl(true_MC: NDArray[np.float64], found_MC: NDArray[np.float64]) -> float:
    """Return the mean KL; what is below float32 counts as its smallest number."""
    smallest = float(np.finfo(np.float32).tiny)
    logs_MC = np.log(np.maximum(true_MC, smallest)) - np.log(np.maximum(found_MC, smallest))
    return max(0.0, float((true_MC * logs_MC).sum(axis=1).mean()))  # equal float32 targets round to -1e-9


def _in_bucket(probs_MC: NDArray[np.float64], ids_MK: NDArray[Any]) -> NDArray[np.float64]:
    kept_MK = np.take_along_axis(probs_MC, ids_MK, axis=1)
    tail_MC = probs_MC.copy()
    np.put_along_axis(tail_MC, ids_MK, 0.0, axis=1)
    return np.concatenate([kept_MK, tail_MC.sum(axis=1, keepdims=True)], axis=1)


def exact(outputs: Outputs, k: int) -> Kept:
    """Cut to the best ``k`` classes and nothing else: float32 logits, exact tail masses."""
    return Kept("exact", k, _fidelities(outputs, top_k(outputs.logits_MC, k)))


def _fidelities(outputs: Outputs, cut: TopKLogits) -> dict[float, Fidelity]:
    return {t: fidelity(outputs, t, cut.to_dense_NC(t), cut.class_ids_NK) for t in TEMPERATURES}


def tiny_vit(outputs: Outputs, k: int) -> Kept:
    """Write and read TinyViT's records: an int32 seed, K int16 class ids, K float16 probabilities at T = 1.

    As its reader does, the tail 1 - sum is spread evenly over the other classes, here never below 0. Another
    temperature has to be had from these probabilities: each to the power of 1/T, rescaled. What float16 rounds to 0
    counts as half its smallest number, the most favourable reading.
    """
    record = np.dtype([("seed", "<i4"), ("ids", "<i2", (k,)), ("probs", "<f2", (k,))])
    cut, num_classes = top_k(outputs.logits_MC, k), outputs.num_classes
    ids_MK = np.asarray(cut.class_ids_NK)
    written = np.zeros(len(cut), dtype=record)
    written["ids"] = ids_MK
    written["probs"] = np.take_along_axis(probs(outputs.logits_MC, 1.0), ids_MK, axis=1)
    read = np.frombuffer(written.tobytes(), dtype=record)
    kept_MK = read["probs"].astype(np.float64)
    tail_M1 = np.maximum(1.0 - kept_MK.sum(axis=1, keepdims=True), 0.0)
    dense_MC = np.repeat(tail_M1 / max(1, num_classes - k), num_classes, axis=1)
    np.put_along_axis(dense_MC, ids_MK, kept_MK, axis=1)
    dense_MC[dense_MC == 0.0] = _SMALLEST_FP16 / 2
    at = {}
    for temperature in TEMPERATURES:
        hot_MC = dense_MC ** (1.0 / temperature)
        hot_MC /= hot_MC.sum(axis=1, keepdims=True)
        at[temperature] = fidelity(outputs, temperature, hot_MC, ids_MK if k < num_classes else None)
    return Kept("TinyViT", k, at, bytes_per_view=len(written.tobytes()) / len(cut))


def encodings_of(num_classes: int, ks: Sequence[int]) -> list[tuple[Encoding, int]]:
    """Return every encoding of logits, ``gap8`` with each K."""
    cuts: list[tuple[Encoding, int]] = [("gap8", k) for k in ks if k < num_classes]
    return [*cuts, ("dense8", num_classes), ("float32", num_classes), ("hard", 1)]


def store(outputs: Outputs, wanted: Sequence[tuple[Encoding, int]], folder: Path) -> tuple[list[Kept], float]:
    """Write one cache with a teacher for each encoding, as stage one does, and read it again.

    Returns:
        What each encoding takes and how true it is; and the bytes a view of all the rest of the cache.
    """
    num_aug_seeds, num_samples = outputs.digests_VN.shape
    entries = {
        f"{encoding}-{k}": make_teacher(encoding=encoding, top_k=k, num_classes=outputs.num_classes)
        for encoding, k in wanted
    }
    manifest = make_manifest(
        num_samples=[num_samples],
        rows_per_block=num_samples,
        num_aug_seeds=num_aug_seeds,
        seeds_per_group=num_aug_seeds,
        num_classes=outputs.num_classes,
        teachers=entries,
        policy=outputs.policy,
    )
    writer = CacheWriter.create_or_resume(folder, manifest)
    writer.write_samples(0, outputs.table, seconds=0.0)
    writer.write_views(0, 0, outputs.digests_VN, outputs.thumbnails, seconds=0.0)
    for name, entry in entries.items():
        _write_targets(writer, name, entry, outputs)
    writer.finish()
    digests = _size(folder / "views" / "digest" / "c") / outputs.num_views
    sizes = {
        name: _size(folder / "teachers" / name / "targets" / "c") / outputs.num_views for name in entries
    }
    cache, found = open_cache(folder), []
    for name, entry in entries.items():
        read = [cache.targets(name, 0, seed) for seed in range(num_aug_seeds)]
        found.append(_kept(outputs, entry, read, target_bytes=sizes[name], digest_bytes=digests))
    return found, _size(folder) / outputs.num_views - digests - sum(sizes.values())


def _write_targets(writer: CacheWriter, name: str, entry: TeacherIdentity, outputs: Outputs) -> None:
    planes_VPN = np.stack([_planes(logits_NC, entry) for logits_NC in outputs.logits_VNC])
    writer.write_targets(name, 0, 0, planes_VPN, labelled=0, correct=0, saturated=0, failures={}, seconds=0.0)


def _cut(logits_NC: NDArray[Any], entry: TeacherIdentity) -> TopKLogits:
    return all_classes(logits_NC) if entry.top_k == entry.num_classes else top_k(logits_NC, entry.top_k)


def _planes(logits_NC: NDArray[Any], entry: TeacherIdentity) -> Planes:
    return encode(_cut(logits_NC, entry), encoding=entry.encoding, top_k=entry.top_k)


def _kept(
    outputs: Outputs,
    entry: TeacherIdentity,
    read: Sequence[TopKLogits],
    *,
    target_bytes: float,
    digest_bytes: float,
) -> Kept:
    """Rate what was read; the parts are those of the planes it is encoded in."""
    planes = [
        encode(_cut(logits_NC, entry), encoding=entry.encoding, top_k=entry.top_k)
        for logits_NC in outputs.logits_VNC
    ]
    planes_PM = np.concatenate(planes, axis=1)
    at = {}
    for temperature in TEMPERATURES:
        dense_MC = np.concatenate([cut.to_dense_NC(temperature) for cut in read])
        ids = [cut.class_ids_NK for cut in read if cut.class_ids_NK is not None]
        at[temperature] = fidelity(outputs, temperature, dense_MC, np.concatenate(ids) if ids else None)
    parts = {
        what: sum(blosc_bytes(planes_PN[span]) for planes_PN in planes) / outputs.num_views
        for what, span in _spans(entry).items()
    }
    return Kept(
        entry.encoding,
        entry.top_k,
        at,
        bytes_per_view=target_bytes + digest_bytes,
        ideal=_ideal(planes_PM, entry),
        parts=parts | {"digest": digest_bytes},
    )


def _spans(entry: TeacherIdentity) -> dict[str, slice]:
    """Say which planes hold what."""
    head = slice(-NUM_HEAD_PLANES, None)
    if entry.encoding == "hard":
        return {"class ids": slice(0, 1), "head": head}
    if entry.encoding == "gap8":
        middle = entry.top_k
        return {"class ids": slice(0, middle), "gaps": slice(middle, -NUM_HEAD_PLANES), "head": head}
    return {"values": slice(0, -NUM_HEAD_PLANES), "head": head}


def _ideal(planes_PM: Planes, entry: TeacherIdentity) -> float:
    body_PM, head_6M = planes_PM[:-NUM_HEAD_PLANES], planes_PM[-NUM_HEAD_PLANES:]
    if entry.encoding == "float32":
        body = floats_bytes(body_PM)
    elif entry.encoding == "dense8":
        body = planes_bytes(body_PM[:-2]) + floats_bytes(body_PM[-2:])
    else:
        body = ids_bytes(body_PM[: entry.top_k], entry.num_classes) + planes_bytes(body_PM[entry.top_k :])
    return body + head_bytes(head_6M) + DIGEST_BYTES


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
