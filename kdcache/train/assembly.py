"""From the parts of a run to a session: the student on its device, in what wraps it, with what updates it."""

from pathlib import Path

import torch
from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kdcache.config.train import TrainConfig
from kdcache.errors import ConfigError
from kdcache.runtime.dist import World
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.progress import Progress
from kdcache.train.compiled import compiled
from kdcache.train.ema import build_ema
from kdcache.train.journal import Journal
from kdcache.train.metrics import Tally
from kdcache.train.optim import build_optimizer, build_scheduler
from kdcache.train.precision import LossScaler
from kdcache.train.session import TALLY_NAMES, Session
from kdcache.train.setup import Preparation

__all__ = ["assemble", "share_batch_norms"]


def assemble(
    parts: Preparation, *, world: World, device: torch.device, interrupts: Interrupts, progress: Progress
) -> Session:
    """Build the session of a run at its first step.

    Raises:
        ConfigError: the optimiser or ``sync_bn`` cannot be had.
    """
    config = parts.config
    layout = torch.channels_last if config.channels_last else torch.preserve_format
    student = share_batch_norms(parts.student.model, config, world=world, device=device)
    student = student.to(device, memory_format=layout)  # type: ignore[call-overload]
    ema = build_ema(config, student)
    optimizer = build_optimizer(config, student)
    trained = student
    if parts.learner is not None:
        trained = parts.learner.to(device)
        optimizer.add_param_group({"params": list(parts.learner.losses.parameters())})
    model = DistributedDataParallel(trained) if world.size > 1 else trained
    return Session(
        config=config,
        plan=parts.plan,
        objective=parts.objective,
        loader=parts.loader,
        model=model,
        forward=compiled(model) if config.compile else model,
        ema=ema,
        preprocess=parts.student.preprocess(parts.view_size).to(device),
        optimizer=optimizer,
        scheduler=build_scheduler(config, optimizer, parts.plan),
        scaler=LossScaler(device, enabled=config.amp and config.amp_dtype == "float16"),
        device=device,
        world=world,
        journal=Journal(Path(config.out)),
        progress=progress,
        interrupts=interrupts,
        tally=Tally(TALLY_NAMES, device),
    )


def share_batch_norms(
    model: nn.Module, config: TrainConfig, *, world: World, device: torch.device
) -> nn.Module:
    """Let the batch norms of all processes share their statistics, if asked to; one process has no others.

    Raises:
        ConfigError: the processes compute on CPUs, for which torch has no such batch norm.
    """
    if not config.sync_bn or world.size == 1:
        return model
    if device.type != "cuda":
        raise ConfigError(
            f"--sync-bn: torch shares batch norms between CUDA devices only, and this run is on {device.type}; "
            "leave out --sync-bn"
        )
    shared: nn.Module = convert_sync_batchnorm(model)
    return shared
