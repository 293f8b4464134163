"""``kdcache export``: a run's student for other people's programs."""

from typing import Any

import click

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache export runs/deit-tiny --to timm --out deit-tiny.safetensors
  kdcache export runs/deit-tiny --to safetensors --weights ema --out deit-tiny-ema.safetensors
  kdcache export runs/deit-tiny --to onnx --out deit-tiny.onnx --with-preprocess
  kdcache export runs/deit-tiny --to hub-folder --out deit-tiny --class-names imagenet

Every export is loaded again and compared with the run's weights before it gets its name. docs/exporting.md says
what is in each. Exit codes: 0 done, 2 usage or configuration, 3 weights that are missing or damaged, or an export
that differs from them.
"""


@click.command("export", epilog=EPILOG)
@click.argument("run")
@click.option("--to", type=click.Choice(["timm", "safetensors", "onnx", "hub-folder"]), required=True)
@click.option("--out", required=True, help="The file or folder to write; it must not be there yet.")
@click.option(
    "--weights", default="model", show_default=True, help="model, or ema and others that the run has."
)
@click.option("--checkpoint", help="Weights of this student in another file.")
@click.option("--class-names", help="File with one class name a line, or 'imagenet'.")
@click.option("--opset", type=click.IntRange(1), help="Of --to onnx.  [default: 18]")
@click.option("--with-preprocess", is_flag=True, help="Of --to onnx: take uint8 pixels, normalise inside.")
@click.option(
    "--tolerance", type=float, default=1e-5, show_default=True, help="How far a logit may be from the run's."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    run: str,
    weights: str,
    checkpoint: str | None,
    class_names: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write the student in the folder RUN as timm, ONNX Runtime or the hub's layout take it."""
    from kdcache.export import export_run
    from kdcache.report.class_names import read_class_names
    from kdcache.train.trained import open_run

    report = export_run(
        open_run(run, weights=weights, checkpoint=checkpoint),
        class_names=read_class_names(class_names) if class_names else None,
        **flags,
    )
    click.echo(report.to_json() if as_json else report.to_text())
