"""``kdcache info``: what a cache holds and where it came from."""

import click

__all__ = ["command"]


@click.command("info")
@click.argument("cache")
@click.option("--bad-samples", is_flag=True, help="List the samples that both stages skip, and nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def command(cache: str, bad_samples: bool, as_json: bool) -> None:
    """Say what the cache at CACHE holds: teachers, data, views, size, software.

    Reads the manifest and the commit records, no data: it answers at once, on a cache that is still being
    written too.
    """
    import json

    from kdcache.report import CacheReport, to_text
    from kdcache.store import open_cache

    if bad_samples:
        _list_bad_samples(cache, as_json=as_json)
        return
    report = CacheReport.of(open_cache(cache))
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else to_text(report))


def _list_bad_samples(cache: str, *, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from kdcache.report.bad_samples import bad_samples
    from kdcache.store import open_cache

    found = bad_samples(open_cache(cache))
    if as_json:
        click.echo(json.dumps([asdict(sample) for sample in found], indent=2))
    else:
        for sample in found:
            click.echo(f"{sample.shard}\t{sample.key!r}\t{sample.reason}")
