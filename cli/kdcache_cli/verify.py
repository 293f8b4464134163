"""``kdcache verify``: whether a cache is intact."""

import click

__all__ = ["command"]


@click.command("verify")
@click.argument("cache")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(cache: str, as_json: bool) -> None:
    """Check every object of the cache at CACHE: structure, sha256, and every stored view's rules.

    Stops at the first bad object, names it, and exits with 3.
    """
    import json
    from dataclasses import asdict

    from kdcache.store.verify import verify

    report = verify(cache)
    click.echo(json.dumps(asdict(report), indent=2) if as_json else report.summary())
