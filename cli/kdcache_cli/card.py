"""``kdcache card``: a page that says what a cache is, and metadata for programs."""

import click

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache card cache.zarr --url s3://bucket/cache.zarr
  kdcache card cache.zarr --out -
  kdcache card s3://bucket/cache.zarr --out card

kdcache push sends the card that is in the folder of a cache. Exit codes: 0 done, 2 usage or configuration, 3 a damaged
cache, or a place that cannot be written or has another page.
"""


@click.command("card", epilog=EPILOG)
@click.argument("cache")
@click.option("--out", metavar="DIR|-", help="Write here; - prints the page.  [default: the cache's folder]")
@click.option(
    "--url", help="Where others fetch the cache, for the commands on the page.  [default: CACHE, if remote]"
)
@click.option("--force", is_flag=True, help="Replace a page or metadata that are there.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(cache: str, out: str | None, url: str | None, force: bool, as_json: bool) -> None:
    """Write README.md and croissant.json of the cache at CACHE.

    README.md is a dataset card: front matter for a hub, a table of the teachers, figures, and commands that
    fetch, check and use the cache. croissant.json is its Croissant metadata. Both say what the manifest and the
    commit records say.
    """
    import json

    from kdcache.report.card import card_files
    from kdcache.report.card_folder import write_card
    from kdcache.store import open_cache

    opened = open_cache(cache)
    if out is None and opened.is_remote:
        raise click.UsageError("CACHE is not a local folder: say with --out where the card goes")
    files = card_files(opened, url=url or (opened.url if opened.is_remote else None))
    if out == "-":
        click.echo(files["README.md"].decode(), nl=False)
        return
    written = write_card(out or opened.url, files, force=force)
    if as_json:
        facts = {"folder": str(out or opened.url), "files": {name: len(data) for name, data in files.items()}}
        click.echo(json.dumps({**facts, "written": list(written)}, indent=2))
    else:
        click.echo("\n".join(f"{out or opened.url}/{name}: {_state(name, written)}" for name in files))


def _state(name: str, written: tuple[str, ...]) -> str:
    return "written" if name in written else "unchanged"
