"""What a cut and its encoding cost: how well the tail is known, and how far gradients turn.

Run ``python -m tests.benchmarks.cut_cost``: the two tables of docs/losses.md. EfficientNet-Lite0 is the teacher over
256 ``rrc`` crops of 19 photographs; the student's logits are half of those of EfficientNet-Lite2 plus noise of
deviation 1/2; 70 % of the labels are the teacher's best class.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from kdcache.logits import Float32, top_k
from kdcache.losses import TeacherTargets, distill_loss
from kdcache.store.encoding import decode, encode
from tests.benchmarks.storage_outputs import imagenet_outputs
from tests.unit.losses.dense_reference import CASES, reference

__all__ = ["Case", "angles", "tail_errors"]

_KEPT = (10, 50)
_TEMPERATURES = (1.0, 2.0, 4.0)
_TAIL_TEMPERATURES = (1.0, 1.3, 2.0, 4.0, 10.0, 0.9, 0.7, 0.5)


@dataclass(frozen=True, slots=True)
class Case:
    """A teacher, a student on its way to it, and labels."""

    teacher_BC: Float32
    student_BC: Tensor
    labels_B: Tensor

    @classmethod
    def of(cls, teacher_BC: Float32, student_BC: Float32) -> Self:
        """Add the noise and draw the labels."""
        rng = np.random.Generator(np.random.Philox(5))
        noisy_BC = 0.5 * student_BC + 0.5 * rng.standard_normal(student_BC.shape)
        labels_B, is_other_B = teacher_BC.argmax(axis=1), rng.random(len(teacher_BC)) > 0.7
        labels_B[is_other_B] = rng.integers(0, teacher_BC.shape[1], is_other_B.sum())
        return cls(teacher_BC, torch.from_numpy(noisy_BC.astype(np.float32)), torch.from_numpy(labels_B))

    def cached(self, k: int) -> TeacherTargets:
        """Return the targets as a ``gap8`` cache gives them back."""
        cut = top_k(self.teacher_BC, k)
        planes = encode(cut, encoding="gap8", top_k=k)
        return TeacherTargets.from_numpy(
            decode(planes, encoding="gap8", top_k=k, num_classes=cut.num_classes)
        )


def tail_errors(case: Case, kept: Sequence[int] = _KEPT) -> Iterator[str]:
    """Yield a line for each temperature: largest and mean error of the log-odds, mean error of the mass."""
    for temperature in _TAIL_TEMPERATURES:
        cells = []
        for k in kept:
            true_BC = (
                torch.from_numpy(case.teacher_BC).double().sort(dim=1, descending=True).values / temperature
            )
            wanted_B = true_BC[:, k:].logsumexp(dim=1) - true_BC[:, :k].logsumexp(dim=1)
            found_B = case.cached(k).tail_log_odds(temperature).double()
            off_B, mass_B = (found_B - wanted_B).abs(), (found_B.sigmoid() - wanted_B.sigmoid()).abs()
            cells.append(f"{off_B.max():.3f}, {off_B.mean():.3f}, {mass_B.mean():.4f}")
        yield f"| {temperature:g} | {' | '.join(cells)} |"


def angles(case: Case, kept: Sequence[int] = _KEPT) -> Iterator[str]:
    """Yield a line for each loss: the angle of the cut's gradient to the dense one, and of ``gap8``'s to the cut's."""
    teacher_BC = torch.from_numpy(case.teacher_BC)
    for name, tail in CASES:
        cells = []
        for k in kept:
            cached = case.cached(k)
            for temperature in _TEMPERATURES:
                words: dict[str, Any] = {"temperature": temperature, "labels_B": case.labels_B}
                student_BC = case.student_BC
                dense = _gradient(reference, name, student_BC.double(), teacher_BC, **words)
                words["tail"] = tail
                cut = _gradient(reference, name, student_BC.double(), teacher_BC, k=k, **words)
                stored = _gradient(distill_loss, name, student_BC, cached, **words)
                cells.append(f"{_degrees(cut, dense):.1f} ({_degrees(stored, cut):.1f})")
        yield f"| `{name}` | `{tail}` | {' | '.join(cells)} |"


def _gradient(
    loss: Callable[..., Tensor], name: str, student_BC: Tensor, teacher: Any, **words: Any
) -> Tensor:
    leaf = student_BC.detach().clone().requires_grad_()
    (gradient_BC,) = torch.autograd.grad(loss(name, leaf, teacher, **words), leaf)
    return gradient_BC.double()


def _degrees(one: Tensor, other: Tensor) -> float:
    cosine = (one * other).sum() / (one.norm() * other.norm())
    return float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))))


def _main() -> None:
    teacher, student = imagenet_outputs((0, 2), num_samples=256, num_aug_seeds=1)
    case = Case.of(np.ascontiguousarray(teacher.logits_MC), student.logits_MC)
    for lines in (tail_errors(case), angles(case)):
        sys.stdout.write("\n".join(lines) + "\n\n")


if __name__ == "__main__":
    _main()
