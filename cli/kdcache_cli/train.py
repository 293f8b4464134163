"""``kdcache train``: a student from cached targets, or from labels on the same views."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache train 'train-{000..146}.tar' --cache cache.zarr --student deit_tiny_distilled_patch16_224 \\
      --val 'val-{00..06}.tar' --epochs 300 --warmup-epochs 5 --amp --out runs/deit-tiny
  kdcache train 'train-{000..146}.tar' --cache cache.zarr --student vit_small_patch16_224 --temperature 2 \\
      --drop-path 0.1 --clip-grad 1 --out runs/vit-small
  kdcache train 'train-{000..146}.tar' --cache cache.zarr --student vit_tiny_patch16_224 \\
      --distill-loss-weight 0 --task-loss-weight 1 --out runs/labels-only
  kdcache train --config runs/deit-tiny/args.yaml --out runs/deit-tiny --resume
  torchrun --nproc-per-node 8 -m kdcache_cli.main train ...

Every field of --config is described in docs/training.md; flags override it. Exit codes: 0 done, 2 usage or
configuration, 3 bad data or store, 4 mismatch, 5 interrupted (--resume goes on).
"""


class KeyValue(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """``key=value``, the value read as YAML reads it (numbers, true, lists, words)."""

    name = "k=v"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """Split at the first equals sign."""
        import yaml

        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not key=value, as in img_size=28", param, ctx)
        return key, yaml.safe_load(text)


KEY_VALUE = KeyValue()

OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option("--cache", help="The cache whose views and targets are used."),
    click.option("--teacher", help="Which teacher of the cache, where it has several."),
    click.option("--student", help="A timm model name."),
    click.option("--out", help="Folder of the run: log, checkpoint, weights."),
    click.option("--val", multiple=True, help="Validation shards; may be repeated."),
    click.option("--val-cache", help="Cache of the validation shards: adds agreement with its teacher."),
    click.option("--val-batch-size", type=int, help="[default: --batch-size]"),
    click.option("--num-classes", type=int, help="Classes of the student.  [default: the cache's]"),
    click.option(
        "--student-kwargs", type=KEY_VALUE, multiple=True, help="For timm.create_model; may be repeated."
    ),
    click.option("--pretrained", is_flag=True, default=None, help="Start from timm's pretrained weights."),
    click.option("--initial-checkpoint", help="Start from the weights in this file."),
    click.option("--drop", type=float, help="Dropout rate."),
    click.option("--drop-path", type=float, help="Drop path rate."),
    click.option("--mean", type=float, nargs=3, help="Mean of the student's input.  [default: timm's]"),
    click.option("--std", type=float, nargs=3, help="Deviation of the student's input.  [default: timm's]"),
    click.option("--task-loss-weight", type=float, help="Weight of the label loss."),
    click.option("--distill-loss-weight", type=float, help="Weight of the teacher's loss."),
    click.option("--distill-loss", type=click.Choice(["kl", "hard"])),
    click.option("--temperature", type=float, help="Temperature of kl.  [default: 1]"),
    click.option("--tail", type=click.Choice(["bucket", "uniform", "drop"]), help="[default: bucket]"),
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
        type=click.Choice(["cosine", "tanh", "poly", "step", "constant"]),
        help="Learning-rate schedule.  [default: cosine]",
    ),
    click.option("--warmup-epochs", type=float, help="[default: 5 % of the run]"),
    click.option("--warmup-steps", type=int, help="Instead of --warmup-epochs."),
    click.option("--warmup-lr", type=float, help="[default: 1e-6]"),
    click.option("--min-lr", type=float, help="[default: 0]"),
    click.option("--decay-epochs", type=float, help="Of --sched step.  [default: 90]"),
    click.option("--decay-rate", type=float, help="Of --sched step and poly.  [default: 0.1]"),
    click.option("--device", help="cpu, cuda, cuda:1, mps.  [default: the best there is]"),
    click.option("--amp", is_flag=True, default=None, help="Automatic mixed precision (bfloat16)."),
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
    click.option("--val-interval", type=int, help="Epochs between evaluations; 0: only at the end."),
    click.option("--log-interval", type=int, help="Steps between log lines.  [default: 50]"),
    click.option("-q", "--quiet", is_flag=True, default=None, help="No progress, no notices."),
)


def _with_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(OPTIONS):
        function = option(function)
    return function


@click.command("train", epilog=EPILOG)
@click.argument("shards", nargs=-1)
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with any settings; flags override it.",
)
@_with_options
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out, if there is one.")
@click.option("--dry-run", is_flag=True, help="Say how long the run would be, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    shards: tuple[str, ...],
    config_file: Path | None,
    resume: bool,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Train a student on SHARDS from the views and targets of a cache. No teacher is needed here.

    With --distill-loss-weight 0 --task-loss-weight 1 the same run learns from labels only, on the same
    views: the baseline.
    """
    from kdcache.config.train import TrainConfig
    from kdcache.train import describe, train

    config = TrainConfig.parse(_settings(shards, config_file, flags), where="kdcache train")
    report = describe(config) if dry_run else train(config, resume=resume)
    if os.environ.get("RANK", "0") == "0":  # under torchrun one process speaks
        click.echo(report.to_json() if as_json else report.to_text())


def _settings(shards: Sequence[str], config_file: Path | None, flags: dict[str, Any]) -> dict[str, Any]:
    """Lay the flags that were given over the file."""
    from kdcache.config.base import read_yaml

    settings: dict[str, Any] = read_yaml(config_file) if config_file else {}
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    for name, other in (("epochs", "steps"), ("warmup_epochs", "warmup_steps")):
        if name in given or other in given:  # two ways to say one thing: the flag replaces both
            settings = {key: value for key, value in settings.items() if key not in {name, other}}
    for name in ("student_kwargs", "opt_kwargs"):
        if name in given:
            given[name] = {**settings.get(name, {}), **dict(given[name])}
    return settings | given | ({"shards": list(shards)} if shards else {})
