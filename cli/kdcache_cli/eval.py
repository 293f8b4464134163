"""``kdcache eval``: how good a run's student is, on any shards."""

from pathlib import Path

import click

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache eval runs/deit-tiny 'val-{00..06}.tar'
  kdcache eval runs/deit-tiny 'val-{00..06}.tar' --weights ema --per-class classes.csv
  kdcache eval runs/deit-tiny 'val-{00..06}.tar' --cache val.zarr --teacher resnet50 --json
  kdcache eval runs/deit-tiny 'other-{0..3}.tar' --policy center
  kdcache eval runs/deit-tiny 'val-{00..06}.tar' --checkpoint runs/deit-tiny/checkpoint-00012500.pt

docs/evaluating.md explains the figures. Exit codes: 0 done, 2 usage or configuration, 3 bad shards, cache or weights,
4 the cache has other samples, views or classes.
"""


@click.command("eval", epilog=EPILOG)
@click.argument("run")
@click.argument("shards", nargs=-1, required=True)
@click.option("--cache", help="A cache of these SHARDS: its views, and agreement with its teacher.")
@click.option("--teacher", help="Which teacher of the cache.  [default: the run's, or the only one]")
@click.option("--policy", help="Preset or YAML file.  [default: the run's validation views]")
@click.option(
    "--weights", default="model", show_default=True, help="model, or ema and others that the run has."
)
@click.option("--checkpoint", help="Weights of this student in another file.")
@click.option("-b", "--batch-size", type=click.IntRange(1), default=256, show_default=True)
@click.option(
    "-j", "--workers", type=click.IntRange(0), default=4, show_default=True, help="Loader processes."
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps.")
@click.option("--allow-decoder-drift", is_flag=True, help="Take views that a decoder rounds differently.")
@click.option(
    "--per-class",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the table of all classes to this CSV file.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, all classes included.")
def command(
    run: str,
    shards: tuple[str, ...],
    cache: str | None,
    teacher: str | None,
    policy: str | None,
    weights: str,
    checkpoint: str | None,
    batch_size: int,
    workers: int,
    device: str,
    allow_decoder_drift: bool,
    per_class: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Evaluate the student in the folder RUN on SHARDS: accuracy, loss, calibration, agreement.

    RUN is the --out of kdcache train. Each sample is seen once. Without --cache the images are the views that the
    run was validated on.
    """
    from kdcache.report.view_inputs import read_policy
    from kdcache.train.evaluate_run import evaluate_run
    from kdcache.train.trained import open_run

    if cache and policy:
        raise click.UsageError("with --cache the policy is the cache's; leave out --policy")
    report = evaluate_run(
        open_run(run, weights=weights, checkpoint=checkpoint),
        shards,
        cache=cache,
        teacher=teacher,
        policy=read_policy(policy) if policy and policy.endswith((".yaml", ".yml")) else policy,
        batch_size=batch_size,
        workers=workers,
        device=device,
        allow_decoder_drift=allow_decoder_drift,
        quiet=quiet,
    )
    click.echo(report.to_json() if as_json else report.to_text())
    if per_class:
        report.save_per_class(per_class)
