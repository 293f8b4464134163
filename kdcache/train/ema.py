"""The running mean of a student's weights, by timm."""

from timm.utils.model_ema import ModelEmaV3
from torch import nn

from kdcache.config.train import TrainConfig

__all__ = ["ModelEmaV3", "build_ema"]


def build_ema(config: TrainConfig, model: nn.Module) -> ModelEmaV3 | None:
    """Return the mean of ``model``'s weights and buffers, None where none is asked for.

    ``model`` is the plain one, on its device: what wraps it later is not part of the mean.
    """
    if not config.model_ema:
        return None
    return ModelEmaV3(model, decay=config.model_ema_decay, use_warmup=config.model_ema_warmup)
