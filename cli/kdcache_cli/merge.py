"""``kdcache merge``: several caches become one."""

import click

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache merge half-a.zarr half-b.zarr --out whole.zarr
  kdcache merge ours.zarr s3://bucket/theirs.zarr --out s3://bucket/both.zarr --dry-run
  kdcache merge cache.zarr new-teacher.zarr --out both.zarr

The caches have one policy, block size and group size; docs/recasting.md says what can be merged and what cannot.
Run the same command again to continue a merge that was stopped. Exit codes: 0 done, 3 a damaged cache, 4 a conflict.
"""


@click.command("merge", epilog=EPILOG)
@click.argument("caches", nargs=-1, required=True)
@click.option(
    "--out",
    required=True,
    help="Where the new cache goes: a new folder, or a URL such as s3://bucket/folder.",
)
@click.option(
    "--allow-repeated-keys",
    is_flag=True,
    help="Accept a sample key that two caches have in different shards.",
)
@click.option(
    "--dry-run", is_flag=True, help="Compare, print what there is to copy and the content id. Write nothing."
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    caches: tuple[str, ...], out: str, allow_repeated_keys: bool, dry_run: bool, quiet: bool, as_json: bool
) -> None:
    """Put CACHES of different shards, seeds or teachers into one new cache.

    Objects are copied byte for byte. What two caches both hold must be the same; conflicts are named and nothing
    is written then.
    """
    import json

    from kdcache.recast import merge

    report = merge(caches, out, allow_repeated_keys=allow_repeated_keys, dry_run=dry_run, quiet=quiet)
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else report.summary())
