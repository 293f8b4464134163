"""``kdcache train``: a student from cached targets, or from labels on the same views."""

import os
from pathlib import Path
from typing import Any

import click

from kdcache_cli.train_options import settings_from, with_options

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


@click.command("train", epilog=EPILOG)
@click.argument("shards", nargs=-1)
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with any settings; flags override it.",
)
@with_options
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

    config = TrainConfig.parse(settings_from(shards, config_file, flags), where="kdcache train")
    report = describe(config) if dry_run else train(config, resume=resume)
    if os.environ.get("RANK", "0") == "0":  # under torchrun one process speaks
        click.echo(report.to_json() if as_json else report.to_text())
