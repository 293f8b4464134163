"""``kdcache precompute``: run the teachers once over every view."""

from pathlib import Path
from typing import Any

import click

from kdcache_cli.precompute_options import settings_from, with_options

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache precompute 'train-{000..146}.tar' --cache cache.zarr --teacher resnet50.a1_in1k --views 50
  kdcache precompute 'train-{000..146}.tar' --cache cache.zarr --teacher resnet50 \\
      --teacher-checkpoint resnet50.safetensors --top-k 50 --precision bfloat16 --batch-size 256
  kdcache precompute digits.tar --cache digits.zarr --teacher mylab.nets:small_cnn --policy light --size 28 \\
      --teacher-mean 0.5 0.5 0.5 --teacher-std 0.25 0.25 0.25
  kdcache precompute 'train-{000..146}.tar' --cache cache.zarr --teacher cnn=resnet50.a1_in1k \\
      --teacher inv=mylab.rednet:rednet26 --teacher-checkpoint - --teacher-checkpoint rednet.pth
  kdcache precompute --config precompute.yaml
  kdcache precompute --config precompute.yaml --dry-run

Run the same command again to continue one that was stopped. Teachers with settings of their own are listed in
--config (docs/precompute.md). Exit codes: 0 done, 2 usage or configuration, 3 bad data, teacher or store,
4 mismatch with the cache that is there, 5 interrupted (the same command goes on).
"""


@click.command("precompute", epilog=EPILOG)
@click.argument("shards", nargs=-1)
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with any settings; flags override it.",
)
@with_options
@click.option(
    "--dry-run",
    "only_look",
    is_flag=True,
    help="Say what there is to do and what it takes: units, bytes, hours. Write nothing.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, no notices.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    shards: tuple[str, ...],
    config_file: Path | None,
    only_look: bool,
    quiet: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Run the teachers once over every view of SHARDS that is not in the cache yet.

    SHARDS are WebDataset tars (KEY.jpg, KEY.cls); braces and * are expanded. Several teachers see the same
    views, and are stored side by side.
    """
    import json
    import shlex
    import sys

    from kdcache.config.precompute import PrecomputeConfig
    from kdcache.precompute import PrecomputeReport, precompute
    from kdcache.precompute.dry_run import dry_run
    from kdcache.precompute.dry_run_report import DryRun

    config = PrecomputeConfig.parse(settings_from(shards, config_file, flags), where="kdcache precompute")
    if only_look:
        report: DryRun | PrecomputeReport = dry_run(config, quiet=quiet)
    else:
        resume = f"kdcache {shlex.join(sys.argv[1:])}"
        report = precompute(config, quiet=quiet, resume=resume)
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else report.summary())
