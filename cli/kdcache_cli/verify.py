"""``kdcache verify``: whether a cache is intact, and whether its views and targets can be had again."""

from typing import Any

import click

from kdcache_cli.key_value import KEY_VALUE

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache verify cache.zarr
  kdcache verify cache.zarr --views 'train-{000..146}.tar' --fraction 0.05
  kdcache verify cache.zarr --views 'train-{000..146}.tar' --all
  kdcache verify cache.zarr --views 'train-{000..146}.tar' --recompute 1000 --teacher resnet50.a1_in1k

docs/checking.md says what is compared with what. Exit codes: 0 all is right, 2 usage or configuration, 3 a damaged
cache, shard or teacher, 4 samples, views or targets differ.
"""


@click.command("verify", epilog=EPILOG)
@click.argument("cache")
@click.option(
    "--views", "shards", multiple=True, metavar="SHARDS", help="Render views of these shards again."
)
@click.option(
    "--fraction", type=float, default=0.01, show_default=True, help="Share of the views, but at least 64."
)
@click.option("--all", "whole", is_flag=True, help="Render all of them.")
@click.option(
    "--allow-decoder-drift", is_flag=True, help="Report views that a decoder rounds differently, no more."
)
@click.option("--recompute", type=click.IntRange(1), metavar="N", help="Show N views to the teacher again.")
@click.option("--teacher", metavar="[NAME=]MODEL", help="That teacher: a timm name or module:factory.")
@click.option("--teacher-checkpoint", help="Its local weights.")
@click.option("--teacher-kwargs", type=KEY_VALUE, multiple=True, help="For timm or the factory; may repeat.")
@click.option("--device", default="auto", show_default=True, help="Where it computes.")
@click.option("-j", "--workers", type=click.IntRange(1), help="Rendering threads.  [default: all cores]")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    cache: str,
    shards: tuple[str, ...],
    fraction: float,
    whole: bool,
    recompute: int | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Check the cache at CACHE.

    Every object is checked: structure, sha256, and every stored view's rules. With --views, views are then
    rendered again from their shards, without a teacher, and compared with the cache: sample bytes, labels,
    pixels. With --recompute, the teacher is run again on some of them. Stops at the first thing that is wrong
    and names it.
    """
    import json
    from dataclasses import asdict

    from kdcache.store.verify import verify

    _check_usage(shards, whole, recompute, flags["teacher"])
    report = verify(cache)
    facts, texts = asdict(report), [report.summary()]
    if shards:
        views = _recheck(cache, shards, None if whole else fraction, flags)
        facts["views"] = asdict(views)
        texts.append(views.summary())
    if recompute:
        targets = _recompute(cache, shards, recompute, flags)
        facts["recompute"] = asdict(targets)
        texts.append(targets.summary())
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(texts))


def _check_usage(shards: tuple[str, ...], whole: bool, recompute: int | None, teacher: str | None) -> None:
    if not shards and (whole or recompute):
        raise click.UsageError("--all and --recompute look at views: give their shards with --views")
    if bool(recompute) != bool(teacher):
        raise click.UsageError("--recompute N and --teacher MODEL belong together: give both or none")


def _recheck(cache: str, shards: tuple[str, ...], fraction: float | None, flags: dict[str, Any]) -> Any:
    from kdcache.data.recheck import recheck
    from kdcache.store import open_cache

    return recheck(
        shards,
        open_cache(cache),
        fraction=fraction,
        allow_decoder_drift=flags["allow_decoder_drift"],
        workers=flags["workers"],
        quiet=flags["quiet"],
    )


def _recompute(cache: str, shards: tuple[str, ...], views: int, flags: dict[str, Any]) -> Any:
    from kdcache.config.precompute import TeacherConfig
    from kdcache.precompute.recompute import recompute
    from kdcache.store import open_cache

    name, _, model = flags["teacher"].rpartition("=")
    settings = {
        "model": model,
        "name": name or None,
        "checkpoint": flags["teacher_checkpoint"],
        "kwargs": dict(flags["teacher_kwargs"]),
    }
    return recompute(
        shards,
        open_cache(cache),
        TeacherConfig.parse(settings, where="kdcache verify"),
        views=views,
        device=flags["device"],
        workers=flags["workers"],
        allow_decoder_drift=flags["allow_decoder_drift"],
        quiet=flags["quiet"],
    )
