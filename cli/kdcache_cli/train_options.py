"""The flags of stage two, and how they are laid over a file of settings."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from kdcache_cli.key_value import COMMA_LIST, KEY_VALUE

__all__ = ["OPTIONS", "settings_from", "with_options"]

DISTILL_LOSSES = ("kl", "ce", "hard", "dkd", "dist", "logit-std", "bce", "reverse-kl", "jsd")

OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option("--cache", help="The cache whose views and targets are used."),
    click.option("--teacher", multiple=True, help="Which teacher of the cache; repeat for several."),
    click.option(
        "--teacher-weights", type=COMMA_LIST, help="One for each --teacher, as in 1,2.  [default: equal]"
    ),
    click.option("--student", help="A timm model name."),
    click.option("--out", help="Folder of the run: log, checkpoint, weights."),
    click.option("--val", multiple=True, help="Validation shards; may be repeated."),
    click.option("--val-cache", help="Cache of the validation shards: adds agreement with its teacher."),
    click.option("--val-batch-size", type=int, help="[default: --batch-size]"),
    click.option(
        "--views-per-decode", type=click.Choice(["1", "2", "4"]), help="Seeds of a sample that come together."
    ),
    click.option("--shuffle-window", type=int, help="Samples shuffled among each other.  [default: 4096]"),
    click.option("--num-classes", type=int, help="Classes of the student.  [default: the cache's]"),
    click.option(
        "--student-kwargs", type=KEY_VALUE, multiple=True, help="For timm.create_model; may be repeated."
    ),
    click.option("--pretrained", is_flag=True, default=None, help="Start from timm's pretrained weights."),
    click.option("--initial-checkpoint", help="Start from the weights in this file."),
    click.option("--drop", type=float, help="Dropout rate."),
    click.option("--drop-path", type=float, help="Drop path rate."),
    click.option("--head-init-scale", type=float, help="Factor on the classifier's first weights."),
    click.option("--grad-checkpointing", is_flag=True, default=None, help="Less memory, more computing."),
    click.option(
        "--sync-bn", is_flag=True, default=None, help="Batch norms of all processes share statistics."
    ),
    click.option("--mean", type=float, nargs=3, help="Mean of the student's input.  [default: timm's]"),
    click.option("--std", type=float, nargs=3, help="Deviation of the student's input.  [default: timm's]"),
    click.option("--task-loss-weight", type=float, help="Weight of the label loss."),
    click.option("--distill-loss-weight", type=float, help="Weight of the teacher's loss."),
    click.option("--task-loss-weight-end", type=float, help="Where it has moved to by the end of the run."),
    click.option("--distill-loss-weight-end", type=float, help="The same of the teacher's loss."),
    click.option(
        "--distill-loss", type=click.Choice(DISTILL_LOSSES), help="[default: kl; hard with a token]"
    ),
    click.option(
        "--distill-loss-kwargs",
        type=KEY_VALUE,
        multiple=True,
        help="For the loss, as in beta=8; may be repeated.",
    ),
    click.option("--temperature", type=float, help="Of the losses that soften.  [default: 1]"),
    click.option("--temperature-end", type=float, help="Where it has moved to by the end of the run."),
    click.option("--loss-sched", type=click.Choice(["linear", "cosine"]), help="How.  [default: linear]"),
    click.option("--feature-loss-weight", type=float, help="Weight of the distance to cached features."),
    click.option("--feature-loss", type=click.Choice(["cosine", "mse"]), help="[default: cosine]"),
    click.option(
        "--tail", type=click.Choice(["bucket", "uniform", "drop"]), help="[default: bucket; uniform for dkd]"
    ),
    click.option("--force-temperature", is_flag=True, default=None, help="Override the mass guard."),
    click.option("--smoothing", type=float, help="Label smoothing.  [default: 0]"),
    click.option("--epochs", type=int, help="Length of the run.  [default: 300]"),
    click.option("--steps", type=int, help="Length of the run in optimiser steps, instead of --epochs."),
    click.option("-b", "--batch-size", type=int, help="Views of a micro-batch of a process.  [default: 128]"),
    click.option("--grad-accum-steps", type=int, help="Micro-batches of a step.  [default: 1]"),
    click.option("--opt", help="timm optimiser.  [default: adamw]"),
    click.option("--opt-kwargs", type=KEY_VALUE, multiple=True, help="For the optimiser; may be repeated."),
    click.option("--lr", type=float, help="Learning rate.  [default: 5e-4]"),
    click.option("--weight-decay", type=float, help="[default: 0.05]"),
    click.option("--momentum", type=float, help="[default: 0.9]"),
    click.option("--layer-decay", type=float, help="Layer-wise learning-rate decay."),
    click.option("--clip-grad", type=float, help="Clip gradients to this."),
    click.option("--clip-mode", type=click.Choice(["norm", "value", "agc"]), help="[default: norm]"),
    click.option(
        "--sched",
        type=click.Choice(["cosine", "tanh", "poly", "step", "plateau", "constant"]),
        help="Learning-rate schedule.  [default: cosine]",
    ),
    click.option("--warmup-epochs", type=float, help="[default: 5 % of the run]"),
    click.option("--warmup-steps", type=int, help="Instead of --warmup-epochs."),
    click.option("--warmup-lr", type=float, help="[default: 1e-6]"),
    click.option("--min-lr", type=float, help="[default: 0]"),
    click.option("--decay-epochs", type=float, help="Of --sched step.  [default: 90]"),
    click.option("--decay-rate", type=float, help="Of --sched step and poly.  [default: 0.1]"),
    click.option("--patience-epochs", type=int, help="Of --sched plateau.  [default: 10]"),
    click.option("--model-ema", is_flag=True, default=None, help="Keep a running mean of the weights, too."),
    click.option("--model-ema-decay", type=float, help="[default: 0.9998]"),
    click.option(
        "--model-ema-warmup", is_flag=True, default=None, help="Start the mean with a smaller decay."
    ),
    click.option("--device", help="cpu, cuda, cuda:1, mps.  [default: the best there is]"),
    click.option("--amp", is_flag=True, default=None, help="Automatic mixed precision."),
    click.option("--amp-dtype", type=click.Choice(["bfloat16", "float16"]), help="[default: bfloat16]"),
    click.option("--compile", is_flag=True, default=None, help="Run the student through torch.compile."),
    click.option("--channels-last", is_flag=True, default=None, help="Memory layout for convolutions."),
    click.option("--seed", type=int, help="Run seed: order, first weights, dropout.  [default: 42]"),
    click.option("-j", "--workers", type=int, help="Loader processes.  [default: 4]"),
    click.option("--threads", type=int, help="CPU threads of the student.  [default: cores - workers]"),
    click.option("--check-views", type=int, help="Check 1 view in N by digest.  [default: 64]"),
    click.option(
        "--allow-decoder-drift",
        is_flag=True,
        default=None,
        help="Count views that a decoder rounds differently; don't stop.",
    ),
    click.option("--checkpoint-interval", type=int, help="Steps between checkpoints.  [default: an epoch]"),
    click.option("--checkpoint-hist", type=int, help="Best states kept beside the last.  [default: 0]"),
    click.option(
        "--eval-metric",
        type=click.Choice(["top1", "top5", "loss", "agreement", "teacher_kl"]),
        help="What is best.  [default: top1]",
    ),
    click.option("--val-interval", type=int, help="Epochs between evaluations; 0: only at the end."),
    click.option("--log-interval", type=int, help="Steps between log lines.  [default: 50]"),
    click.option("--tensorboard", is_flag=True, default=None, help="Write TensorBoard events, too."),
    click.option("--log-wandb", is_flag=True, default=None, help="Log to Weights & Biases, too."),
    click.option("-q", "--quiet", is_flag=True, default=None, help="No progress, no notices."),
)


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add all flags to a command."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def settings_from(shards: Sequence[str], config_file: Path | None, flags: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a file with the flags that were given laid over them."""
    from kdcache.config.base import read_yaml

    settings: dict[str, Any] = read_yaml(config_file) if config_file else {}
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    for name, other in (("epochs", "steps"), ("warmup_epochs", "warmup_steps")):
        if name in given or other in given:  # two ways to say one thing: the flag replaces both
            settings = {key: value for key, value in settings.items() if key not in {name, other}}
    for name in ("student_kwargs", "opt_kwargs", "distill_loss_kwargs"):
        if name in given:
            given[name] = {**settings.get(name, {}), **dict(given[name])}
    if "views_per_decode" in given:
        given["views_per_decode"] = int(given["views_per_decode"])
    if "teacher" in given and "teacher_weights" not in given:
        settings.pop("teacher_weights", None)
    return settings | given | ({"shards": list(shards)} if shards else {})
