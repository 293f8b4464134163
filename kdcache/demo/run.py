"""The demo itself: the commands that a user would type, run as a user would run them."""

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kdcache.demo.recipe import LABELLED, TEST, UNLABELLED, Recipe
from kdcache.demo.report import DemoReport
from kdcache.errors import KdcacheError

__all__ = ["Shell", "run_demo"]

_OURS: Final = ("train.zarr", "mixed.zarr", "test.zarr", "runs")
_COMMAND: Final = "kdcache_cli.main"
_COMMAND_WITHOUT_TEACHER: Final = "kdcache.demo.without_teacher"


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs ``kdcache`` commands and says which."""

    say: Callable[[str], None]

    def run(self, *words: str, module: str = _COMMAND, label: str | None = None) -> str:
        """Run one command and return its stdout; what it says on stderr goes to the user.

        With a ``label`` each line of it is marked, for commands that run side by side.

        Raises:
            KdcacheError: the command failed.
        """
        mark = f"[{label}] " if label else ""
        self.say(f"{mark}$ kdcache {shlex.join(words)}")
        with tempfile.TemporaryFile("w+", encoding="utf-8") as stdout:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *words],
                stdout=stdout,
                stderr=subprocess.PIPE if label else None,
                text=True,
            )
            with process:
                for line in process.stderr or ():
                    self.say(f"{mark}{line.rstrip()}")
            stdout.seek(0)
            output = stdout.read()
        if process.returncode != 0:
            raise KdcacheError(
                f"kdcache {words[0]} ended with exit code {process.returncode}, expected 0; its own message "
                "is above; what was done until then is kept in the demo's folder"
            )
        return output

    def facts(self, *words: str, module: str = _COMMAND, label: str | None = None) -> dict[str, Any]:
        """Run one command with ``--json`` and return what it reports."""
        facts: dict[str, Any] = json.loads(self.run(*words, "--json", module=module, label=label))
        return facts


def run_demo(out: Path, recipe: Recipe, *, say: Callable[[str], None]) -> DemoReport:
    """Run both stages into ``out`` and report; caches and runs of an earlier demo there are replaced.

    Raises:
        KdcacheError: one of the commands failed.
    """
    start = time.perf_counter()
    _prepare(out, recipe)
    shell = Shell(say)
    cache, objects_verified = _stage_one(shell, out)
    labels_only, distilled, mixed = _stage_two(shell, out, recipe)
    runs = [*labels_only, *distilled, mixed]
    test = shell.facts("info", str(out / "test.zarr"))
    (teacher,) = cache["teachers"].values()
    (teacher_on_test,) = test["teachers"].values()
    report = DemoReport(
        num_views=cache["views"],
        bytes_per_view=cache["bytes_per_view"],
        views_per_second=teacher["views"] / max(teacher["seconds"], 1e-9),
        encoding=teacher["encoding"],
        objects_verified=objects_verified,
        digests_checked=sum(run["views_checked"] for run in runs),
        teacher_top1=100 * teacher_on_test["top1"],
        labels_only_top1=tuple(100 * run["evaluation"]["top1"] for run in labels_only),
        distilled_top1=tuple(100 * run["evaluation"]["top1"] for run in distilled),
        mixed_top1=100 * mixed["evaluation"]["top1"],
        steps=recipe.steps,
        teacher_calls_in_training=sum(run["teacher_calls"] for run in runs),
        seconds=time.perf_counter() - start,
    )
    (out / "report.json").write_text(report.to_json() + "\n", encoding="utf-8")
    return report


def _prepare(out: Path, recipe: Recipe) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in _OURS:
        shutil.rmtree(out / name, ignore_errors=True)
    recipe.write(out)


def _stage_one(shell: Shell, out: Path) -> tuple[dict[str, Any], int]:
    """Cache both sets of pictures; return what ``info`` says and how many objects ``verify`` checked."""
    train, mixed, test = (str(out / f"{name}.zarr") for name in ("train", "mixed", "test"))
    for shards, cache, settings in (
        ((LABELLED, UNLABELLED), train, "precompute"),
        ((LABELLED, UNLABELLED), mixed, "precompute-mixed"),
        ((TEST,), test, "precompute-test"),
    ):
        shell.run("precompute", *shards, "--cache", cache, "--config", str(out / f"{settings}.yaml"))
    verified = [shell.facts("verify", cache) for cache in (train, mixed, test)]
    return shell.facts("info", train), sum(report["objects"] for report in verified)


def _stage_two(
    shell: Shell, out: Path, recipe: Recipe
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Train the students, two at a time (the recipe keeps each to one thread); one of them on mixed views."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        mixed = pool.submit(_train, shell, out, 0, kind="mixed")
        labels_only, distilled = (
            [pool.submit(_train, shell, out, seed, kind=kind) for seed in range(recipe.seeds)]
            for kind in ("labels-only", "distilled")
        )
        return [run.result() for run in labels_only], [run.result() for run in distilled], mixed.result()


def _train(shell: Shell, out: Path, seed: int, *, kind: str) -> dict[str, Any]:
    """Train one student where no teacher can be imported."""
    labels_only = kind == "labels-only"
    return shell.facts(
        "train",
        *((LABELLED,) if labels_only else (LABELLED, UNLABELLED)),
        *("--cache", str(out / ("mixed.zarr" if kind == "mixed" else "train.zarr"))),
        *("--val", TEST, "--val-cache", str(out / "test.zarr")),
        *("--config", str(out / "train.yaml")),
        *(("--distill-loss-weight", "0", "--task-loss-weight", "1") if labels_only else ()),
        *("--seed", str(seed)),
        *("--out", str(out / "runs" / f"{kind}-{seed}")),
        module=_COMMAND_WITHOUT_TEACHER,
        label=f"{kind} {seed}",
    )
