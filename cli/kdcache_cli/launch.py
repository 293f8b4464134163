"""``kdcache launch``: the job that runs ``kdcache precompute`` on a cluster."""

from pathlib import Path
from typing import Any

import click

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache launch slurm --tasks 16 --setup 'source .venv/bin/activate' --submit -- \\
      precompute 'train-{000..146}.tar' --cache cache.zarr --teacher resnet50.a1_in1k --views 50
  kdcache launch slurm --tasks 64 --max-running 8 --partition gpu --account lab --time 8:00:00 \\
      --sbatch --constraint=a100 --out precompute.sbatch -- precompute --config precompute.yaml

A task that meets its time limit or is preempted commits what it can, exits with 5 and is queued again; a failed
one keeps its exit code. docs/scaling.md says what is sent to whom. Exit codes: 0 done, 2 usage or configuration.
"""


@click.group("launch")
def command() -> None:
    """Write or submit the job that runs precompute on a cluster."""


@command.command("slurm", epilog=EPILOG, context_settings={"allow_interspersed_args": False})
@click.argument("words", nargs=-1, required=True, metavar="-- precompute ...")
@click.option("--tasks", type=int, default=1, show_default=True, help="Tasks that share the work.")
@click.option("--gpus-per-task", type=int, default=1, show_default=True, help="0 or 1.")
@click.option("--cpus-per-task", type=int, default=8, show_default=True)
@click.option("--time", default="24:00:00", show_default=True, help="Time limit of a task.")
@click.option("--partition")
@click.option("--account")
@click.option("--qos")
@click.option("--mem", help="Memory of a task, as in 32G.")
@click.option("--max-running", type=int, help="Tasks that run at once.  [default: as many as Slurm lets]")
@click.option(
    "--max-restarts", type=int, default=20, show_default=True, help="After these a task stays interrupted."
)
@click.option("--job-name", default="kdcache", show_default=True)
@click.option("--logs", default="slurm-logs", show_default=True, help="Folder of the tasks' logs.")
@click.option(
    "--setup", multiple=True, metavar="LINE", help="Shell line to run before kdcache; may be repeated."
)
@click.option("--sbatch", multiple=True, metavar="OPTION", help="For one more #SBATCH line; may be repeated.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the script here.  [default: standard output]",
)
@click.option("--submit", is_flag=True, help="Make the folder of the logs and hand the script to sbatch.")
def slurm(words: tuple[str, ...], out: Path | None, submit: bool, **settings: Any) -> None:
    """Write a Slurm job array whose tasks share one precompute command, or submit it.

    After -- comes the command as it would be typed after kdcache; each task finds its share of the work by
    itself.
    """
    from kdcache.precompute.slurm import SlurmArray, batch_script

    array = SlurmArray.parse(settings, where="kdcache launch slurm")
    script = batch_script(array, words)
    if out:
        _write(script, out)
    if submit:
        click.echo(_submitted(script, Path(array.logs)), nl=False)
    elif out:
        click.echo(f"{out}: submit it with: mkdir -p {array.logs} && sbatch {out}")
    else:
        click.echo(script, nl=False)


def _write(script: str, out: Path) -> None:
    from kdcache.errors import ConfigError

    try:
        out.write_text(script, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}; check --out") from error


def _submitted(script: str, logs: Path) -> str:
    """Hand the script to sbatch and return what that answers."""
    import shutil
    import subprocess

    from kdcache.errors import ConfigError

    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise ConfigError(
            "--submit needs sbatch, which is not on the PATH; go to a login node of the cluster, or write the "
            "script with --out and submit it there"
        )
    logs.mkdir(parents=True, exist_ok=True)
    answer = subprocess.run([sbatch], input=script, capture_output=True, text=True, check=False)  # noqa: S603
    if answer.returncode:
        raise ConfigError(f"sbatch refused the script: {answer.stderr.strip()}")
    return answer.stdout
