"""``kdcache prune``: a smaller cache out of a larger one."""

import click

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache prune cache.zarr --out small.zarr --seeds 0-24
  kdcache prune cache.zarr --out one.zarr --teachers resnet50.a1_in1k
  kdcache prune s3://bucket/cache.zarr --out small.zarr --seeds 0-9 --teachers a,b --top-k 16 --dry-run

CACHE stays as it is; its content id is the new cache's parent. docs/recasting.md says what of a smaller K is exact.
Run the same command again to continue one that was stopped.
"""


@click.command("prune", epilog=EPILOG)
@click.argument("cache")
@click.option(
    "--out",
    required=True,
    help="Where the new cache goes: a new folder, or a URL such as s3://bucket/folder.",
)
@click.option(
    "--seeds", metavar="RANGES", help="Augmentation seeds to keep, as 0-24,30; widened to whole groups."
)
@click.option(
    "--teachers", metavar="A,B", help="Teachers to keep; features are named on their own, as a.features."
)
@click.option(
    "--top-k", type=click.IntRange(1), metavar="K", help="Classes to keep of teachers that keep more."
)
@click.option("--dry-run", is_flag=True, help="Print what there is to copy. Write nothing.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    cache: str,
    out: str,
    seeds: str | None,
    teachers: str | None,
    top_k: int | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write a new cache with fewer seeds, teachers or kept classes than CACHE."""
    import json

    from kdcache.recast import prune

    names = [name.strip() for name in teachers.split(",")] if teachers else None
    report = prune(cache, out, seeds=seeds, teachers=names, top_k=top_k, dry_run=dry_run, quiet=quiet)
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else report.summary())
