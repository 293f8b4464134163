"""``kdcache views``: a contact sheet of samples under several augmentation seeds."""

from pathlib import Path

import click

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache views 'train-{000..146}.tar' --policy deit --out deit.png
  kdcache views 'train-{000..146}.tar' --policy policy.yaml --samples 4 --seeds 0-7 --out sheet.png
  kdcache views 'train-{000..146}.tar' --cache cache.zarr --class-names imagenet --out sheet.png

With a cache the policy is the cache's, every view is compared with the cached pixel digest, and the teacher's
three best classes stand below it. Exit codes: 0 drawn, 2 usage or configuration, 3 bad data or store, 4 the
views are not the cache's (the sheet is drawn all the same).
"""


@click.command("views", epilog=EPILOG)
@click.argument("shards", nargs=-1, required=True)
@click.option("--policy", help="Preset (center, rrc, deit, three-augment, light) or YAML file.")
@click.option("--size", type=click.IntRange(1), help="Side of the views.  [default: the policy's]")
@click.option("--cache", help="Show this cache's views, and what its teacher says of them.")
@click.option("--teacher", help="Which teacher of the cache.  [default: its first]")
@click.option("--samples", type=click.IntRange(1), default=6, show_default=True, help="How many samples.")
@click.option("--keys", help="Keys of the samples to show instead, with commas between.")
@click.option("--seeds", help="Augmentation seeds, as in 0-5 or 0,3,8-11.  [default: the first six]")
@click.option("--class-names", help="File with one class name a line, or 'imagenet'.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The sheet, a PNG file."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything but the pixels as JSON.")
def command(
    shards: tuple[str, ...],
    policy: str | None,
    size: int | None,
    cache: str | None,
    teacher: str | None,
    samples: int,
    keys: str | None,
    seeds: str | None,
    class_names: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Draw samples of SHARDS (down) under augmentation seeds (across), as both stages see them."""
    import json

    from kdcache.report.class_names import read_class_names
    from kdcache.report.show import Choice, show_cached_views, show_views
    from kdcache.report.view_inputs import parse_seeds, read_policy
    from kdcache.store import open_cache

    _check_usage(policy, size, cache, teacher, out)
    choice = Choice(
        num_samples=samples,
        keys=tuple(key.strip() for key in keys.split(",")) if keys else (),
        aug_seeds=parse_seeds(seeds) if seeds else None,
        class_names=read_class_names(class_names) if class_names else None,
    )
    if cache:
        report = show_cached_views(shards, open_cache(cache), teacher=teacher, choice=choice)
    else:
        report = show_views(shards, read_policy(policy or "", size=size), choice=choice)
    report.save(out)
    facts = json.dumps(report.to_json() | {"out": str(out)}, indent=2)
    click.echo(facts if as_json else f"{out}: {report.summary()}")
    report.demand_cached_views()


def _check_usage(
    policy: str | None, size: int | None, cache: str | None, teacher: str | None, out: Path
) -> None:
    if cache and (policy or size):
        raise click.UsageError("with --cache the policy is the cache's; leave out --policy and --size")
    if not cache and not policy:
        raise click.UsageError("say which views: --policy NAME (center, rrc, deit, ...) or --cache CACHE")
    if teacher and not cache:
        raise click.UsageError("--teacher names a teacher of a cache; give the cache with --cache")
    if out.suffix.lower() != ".png":
        raise click.UsageError(f"--out {out}: the sheet is a PNG file; let its name end in .png")
