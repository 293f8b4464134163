"""Teacher targets as tensors: what a batch carries of one teacher, and its distribution at a temperature.

All probabilities are held as logarithms. The tail (every class outside the kept ones) enters through its
log-odds, so neither a tail of 1e-12 nor a kept mass of 1e-12 is rounded away.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from kdcache.logits import TopKLogits, tail_log_sum

__all__ = ["TeacherTargets"]


@dataclass(frozen=True, slots=True)
class TeacherTargets:
    """The targets of one teacher for B views.

    Attributes:
        class_ids_BK: int64 kept classes, best first, -1 where there are fewer than K; None when every class
            is kept in class order (then K = C).
        logits_BK: float32 logits of the kept classes, absolute; -inf where there is no class.
        top1_B: float32 largest logit; NaN marks a row without targets, which no loss counts.
        tail_B5: float32; of the finite logits that were cut off their number, log(tail mass / kept mass) at T = 1,
            mean relative to ``top1_B``, standard deviation and bend; ``NO_TAIL`` where there is no tail.
        num_classes: C, the size of the class space.
    """

    class_ids_BK: Tensor | None
    logits_BK: Tensor
    top1_B: Tensor
    tail_B5: Tensor
    num_classes: int

    @classmethod
    def from_numpy(cls, cut: TopKLogits) -> Self:
        """Copy the rows of ``cut`` into tensors on the CPU."""
        ids_NK = cut.class_ids_NK
        return cls(
            class_ids_BK=None if ids_NK is None else torch.tensor(ids_NK, dtype=torch.int64),
            logits_BK=torch.tensor(cut.logits_NK, dtype=torch.float32),
            top1_B=torch.tensor(cut.top1_N, dtype=torch.float32),
            tail_B5=torch.tensor(cut.tail_N5, dtype=torch.float32),
            num_classes=cut.num_classes,
        )

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Join the rows of one teacher's targets, all with the same K and C."""
        ids = [part.class_ids_BK for part in parts if part.class_ids_BK is not None]
        return cls(
            class_ids_BK=torch.cat(ids) if ids else None,
            logits_BK=torch.cat([part.logits_BK for part in parts]),
            top1_B=torch.cat([part.top1_B for part in parts]),
            tail_B5=torch.cat([part.tail_B5 for part in parts]),
            num_classes=parts[0].num_classes,
        )

    def __len__(self) -> int:
        """Return B."""
        return len(self.top1_B)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        tensors: dict[str, Any] = {
            field.name: change(value)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return the targets on ``device``."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return the targets in page-locked memory, for a copy that does not block."""
        return self._map(lambda tensor: tensor.pin_memory())

    def take(self, rows_B: Tensor) -> Self:
        """Return the given rows (int64 indices or a bool mask)."""
        return self._map(lambda tensor: tensor[rows_B])

    @property
    def valid_B(self) -> Tensor:
        """True for rows that have targets."""
        return ~torch.isnan(self.top1_B)

    @property
    def top_class_B(self) -> Tensor:
        """The teacher's best class, int64, the lowest id among equals; -1 for rows without targets."""
        if self.class_ids_BK is not None:
            return torch.where(self.valid_B, self.class_ids_BK[:, 0], -1)
        is_best_BC = self.logits_BK == self.logits_BK.amax(dim=1, keepdim=True)
        class_ids_C = torch.arange(self.num_classes, device=self.logits_BK.device)
        best_B = torch.where(is_best_BC, class_ids_C, self.num_classes).amin(dim=1)
        return torch.where(self.valid_B, best_B, -1)

    def kept_log_shares(self, temperature: float | Tensor) -> Tensor:
        """Return log-probs among the kept classes alone, (B, K); rows without targets read log(1/K).

        ``temperature`` is one number, or one for each row, (B, 1).
        """
        safe_BK = torch.where(self.valid_B[:, None], self.logits_BK - self.top1_B[:, None], 0.0)
        return log_softmax(safe_BK / temperature, dim=1)

    def tail_log_odds(self, temperature: float | Tensor) -> Tensor:
        """Return log(tail mass / kept mass) at ``temperature``, (B,); -inf where nothing was cut off.

        ``temperature`` is one number, or one for each row, (B,). How closely it is known: ``tail_log_sum``.
        """
        if self.class_ids_BK is None:
            return torch.full_like(self.top1_B, -torch.inf)
        count_B, log_odds_B, mean_B, std_B, bend_B = self.tail_B5.unbind(dim=1)
        has_tail_B = (count_B > 0) & self.valid_B
        # Rows without a tail compute with zeros, and are overwritten at the end.
        below_BK = torch.where(has_tail_B[:, None], self.logits_BK - self.top1_B[:, None], 0.0)
        # One number stays on the CPU: a copy to the device would make every step wait.
        inverse = torch.as_tensor(1.0 / temperature, dtype=torch.float32)
        log_tail_B = tail_log_sum(
            inverse,
            log_count=count_B.clamp(min=1.0).log(),
            log_sum=torch.where(has_tail_B, log_odds_B, 0.0) + below_BK.logsumexp(dim=1),
            mean=mean_B,
            std=std_B,
            bend=bend_B,
            worst=below_BK[:, -1],
        )
        log_kept_B = (below_BK * (inverse[:, None] if inverse.ndim else inverse)).logsumexp(dim=1)
        return torch.where(has_tail_B, log_tail_B - log_kept_B, -torch.inf)

    def kept_log_probs(self, temperature: float) -> Tensor:
        """Return the log-probs of the kept classes, (B, K); with the tail's mass they sum to one."""
        kept_log_mass_B = logsigmoid(-self.tail_log_odds(temperature))
        return self.kept_log_shares(temperature) + kept_log_mass_B[:, None]

    def tail_log_mass(self, temperature: float) -> Tensor:
        """Return the log of the mass outside the kept classes, (B,); -inf where nothing was cut off."""
        return logsigmoid(self.tail_log_odds(temperature))

    def kept_mass(self, temperature: float) -> Tensor:
        """Return the share of the teacher's probability in the kept classes, (B,); 1 if none was cut."""
        return torch.sigmoid(-self.tail_log_odds(temperature))
