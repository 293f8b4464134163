"""A teacher over the views of an item."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from kdcache.precompute.cut import DeviceCut, DeviceFeatures, cut_all, cut_top_k
from kdcache.precompute.reader import RenderedItem
from kdcache.store.manifest import TeacherIdentity
from kdcache.teachers.protocol import FeatureTeacher, Teacher

__all__ = ["cut_outputs", "probe_logits", "teacher_logits", "teacher_outputs"]


def teacher_logits(teacher: Teacher, views_B3HW: Tensor, *, batch_size: int) -> Tensor:
    """Return float32 logits (B, C) on the teacher's device, computed ``batch_size`` views at a time."""
    views_B3HW = views_B3HW.to(teacher.device, non_blocking=True)
    if len(views_B3HW) <= batch_size:
        return teacher(views_B3HW)
    return torch.cat([teacher(part_B3HW) for part_B3HW in views_B3HW.split(batch_size)])


def teacher_outputs(teacher: FeatureTeacher, views_B3HW: Tensor, *, batch_size: int) -> tuple[Tensor, Tensor]:
    """Return logits (B, C) and features (B, D) likewise, of the same forward passes."""
    views_B3HW = views_B3HW.to(teacher.device, non_blocking=True)
    parts = [teacher.with_features(part_B3HW) for part_B3HW in views_B3HW.split(batch_size)]
    if len(parts) == 1:
        return parts[0]
    return torch.cat([logits_BC for logits_BC, _ in parts]), torch.cat([features for _, features in parts])


def cut_outputs(outputs_BN: Tensor, identity: TeacherIdentity) -> DeviceCut | DeviceFeatures:
    """Cut logits as the teacher's encoding wants them, take features whole, and start their way to the host."""
    with torch.inference_mode():
        if identity.features_of is not None:
            return DeviceFeatures(outputs_BN).to_host()
        is_dense = identity.encoding in {"dense8", "float32"}
        cut = cut_all(outputs_BN) if is_dense else cut_top_k(outputs_BN, identity.top_k)
        return cut.to_host()


def probe_logits(
    teacher: Teacher, rendered: Iterable[RenderedItem], *, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (logits (N, C), labels (N)) on the CPU for the good samples of items with one view each."""
    for item in rendered:
        logits_BC = teacher_logits(teacher, item.views_B3HW, batch_size=batch_size).cpu()
        is_ok_B = torch.from_numpy(item.table.ok_N)
        yield logits_BC[is_ok_B], torch.from_numpy(item.table.labels)[is_ok_B]
