"""The commands of the quality benchmark: run as a user runs them, with the wall and CPU seconds of each."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from kdcache_cli.main import kdcache

__all__ = ["Commands", "Job", "Outcome"]


@dataclass(frozen=True, slots=True)
class Job:
    """One command with the settings that it reads from a file; ``folder`` is emptied before it starts."""

    name: str
    command: str
    settings: dict[str, Any]
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command reported, and what it took, loader processes and imports included."""

    facts: dict[str, Any]
    wall_seconds: float
    cpu_seconds: float


class Commands:
    """Runs jobs, ``side_by_side`` at a time; 0: in this process, one after the other.

    Outcomes are kept in ``out``: a benchmark that was stopped goes on behind the last command that was done.
    """

    def __init__(self, out: Path, *, side_by_side: int, say: Callable[[str], None]) -> None:
        self._out, self._side_by_side, self._say = out, side_by_side, say

    def run_all(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run the jobs and return their outcomes in the same order."""
        if self._side_by_side == 0:
            return [self.run(job) for job in jobs]
        with ThreadPoolExecutor(max_workers=self._side_by_side) as pool:
            return list(pool.map(self.run, jobs))

    def run(self, job: Job) -> Outcome:
        """Run one job, or return what it found when it was run under the same settings before."""
        kept = self._out / "outcomes" / f"{job.name}.json"
        if (outcome := _kept(kept, job)) is not None:
            self._say(f"{job.name}: done before")
            return outcome
        if job.folder is not None:
            shutil.rmtree(job.folder, ignore_errors=True)
        settings = self._out / "settings" / f"{job.name}.yaml"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(yaml.safe_dump(job.settings, sort_keys=False), encoding="utf-8")
        outcome = self._execute([job.command, "--config", str(settings), "--quiet", "--json"])
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({"settings": job.settings, **asdict(outcome)}, indent=2), encoding="utf-8")
        self._say(f"{job.name}: {outcome.wall_seconds:.0f} s, {outcome.cpu_seconds:.0f} CPU seconds")
        return outcome

    def facts(self, *words: str) -> dict[str, Any]:
        """Return what a command that only looks reports."""
        return self._execute([*words, "--json"]).facts

    def _execute(self, words: Sequence[str]) -> Outcome:
        return _in_this_process(words) if self._side_by_side == 0 else _in_a_process(words)


def _kept(path: Path, job: Job) -> Outcome | None:
    if not path.exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Outcome(**kept) if kept.pop("settings") == job.settings else None


def _in_a_process(words: Sequence[str]) -> Outcome:
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "kdcache_cli.main", *words],
            stdout=stdout,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        # wait4 tells the CPU time of this one process and of the loader processes that it waited for.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(_failure(words, process.returncode))
        stdout.seek(0)
        facts = json.load(stdout)
    return Outcome(facts, time.monotonic() - started, usage.ru_utime + usage.ru_stime)


def _in_this_process(words: Sequence[str]) -> Outcome:
    started, cpu_started = time.monotonic(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        code = kdcache(list(words), standalone_mode=False)
    if code:
        sys.exit(_failure(words, code))
    cpu_seconds = time.process_time() - cpu_started
    return Outcome(json.loads(stdout.getvalue()), time.monotonic() - started, cpu_seconds)


def _failure(words: Sequence[str], code: int) -> str:
    return f"kdcache {' '.join(words)} ended with exit code {code}, expected 0; its own message is above"
