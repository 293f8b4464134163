"""``kdcache push``: publish a cache."""

import click

__all__ = ["command"]

_HUB = "hf://"

EPILOG = """\b
Examples:
  kdcache push cache.zarr s3://bucket/cache.zarr --dry-run
  kdcache push cache.zarr s3://bucket/cache.zarr
  kdcache push cache.zarr /mnt/shared/cache.zarr --jobs 2
  kdcache push cache.zarr hf://datasets/owner/name --private

Run the same command again to continue one that was stopped: objects that are there with equal checksum are not sent
again. Exit codes: 0 done, 2 usage or configuration, 3 a damaged cache or a place that cannot be written, 4 another
cache is at DST, 5 interrupted.
"""


@click.command("push", epilog=EPILOG)
@click.argument("src")
@click.argument("dst")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 256), default=8, show_default=True, help="Requests at once."
)
@click.option("--dry-run", is_flag=True, help="Say what there is to copy: objects, bytes, requests.")
@click.option("--private", is_flag=True, help="On a hub: a repository that has to be made is private.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(src: str, dst: str, jobs: int, dry_run: bool, private: bool, quiet: bool, as_json: bool) -> None:
    """Copy the cache at SRC to DST, each a folder or a URL such as s3://bucket/folder.

    All committed units are copied, each byte is checked against its commit record on the way, and the manifest
    comes last: half a copy does not open. Nothing of a cache at DST is ever overwritten by something else. The card
    that kdcache card wrote goes along; a hub gets one in any case.
    """
    import json

    from kdcache.report.card import card_files
    from kdcache.share.push import push
    from kdcache.store import open_cache

    extra_files = card_files(open_cache(src), url=dst) if dst.startswith(_HUB) else {}
    report = push(src, dst, extra_files=extra_files, jobs=jobs, dry_run=dry_run, quiet=quiet, private=private)
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else report.summary())
