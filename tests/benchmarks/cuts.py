"""What a teacher says of many views, as stage one has it on the host: real ImageNet logits of a few, varied to many."""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from kdcache.config.views import ViewPolicy
from kdcache.logits import Float32, Int32
from kdcache.precompute.cut import DeviceCut, cut_top_k
from kdcache.views.decode import decode_for
from kdcache.views.render import render_views
from tests.support.imagenet_teachers import ARCHITECTURES, save_imagenet_teacher
from tests.support.photographs import photographs

__all__ = ["Cuts", "made_up_logits", "teacher_logits"]

_NOISE = 0.5
"""Standard deviation of what makes a view differ from the one it is a copy of: bytes per view stay the same."""
_ROWS_AT_ONCE = 4096


@cache
def teacher_logits(views_of_each: int) -> Float32:
    """Return the logits (N, 1000) of EfficientNet-Lite0 for so many ``rrc`` views of each of the 19 photographs."""
    policy = ViewPolicy.named("rrc")
    model = timm.create_model(ARCHITECTURES[0], pretrained=False)
    with tempfile.TemporaryDirectory() as folder:
        model.load_state_dict(load_file(save_imagenet_teacher(0, Path(folder))))
    model.eval().to(memory_format=torch.channels_last)
    parts = []
    for photograph in photographs():
        image = decode_for(policy, photograph.encoded, where=photograph.name)
        views = np.stack(list(render_views(photograph.name, image, range(views_of_each), policy)))
        with torch.inference_mode():
            normal = torch.from_numpy(views).float().div_(127.5).sub_(1.0)
            parts.append(model(normal.contiguous(memory_format=torch.channels_last)).numpy())
    return np.concatenate(parts)


def made_up_logits(num_views: int = 64, num_classes: int = 1000) -> Float32:
    """Return logits that need no network: normal, about as wide as those of an ImageNet teacher."""
    rng = np.random.Generator(np.random.PCG64(0))
    return 2.0 * rng.standard_normal((num_views, num_classes), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Cuts:
    """The same views for both sides: as kdcache's cut leaves them, and as TinyViT's softmax and top-k do.

    Attributes:
        cut: kept classes and head, on the host.
        ids_NK: the classes, int32, best first.
        probs_NK: their probabilities among all classes at T = 1, float32.
    """

    cut: DeviceCut
    ids_NK: Int32
    probs_NK: Float32

    @classmethod
    def like(cls, logits_NC: Float32, num_views: int, top_k: int) -> Self:
        """Cut as many views as are wanted, each one of the given ones with some noise added."""
        rng = np.random.Generator(np.random.PCG64(1))
        cuts, probs = [], []
        for first in range(0, num_views, _ROWS_AT_ONCE):
            rows = rng.integers(0, len(logits_NC), min(_ROWS_AT_ONCE, num_views - first))
            noise_NC = rng.standard_normal((len(rows), logits_NC.shape[1]), dtype=np.float32)
            many_NC = torch.from_numpy(logits_NC[rows] + np.float32(_NOISE) * noise_NC)
            cuts.append(cut_top_k(many_NC, top_k))
            probs.append(torch.softmax(many_NC, 1).gather(1, _ids(cuts[-1]).long()).numpy())
        cut = DeviceCut(
            class_ids_BK=torch.cat([_ids(part) for part in cuts]),
            logits_BK=torch.cat([part.logits_BK for part in cuts]),
            head_B6=torch.cat([part.head_B6 for part in cuts]),
            num_classes=logits_NC.shape[1],
        )
        return cls(cut, _ids(cut).numpy(), np.concatenate(probs))

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.ids_NK)

    @property
    def top_k(self) -> int:
        """Return K."""
        return int(self.ids_NK.shape[1])

    def take(self, views: NDArray[np.intp]) -> DeviceCut:
        """Return the cut of some views."""
        rows = torch.from_numpy(views)
        head_B6, logits_BK = self.cut.head_B6[rows], self.cut.logits_BK[rows]
        return DeviceCut(_ids(self.cut)[rows], logits_BK, head_B6, self.cut.num_classes)


def _ids(cut: DeviceCut) -> torch.Tensor:
    assert cut.class_ids_BK is not None, "top-k keeps class ids"
    return cut.class_ids_BK
