"""``kdcache info``: what a cache holds and where it came from."""

import click

__all__ = ["command"]


@click.command("info")
@click.argument("cache")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def command(cache: str, as_json: bool) -> None:
    """Say what the cache at CACHE holds: teachers, data, views, size, software.

    Reads the manifest and the commit records, no data: it answers at once, on a cache that is still being
    written too.
    """
    import json

    from kdcache.report import CacheReport, to_text
    from kdcache.store import open_cache

    report = CacheReport.of(open_cache(cache))
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else to_text(report))
