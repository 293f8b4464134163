"""The cut on the teacher's device: all classes in, kept classes and what is needed to know the tail out.

``kdcache.logits.top_k`` is the reference. Classes are kept and ordered by ``order_keys``: by logit, then by
class id, because ``torch.topk`` breaks ties as it likes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kdcache.logits import NO_TAIL, Float32, TopKLogits, cubic_at_half

__all__ = ["DeviceCut", "DeviceFeatures", "cut_all", "cut_top_k", "order_keys", "top_k_ids"]


@dataclass(frozen=True, slots=True)
class DeviceCut:
    """A cut that may still be on its way from the device.

    Attributes:
        class_ids_BK: int32, best first, -1 where there is no class; None when all classes are kept.
        logits_BK: float32, absolute.
        head_B6: float32 top-1, and the tail as in ``TopKLogits``.
        num_classes: C.
        ready: recorded behind the copies; None where copies don't overlap with work.
    """

    class_ids_BK: Tensor | None
    logits_BK: Tensor
    head_B6: Tensor
    num_classes: int
    ready: torch.cuda.Event | None = None

    def to_host(self) -> "DeviceCut":
        """Start copying to the host; on CUDA without waiting for it."""
        if self.logits_BK.device.type != "cuda":
            return self
        ids_BK = None if self.class_ids_BK is None else _start_copy(self.class_ids_BK)
        logits_BK, head_B6 = _start_copy(self.logits_BK), _start_copy(self.head_B6)
        return DeviceCut(ids_BK, logits_BK, head_B6, self.num_classes, _recorded(self.logits_BK.device))

    def wait(self) -> None:
        """Wait until the copies have arrived."""
        if self.ready is not None:
            self.ready.synchronize()

    def to_numpy(self) -> TopKLogits:
        """Wait for the copies and return the cut."""
        self.wait()
        head_B6 = self.head_B6.cpu().numpy()
        return TopKLogits(
            class_ids_NK=None if self.class_ids_BK is None else self.class_ids_BK.cpu().numpy(),
            logits_NK=self.logits_BK.cpu().numpy(),
            top1_N=head_B6[:, 0],
            tail_N5=np.ascontiguousarray(head_B6[:, 1:]),
            num_classes=self.num_classes,
        )


@dataclass(frozen=True, slots=True)
class DeviceFeatures:
    """An embedding that may still be on its way from the device.

    Attributes:
        features_BD: float32.
        ready: as of ``DeviceCut``.
    """

    features_BD: Tensor
    ready: torch.cuda.Event | None = None

    def to_host(self) -> "DeviceFeatures":
        """Start copying to the host; on CUDA without waiting for it."""
        if self.features_BD.device.type != "cuda":
            return self
        return DeviceFeatures(_start_copy(self.features_BD), _recorded(self.features_BD.device))

    def wait(self) -> None:
        """Wait until the copy has arrived."""
        if self.ready is not None:
            self.ready.synchronize()

    def to_numpy(self) -> Float32:
        """Wait for the copy and return it."""
        self.wait()
        features_BD: Float32 = self.features_BD.cpu().numpy()
        return features_BD


def cut_top_k(logits_BC: Tensor, k: int) -> DeviceCut:
    """Cut (B, C) float32 logits to their ``k`` best classes; NaN and +inf show in the top-1."""
    logits_BC = logits_BC + 0.0  # -0.0 counts as 0.0
    ids_BK = top_k_ids(logits_BC, k)
    kept_BK = logits_BC.gather(1, ids_BK)
    top1_B1 = logits_BC.amax(dim=1, keepdim=True)
    tail_BC = (logits_BC - top1_B1).scatter_(1, ids_BK, -torch.inf)
    class_ids_BK = ids_BK.masked_fill(torch.isneginf(kept_BK), -1).to(torch.int32)
    head_B6 = torch.stack([top1_B1[:, 0], *_tail(tail_BC, kept_BK - top1_B1)], dim=1)
    return DeviceCut(class_ids_BK, kept_BK, head_B6, logits_BC.shape[1])


def cut_all(logits_BC: Tensor) -> DeviceCut:
    """Keep every class, in class order; there is no tail."""
    no_tail_B5 = logits_BC.new_tensor(NO_TAIL).expand(len(logits_BC), -1)
    head_B6 = torch.cat([logits_BC.amax(dim=1, keepdim=True), no_tail_B5], dim=1)
    return DeviceCut(None, logits_BC, head_B6, logits_BC.shape[1])


def order_keys(logits_BK: Tensor, class_ids_BK: Tensor) -> Tensor:
    """Return int64 keys that rise with the logit and, among equal logits, fall with the class id."""
    bits_BK = logits_BK.view(torch.int32).to(torch.int64)
    monotone_BK = torch.where(bits_BK >= 0, bits_BK, -(bits_BK & 0x7FFFFFFF))
    return (monotone_BK << 32) | (0xFFFFFFFF - class_ids_BK)


def top_k_ids(logits_BC: Tensor, k: int) -> Tensor:
    """Return the class ids (B, k) that are kept, in the order of ``order_keys``.

    On the CPU floats are selected (four times as fast as keys) and only rows that tie at the cut are done
    again by key; on an accelerator that question would cost a wait, so keys are selected at once.
    """
    all_ids_C = torch.arange(logits_BC.shape[1], device=logits_BC.device)
    if logits_BC.device.type != "cpu":
        return order_keys(logits_BC, all_ids_C).topk(k, dim=1).indices
    kept_BK, ids_BK = logits_BC.topk(k, dim=1, sorted=False)
    order_BK = order_keys(kept_BK, ids_BK).argsort(dim=1, descending=True)
    ids_BK = ids_BK.gather(1, order_BK)
    ties_B = (logits_BC >= kept_BK.amin(dim=1, keepdim=True)).sum(dim=1) > k
    if bool(ties_B.any()):
        ids_BK[ties_B] = order_keys(logits_BC[ties_B], all_ids_C).topk(k, dim=1).indices
    return ids_BK


def _tail(tail_BC: Tensor, kept_BK: Tensor) -> list[Tensor]:
    count_B, mean_B, std_B = _moments(tail_BC)
    log_sum_B = torch.logsumexp(tail_BC, dim=1)
    cubic_B = cubic_at_half(log_count=count_B.clamp(min=1).log(), log_sum=log_sum_B, mean=mean_B, std=std_B)
    bend_B = torch.where(count_B > 0, torch.logsumexp(0.5 * tail_BC, dim=1) - cubic_B, 0.0)
    return [count_B, log_sum_B - torch.logsumexp(kept_BK, dim=1), mean_B, std_B, bend_B]


def _moments(tail_BC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return number, mean and standard deviation of the finite logits of each row; zeros where there is none."""
    is_finite_BC = torch.isfinite(tail_BC)
    count_B1 = is_finite_BC.sum(dim=1, keepdim=True)
    some_B1 = count_B1.clamp(min=1)
    mean_B1 = tail_BC.masked_fill(~is_finite_BC, 0.0).sum(dim=1, keepdim=True) / some_B1
    spread_BC = (tail_BC - mean_B1).masked_fill(~is_finite_BC, 0.0)
    std_B = (spread_BC.square().sum(dim=1) / some_B1[:, 0]).sqrt()
    return count_B1[:, 0], mean_B1[:, 0], std_B


def _recorded(device: torch.device) -> torch.cuda.Event:
    ready = torch.cuda.Event()
    ready.record(torch.cuda.current_stream(device))
    return ready


def _start_copy(values: Tensor) -> Tensor:
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return host.copy_(values, non_blocking=True)
