"""``kdcache pull``: fetch a cache, or a part of one."""

import click

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache pull s3://bucket/cache.zarr cache.zarr
  kdcache pull s3://bucket/cache.zarr part.zarr --seeds 0-24 --teachers resnet50.a1_in1k --dry-run
  kdcache pull https://host/cache.zarr part.zarr --shards 0-99

Run the same command again to continue one that was stopped. Exit codes: 0 done, 2 usage or configuration, 3 a damaged
cache or a place that cannot be written, 4 another cache is at DST, 5 interrupted.
"""


@click.command("pull", epilog=EPILOG)
@click.argument("src")
@click.argument("dst")
@click.option("--seeds", metavar="NUMBERS", help="Take these augmentation seeds only, as 0-24 or 0-9,30.")
@click.option("--teachers", metavar="NAMES", help="Take these teachers only, as a,b.")
@click.option("--shards", metavar="NUMBERS", help="Take these shards only, by their number in the cache.")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 256), default=8, show_default=True, help="Requests at once."
)
@click.option("--dry-run", is_flag=True, help="Say what there is to copy: objects, bytes, requests.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    src: str,
    dst: str,
    seeds: str | None,
    teachers: str | None,
    shards: str | None,
    jobs: int,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Copy the cache at SRC, or a part of it, to DST, each a folder or a URL such as s3://bucket/folder.

    Every hash is checked before a file gets its name, and nothing is written but names that a cache has. With
    --seeds, --teachers or --shards the copy is a smaller cache that knows the content id of the one it was
    taken from; seeds are widened to whole groups.
    """
    import json

    from kdcache.share.pull import pull
    from kdcache.share.selection import Selection

    selection = Selection.parse(seeds=seeds, teachers=teachers, shards=shards)
    report = pull(src, dst, selection=selection, jobs=jobs, dry_run=dry_run, quiet=quiet)
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else report.summary())
