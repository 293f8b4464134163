"""``kdcache demo``: both stages for real, on a small data set that the package carries."""

from pathlib import Path

import click

__all__ = ["command"]

POSITIVE = click.IntRange(1)


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-run"),
    show_default=True,
    help="Folder for caches, runs and the report; the demo's own folders in it are replaced.",
)
@click.option("--views", type=POSITIVE, default=10, show_default=True, help="Views cached per picture.")
@click.option(
    "--epochs", type=POSITIVE, default=20, show_default=True, help="Epochs over the 2,000 pictures."
)
@click.option("--seeds", type=POSITIVE, default=2, show_default=True, help="Runs of each kind.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON instead of a table.")
@click.pass_context
def command(ctx: click.Context, out: Path, views: int, epochs: int, seeds: int, as_json: bool) -> None:
    """Precompute, inspect, train with labels only and distilled, and compare.

    Runs the same commands that you would: precompute, info, verify and train, on 2,000 Fashion-MNIST
    pictures of which 200 have labels. Takes about four minutes on two cores and needs no network. Exits
    with 1 if a promise is not kept.
    """
    from kdcache.demo.recipe import Recipe
    from kdcache.demo.run import run_demo

    recipe = Recipe(views=views, epochs=epochs, seeds=seeds)
    report = run_demo(out, recipe, say=lambda line: click.echo(line, err=True))
    click.echo(report.to_json() if as_json else report.to_text())
    ctx.exit(0 if report.kept else 1)
