"""The loss between a student's embedding and a teacher's cached one."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from kdcache.errors import ConfigError

__all__ = ["FeatureLoss", "Kind"]

Kind = Literal["cosine", "mse"]


class FeatureLoss(nn.Module):
    """A linear map of the student's features to the teacher's, and how far they are apart.

    With s the student's features, f the teacher's, and r(s) = W s + b, the mean over rows with features of

    - ``cosine``: 1 - cos(r(s), f), as for the summary vectors of AM-RADIO (Ranzinger et al. 2024,
      arXiv:2312.06709): direction alone, whatever the teacher's scale.
    - ``mse``: ||r(s) - f||^2 / D on features as they are, the hint of FitNets (Romero et al. 2015,
      arXiv:1412.6550, equation 3) with the mean over D in place of one half of the sum.

    The map has to be trained with the student, and is left behind after it. Everything is in float32, also
    under autocast.
    """

    def __init__(
        self,
        student_features: int,
        teacher_features: int,
        *,
        kind: Kind = "cosine",
        projector: bool = True,
        seed: int = 0,
    ) -> None:
        """Make the map; ``seed`` alone decides its first weights.

        Args:
            student_features: width of the student's features.
            teacher_features: D.
            kind: which distance.
            projector: False compares the features themselves.
            seed: the run seed.

        Raises:
            ConfigError: ``kind`` is unknown, or widths differ and there is no map.
        """
        super().__init__()
        if kind not in get_args(Kind):
            raise ConfigError(f"feature loss {kind!r}: expected one of {', '.join(get_args(Kind))}")
        if not projector and student_features != teacher_features:
            raise ConfigError(
                f"the student has {student_features} features, the teacher's cached ones are {teacher_features}; "
                "they can be compared through a linear projector only"
            )
        self.kind = kind
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.projector = nn.Linear(student_features, teacher_features) if projector else nn.Identity()

    def forward(self, student_BS: Tensor, teacher_BD: Tensor) -> Tensor:
        """Return the mean over rows whose teacher features are no NaN; zero, with a gradient of zero, if none is.

        Args:
            student_BS: of any floating type.
            teacher_BD: as ``DistillBatch.features`` has them.
        """
        with torch.autocast(student_BS.device.type, enabled=False):
            is_there_B = ~teacher_BD.isnan().any(dim=1)
            target_BD = torch.where(is_there_B[:, None], teacher_BD.float(), 0.0)
            mapped_BD = self.projector(student_BS.float())
            if self.kind == "cosine":
                loss_B = 1.0 - cosine_similarity(mapped_BD, target_BD, dim=1)
            else:
                loss_B = (mapped_BD - target_BD).square().mean(dim=1)
            return torch.where(is_there_B, loss_B, 0.0).sum() / is_there_B.sum().clamp(min=1)
