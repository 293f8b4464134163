"""``kdcache repair``: compute again what verify finds broken, and nothing else."""

from pathlib import Path
from typing import Any

import click

from kdcache_cli.key_value import KEY_VALUE
from kdcache_cli.precompute_options import settings_from

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache repair cache.zarr --dry-run
  kdcache repair cache.zarr --shards 'train-{000..146}.tar' --teacher resnet50.a1_in1k
  kdcache repair s3://bucket/cache.zarr --config precompute.yaml

An object is written only if it comes out with the sha256 in its commit record; the content id stays what it was. Exit
codes: 0 whole, 2 shards or teachers are missing, 3 it cannot be repaired, 4 other bytes come out, 5 interrupted.
"""


@click.command("repair", epilog=EPILOG)
@click.argument("cache")
@click.option(
    "--shards", multiple=True, metavar="SHARDS", help="Those that broken objects are of; may be repeated."
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file of the precompute run: its shards and teachers are used.",
)
@click.option(
    "--teacher", "teachers", multiple=True, metavar="[NAME=]MODEL", help="As in precompute; may be repeated."
)
@click.option(
    "--teacher-checkpoint", "teacher_checkpoint", multiple=True, help="Local weights, one per --teacher."
)
@click.option("--teacher-class-map", help="The class map that it was cached with.")
@click.option(
    "--teacher-kwargs", type=KEY_VALUE, multiple=True, help="For timm or the factory; may be repeated."
)
@click.option("--store-features", "teacher_features", is_flag=True, default=None, help="Its features, too.")
@click.option(
    "--combine", type=click.Choice(["mean-prob", "mean-logit"]), help="The ensemble of the teachers, too."
)
@click.option("--combine-weights", help="Of its members, as 1,2,1.")
@click.option("-b", "--batch-size", type=int, help="[default: what the cache was made with]")
@click.option("--teacher-threads", type=int, help="[default: what the cache was made with]")
@click.option("-j", "--readers", type=int, help="Reader processes.  [default: one per core]")
@click.option("--device", help="Where the teachers compute.  [default: the best there is]")
@click.option("--dry-run", is_flag=True, help="List what is broken and what it takes. Write nothing.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    cache: str,
    shards: tuple[str, ...],
    config_file: Path | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Compute missing and damaged objects of the cache at CACHE again.

    Metadata is written again from the manifest, the index and the commit records. Samples and views need their
    shards, targets their teacher as well. Nothing else is touched.
    """
    import json

    from kdcache.precompute.repair import repair

    settings = settings_from(shards, config_file, flags) | {"cache": cache}
    report = repair(settings, where="kdcache repair", dry_run=dry_run, quiet=quiet)
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else report.summary())
