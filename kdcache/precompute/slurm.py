"""Stage one as a Slurm job array: settings in, the text of a batch script out; nothing is run or written here."""

import re
import shlex
from collections.abc import Sequence
from typing import Final, Self

from pydantic import Field, field_validator, model_validator

from kdcache.config.base import Settings
from kdcache.errors import ConfigError

__all__ = ["SlurmArray", "batch_script"]

WARNING_SECONDS: Final = 120
SHORTEST_SECONDS: Final = 300

_DIRECTIVE_VALUE = re.compile(r"[A-Za-z0-9_.,:@+=/-]+")
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
_OURS = ("--array", "-a", "--open-mode", "--output", "-o", "--requeue", "--no-requeue", "--signal")


class SlurmArray(Settings):
    """What each task of the array gets from Slurm, and what happens around ``kdcache precompute``.

    Attributes:
        tasks: how many tasks share the work.
        gpus_per_task: a task uses one GPU at most.
        cpus_per_task: for the reader processes and the teacher's own thread.
        time: Slurm's time limit of one task; a task that reaches it is queued again.
        max_running: how many tasks may run at once.
        max_restarts: a task that has been restarted so often is not queued again by itself.
        logs: folder of the logs; Slurm does not make it.
        setup: shell lines that run before ``kdcache``, as in ``source .venv/bin/activate``.
        sbatch: options for more ``#SBATCH`` lines.
    """

    tasks: int = Field(default=1, ge=1)
    gpus_per_task: int = Field(default=1, ge=0, le=1)
    cpus_per_task: int = Field(default=8, ge=1)
    time: str = "24:00:00"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    mem: str | None = None
    max_running: int | None = Field(default=None, ge=1)
    max_restarts: int = Field(default=20, ge=0)
    job_name: str = "kdcache"
    logs: str = "slurm-logs"
    setup: tuple[str, ...] = ()
    sbatch: tuple[str, ...] = ()

    @field_validator("partition", "account", "qos", "mem", "job_name", "logs")
    @classmethod
    def _is_plain(cls, value: str | None) -> str | None:
        # Slurm reads #SBATCH lines by quoting rules of its own: what needs quotes does not get in.
        if value is not None and not _DIRECTIVE_VALUE.fullmatch(value):
            raise ValueError(f"{value!r} has other characters than letters, digits and _.,:@+=/-")
        return value

    @field_validator("time")
    @classmethod
    def _leaves_time_to_work(cls, value: str) -> str:
        seconds = _seconds(value)
        if seconds is not None and seconds < SHORTEST_SECONDS:
            raise ValueError(
                f"{value!r} leaves no time to work: Slurm warns a task up to {WARNING_SECONDS + 60} s before its "
                "limit; give at least 00:05:00"
            )
        return value

    @field_validator("setup")
    @classmethod
    def _is_one_line_each(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            _demand_one_line(line)
        return lines

    @field_validator("sbatch")
    @classmethod
    def _are_options_of_others(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        options = tuple(line.removeprefix("#SBATCH").strip() for line in lines)
        for option in options:
            _demand_one_line(option)
            name = re.split(r"[=\s]", option, maxsplit=1)[0]
            if not name.startswith("-"):
                raise ValueError(f"{option!r} is no option of sbatch, such as --constraint=a100")
            if name in _OURS:
                raise ValueError(f"{name} is set by kdcache launch: interrupting and queueing again need it")
        return options

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.max_running is not None and self.max_running > self.tasks:
            raise ValueError(f"max_running {self.max_running} is more than the {self.tasks} tasks there are")
        return self


def batch_script(array: SlurmArray, words: Sequence[str]) -> str:
    """Return the script for ``sbatch``: an array whose tasks all run ``kdcache`` with these words.

    Args:
        array: what Slurm is asked for.
        words: the command line after ``kdcache``.

    Raises:
        ConfigError: the words are no precompute command, or one that cannot be shared by an array.
    """
    _demand_precompute(words)
    parts = [
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in _options(array)),
        "",
        f"# Written by `kdcache launch slurm`. Slurm does not make the folder of its logs: mkdir -p {array.logs}",
        "# shellcheck disable=SC2317  # traps call the functions",
        "",
        "set -euo pipefail",
        f"max_restarts={array.max_restarts}",
        f'export OMP_NUM_THREADS="${{SLURM_CPUS_PER_TASK:-{array.cpus_per_task}}}"',
        _BEFORE,
        *_around(array.setup),
        'if (( num_signals > 0 )); then exit "$INTERRUPTED"; fi',
        f"{shlex.join(['kdcache', *words])} &",
        _AFTER,
    ]
    return "\n".join(parts)


def _options(array: SlurmArray) -> list[str]:
    at_once = "" if array.max_running is None else f"%{array.max_running}"
    wanted = {
        "job-name": array.job_name,
        "array": f"0-{array.tasks - 1}{at_once}",
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": array.cpus_per_task,
        "gpus-per-task": array.gpus_per_task or None,
        "mem": array.mem,
        "time": array.time,
        "partition": array.partition,
        "account": array.account,
        "qos": array.qos,
        "output": f"{array.logs}/%A_%a.log",
        "open-mode": "append",
        "signal": f"B:USR1@{WARNING_SECONDS}",
    }
    given = [f"--{name}={value}" for name, value in wanted.items() if value is not None]
    return [*given, "--requeue", *array.sbatch]


def _around(setup: Sequence[str]) -> list[str]:
    # The scripts that activate an environment commonly read variables that are not set.
    return ["set +u", *setup, "set -u"] if setup else []


def _seconds(text: str) -> int | None:
    """Read Slurm's notations of a time; None for no limit."""
    if text.lower() in {"infinite", "unlimited"}:
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time; write hours:minutes:seconds, days-hours or minutes")
    days, *parts = found.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is None and len(numbers) < 3:
        numbers = [0, *numbers]
    hours, minutes, seconds = (*numbers, 0, 0)[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _demand_one_line(text: str) -> None:
    if not text.isprintable():
        raise ValueError(f"{text!r} holds a line break or another control character; give one line each time")


def _demand_precompute(words: Sequence[str]) -> None:
    names = [word.partition("=")[0] for word in words]
    if not words or words[0] != "precompute":
        found = shlex.quote(words[0]) if words else "nothing"
        raise ConfigError(
            f"found {found} where the command for the array begins, expected precompute, as in: "
            "kdcache launch slurm --tasks 8 -- precompute SHARDS --cache CACHE --teacher MODEL"
        )
    if not {"--cache", "--config"} & set(names):
        raise ConfigError("the precompute command names no cache; add --cache CACHE (or --config FILE)")
    if "--worker" in names:
        raise ConfigError("leave out --worker: a task knows from Slurm which of the array's workers it is")
    for word in words:
        if not word.isprintable():
            raise ConfigError(f"the word {word!r} holds a line break or another control character; rename it")


# Slurm gives its warning before the time limit (USR1) to this shell alone, which passes it on as TERM. Where
# Slurm ends or preempts a task, or somebody cancels it, TERM comes to every process of it: then it must not be
# passed on, because a second TERM ends kdcache at once, without its last unit and its last words.
#
# Tasks are named ARRAY_TASK, because the job id of one of them is also the id of the whole array, and
# "incomplete" keeps a cancelled task cancelled: Slurm would queue it again otherwise.
_BEFORE: Final = """
readonly INTERRUPTED=5
task="${SLURM_ARRAY_JOB_ID:?submit this script with sbatch}_$SLURM_ARRAY_TASK_ID"
restarts="${SLURM_RESTART_COUNT:-0}"
worker=""
num_signals=0

# Slurm warns this shell alone before the time limit: pass it on.
warned() {
  num_signals=$((num_signals + 1))
  if [[ -n $worker ]]; then kill -TERM "$worker" || true; fi
}

# Slurm ends this task: kdcache got the same signal, and a second one would cut it short.
ended() {
  num_signals=$((num_signals + 1))
}

# An interrupted task asks to be queued again; Slurm refuses that to one that was cancelled.
finish() {
  local status=$?
  trap '' TERM USR1
  # Ended by the signal before it could answer with 5; bash may not even know how.
  if (( num_signals > 0 && status > 128 )); then status=$INTERRUPTED; fi
  echo "kdcache: task $task ends with exit code $status"
  if (( status == INTERRUPTED && restarts < max_restarts )); then
    scontrol requeue incomplete "$task" || true
  elif (( status == INTERRUPTED )); then
    echo "kdcache: task $task has been restarted $restarts times; submit the same script again to go on"
  fi
  exit "$status"
}

trap warned USR1
trap ended TERM
trap finish EXIT
echo "kdcache: task $task starts on $HOSTNAME at $(date '+%F %T'), restarts so far: $restarts"
"""

_AFTER: Final = """worker=$!
if (( num_signals > 0 )); then kill -TERM "$worker" || true; fi
status=0
wait "$worker" || status=$?
# A signal ends the wait, not the worker.
while (( status > 128 )) && kill -0 "$worker" 2> /dev/null; do
  status=0
  wait "$worker" || status=$?
done
exit "$status"
"""
