"""The folder of a run: who may write there, and which settings a resumed run must share."""

from pathlib import Path, PurePosixPath
from typing import Any

from safetensors.torch import save
from torch import nn

from kdcache.config.train import TrainConfig
from kdcache.errors import ConfigError
from kdcache.train.checkpoint import Checkpoints
from kdcache.train.journal import replace_file

__all__ = ["BEST_WEIGHTS", "EMA_WEIGHTS", "WEIGHTS", "binding_of", "claim_folder", "save_weights"]

WEIGHTS = "model.safetensors"
EMA_WEIGHTS = "model_ema.safetensors"
BEST_WEIGHTS = "model_best.safetensors"

_FREE = frozenset(
    {
        *("shards", "cache", "out", "val", "val_cache", "workers", "threads", "device"),
        *(
            "check_views",
            "allow_decoder_drift",
            "grad_checkpointing",
            "checkpoint_interval",
            "checkpoint_hist",
        ),
        *("log_interval", "tensorboard", "log_wandb", "quiet"),
    }
)
"""Settings that a resumed run may change: they decide where things are and what is looked at, not what is learned.

Which data and views are behind ``shards`` and ``cache`` is bound by the cache's identity and the shards' names.
"""

_FREE_UNLESS_PLATEAU = frozenset({"val_policy", "val_batch_size", "val_interval", "eval_metric"})
"""These decide figures, and with ``sched plateau`` the figures decide the learning rate."""


def binding_of(config: TrainConfig, **identity: Any) -> dict[str, Any]:
    """Return what must be equal when a run is resumed."""
    free = _FREE
    if config.sched == "plateau":
        looked_at = [*config.val, *filter(None, [config.val_cache])]
        identity["val_names"] = [PurePosixPath(url).name for url in looked_at]
    else:
        free |= _FREE_UNLESS_PLATEAU
    settings = config.model_dump(mode="json")
    return {name: value for name, value in settings.items() if name not in free} | identity


def claim_folder(folder: Path, checkpoints: Checkpoints, *, resume: bool) -> bool:
    """Make the folder ready to be written; return whether there is a checkpoint to go on from.

    Raises:
        ConfigError: it holds something and ``resume`` was not asked for, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise ConfigError(
            f"--out {folder} cannot be used: {error.strerror}; choose another folder"
        ) from error
    if found and not resume:
        raise ConfigError(
            f"--out {folder} is not empty (it holds {', '.join(found[:4])}{', ...' if len(found) > 4 else ''}); "
            "add --resume to go on with that run, or choose another folder"
        )
    return resume and checkpoints.exists()


def save_weights(folder: Path, model: nn.Module, *, name: str = WEIGHTS) -> Path:
    """Write the weights as timm loads them: ``timm.create_model(..., checkpoint_path=...)``."""
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    replace_file(folder / name, save(state))
    return folder / name
