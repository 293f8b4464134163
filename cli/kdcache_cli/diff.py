"""``kdcache diff``: what two caches differ in."""

import click

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache diff a.zarr b.zarr
  kdcache diff a.zarr s3://bucket/b.zarr --json

Exit codes: 0 the caches are equal (one content id), 1 they differ, 2 usage, 3 one of them is damaged or missing.
"""


@click.command("diff", epilog=EPILOG)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(context: click.Context, first: str, second: str, quiet: bool, as_json: bool) -> None:
    """Compare the caches A and B: fields of their manifests, units that one of them lacks, and values.

    Of each teacher's units that both have: how many views are equal, KL(A || B) at T = 1 and on how many views both
    put the same class first. Objects that are equal to the byte are not read.
    """
    import json

    from kdcache.recast import diff

    found = diff(first, second, quiet=quiet)
    click.echo(json.dumps(found.to_json(), indent=2) if as_json else found.text())
    context.exit(0 if found.is_equal else 1)
