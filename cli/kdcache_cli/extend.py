"""``kdcache extend``: add views, teachers or shards to a cache, in place."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdcache_cli.precompute_options import settings_from, with_options

if TYPE_CHECKING:
    from kdcache.config.terms import Terms

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache extend 'train-{000..146}.tar' --cache cache.zarr --teacher resnet50.a1_in1k --views 100
  kdcache extend 'more-{000..012}.tar' --cache cache.zarr --teacher resnet50.a1_in1k
  kdcache extend 'train-{000..146}.tar' --cache cache.zarr --teacher big=regnety_160.swag_ft_in1k --top-k 50
  kdcache extend --cache cache.zarr --licence CC-BY-4.0 --contact you@example.org

No data object is written again: only zarr.json files change. Open readers and running trainings go on undisturbed; a
training that starts now may use what is committed so far. Run the same command again to continue one that was stopped.
"""


@click.command("extend", epilog=EPILOG)
@click.argument("shards", nargs=-1)
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with any settings; flags override it.",
)
@with_options
@click.option(
    "--dry-run",
    "only_look",
    is_flag=True,
    help="Say what there is to do and what it takes: units, bytes, hours. Write nothing.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, no notices.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    shards: tuple[str, ...],
    config_file: Path | None,
    only_look: bool,
    quiet: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Add views (--views), teachers (--teacher) or SHARDS to a cache, and compute what that leaves to do.

    SHARDS are those to work on, known to the cache or new. Policy, block and group sizes are the cache's, and
    so is all that it says of a teacher it knows. With --licence and --contact alone, nothing is computed.
    """
    import json
    import shlex
    import sys

    from kdcache.precompute import PrecomputeReport, extension_of, precompute, terms_of
    from kdcache.precompute.dry_run import dry_run
    from kdcache.precompute.dry_run_report import DryRun

    settings = settings_from(shards, config_file, flags)
    terms = terms_of(settings, where="kdcache extend")
    if terms is not None and settings.get("cache"):
        _describe(str(settings["cache"]), terms, only_look=only_look, as_json=as_json)
        return
    config = extension_of(settings, where="kdcache extend")
    if only_look:
        report: DryRun | PrecomputeReport = dry_run(config, grow=True, quiet=quiet)
    else:
        resume = f"kdcache {shlex.join(sys.argv[1:])}"
        report = precompute(config, grow=True, quiet=quiet, resume=resume)
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else report.summary())


def _describe(cache: str, terms: "Terms", *, only_look: bool, as_json: bool) -> None:
    """Set licence and contact, and say what they are then."""
    import json

    from kdcache.store.create import set_terms
    from kdcache.store.objects import open_objects
    from kdcache.store.root import read_manifest

    objects = open_objects(cache)
    about = read_manifest(objects).about if only_look else set_terms(objects, terms).about
    facts = {name: getattr(terms, name) or getattr(about, name) for name in type(terms).model_fields}
    if as_json:
        click.echo(json.dumps({"cache": objects.url, **facts, "dry_run": only_look}, indent=2))
        return
    found = ", ".join(f"{name} {value or 'none'}" for name, value in facts.items())
    click.echo(f"{objects.url}{', a dry run' if only_look else ''}: {found}")
