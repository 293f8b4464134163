"""The batch script: what it asks of Slurm, what it refuses, and how bash runs it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdcache.errors import ConfigError
from kdcache.precompute.slurm import SlurmArray, batch_script

WORDS = ("precompute", "train-{000..003}.tar", "--cache", "c.zarr", "--workers=2")


def _array(**settings: Any) -> SlurmArray:
    return SlurmArray.parse(settings, where="test")


def _script(**settings: Any) -> str:
    return batch_script(_array(**settings), WORDS)


def _options(**settings: Any) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in _script(**settings).splitlines() if "#SBATCH" in line]


def test_a_task_gets_one_gpu_eight_cores_and_a_day() -> None:
    assert _options() == [
        "--job-name=kdcache",
        "--array=0-0",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=8",
        "--gpus-per-task=1",
        "--time=24:00:00",
        "--output=slurm-logs/%A_%a.log",
        "--open-mode=append",
        "--signal=B:USR1@120",
        "--requeue",
    ]


def test_everything_that_is_asked_for_is_in_the_script() -> None:
    options = _options(
        tasks=8,
        max_running=3,
        gpus_per_task=0,
        cpus_per_task=4,
        time="2-12",
        partition="gpu,spot",
        account="lab",
        qos="low",
        mem="32G",
        job_name="night",
        logs="/scratch/logs",
        sbatch=("--constraint=a100|h100", "#SBATCH --mail-type=FAIL"),
    )
    assert {
        *("--array=0-7%3", "--cpus-per-task=4", "--time=2-12", "--partition=gpu,spot", "--account=lab"),
        *("--qos=low", "--mem=32G", "--job-name=night", "--output=/scratch/logs/%A_%a.log"),
    } < set(options)
    assert options[-2:] == ["--constraint=a100|h100", "--mail-type=FAIL"]
    assert "gpus" not in " ".join(options)


def test_all_options_stand_above_the_first_command() -> None:
    lines = _script(sbatch=("--exclusive",), setup=("true",)).splitlines()
    assert all(line.startswith("#") for line in lines[: lines.index("#SBATCH --exclusive")])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"tasks": 0}, "greater than or equal to 1"),
        ({"gpus_per_task": 2}, "less than or equal to 1"),
        ({"tasks": 2, "max_running": 3}, "more than the 2 tasks"),
        ({"partition": "gpu\n#SBATCH --array=0-999"}, "other characters"),
        ({"job_name": "a b"}, "other characters"),
        ({"logs": "logs/%A"}, "other characters"),
        ({"mem": ""}, "other characters"),
        ({"setup": ("true\nrm -r .",)}, "line break"),
        ({"sbatch": ("--exclusive\ntouch x",)}, "line break"),
        ({"sbatch": ("exclusive",)}, "no option of sbatch"),
        ({"sbatch": ("--signal=TERM",)}, "set by kdcache launch"),
        ({"sbatch": ("-a 0-3",)}, "set by kdcache launch"),
        ({"time": "soon"}, "no time"),
        ({"time": "4"}, "at least 00:05:00"),
        ({"time": "4:59"}, "at least 00:05:00"),
        ({"time": "0"}, "at least 00:05:00"),
        ({"walltime": "1"}, "unknown field"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        _array(**settings)


@pytest.mark.parametrize("time_limit", ["5", "5:00", "00:05:00", "1-0", "0-0:05", "7-00:00:00", "UNLIMITED"])
def test_slurm_s_notations_of_a_time_are_understood(time_limit: str) -> None:
    assert f"--time={time_limit}" in _options(time=time_limit)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "found nothing"),
        (("train", "--cache", "c"), "found train"),
        (("precompute", "a.tar"), "names no cache"),
        ((*WORDS, "--worker", "0/2"), "leave out --worker"),
        ((*WORDS, "--worker=0/2"), "leave out --worker"),
        ((*WORDS, "a\nb"), "line break"),
    ],
)
def test_commands_that_cannot_be_shared_are_refused(words: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        batch_script(_array(), words)


def test_a_file_may_name_the_cache() -> None:
    assert "kdcache precompute --config p.yaml &\n" in batch_script(
        _array(), ("precompute", "--config", "p.yaml")
    )


def test_equal_settings_give_equal_text() -> None:
    assert _script(tasks=3, setup=("true",)) == _script(tasks=3, setup=("true",))


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text(_script(setup=("module load cuda",)))
    result = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert result.stdout == ""


class Bash:
    """Runs scripts in a folder whose ``kdcache`` and ``scontrol`` say what they are asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._program("scontrol", 'echo "scontrol $*"')

    def kdcache(self, body: str) -> None:
        """Replace ``kdcache`` by these lines of Python."""
        (self.folder / "kdcache").write_text(
            f"#!{sys.executable} -SI\nimport os, signal, sys, time\n{body}\n"
        )
        (self.folder / "kdcache").chmod(0o755)

    def start(self, script: str, **environment: str) -> subprocess.Popen[str]:
        """Start a script as Slurm does."""
        paths = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        slurm = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_CPUS_PER_TASK": "6"}
        return subprocess.Popen(
            ["bash", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PATH": paths} | slurm | environment,
            start_new_session=True,
        )

    def run(self, script: str, **environment: str) -> tuple[int, str]:
        """Run a script to its end; return its exit code and what it printed."""
        process = self.start(script, **environment)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def _program(self, name: str, body: str) -> None:
        (self.folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.folder / name).chmod(0o755)


@pytest.fixture
def bash(tmp_path: Path) -> Bash:
    return Bash(tmp_path)


REQUEUE = "scontrol requeue incomplete 7_3\n"
HEEDFUL = """
def note(number, frame):
    signal.signal(number, signal.SIG_DFL)
    time.sleep(0.3)
    os.write(1, b"stopped\\n")
    sys.exit(5)
signal.signal(signal.SIGTERM, note)
os.write(1, b"working\\n")
time.sleep(60)
"""


def test_words_arrive_as_they_were(bash: Bash) -> None:
    words = (*WORDS, "a b", "'$(touch x)'", '"`id`"', "\\", "é;&|*", "")
    bash.kdcache("print(sys.argv[1:])")
    assert f"{list(words)!r}\n" in bash.run(batch_script(_array(), words))[1]


def test_setup_runs_first_and_may_read_variables_that_are_not_set(bash: Bash) -> None:
    bash.kdcache("print(os.environ['FOUND'], os.environ['OMP_NUM_THREADS'])")
    assert "<> 6\n" in bash.run(_script(setup=('export FOUND="<$NOBODY_SET_THIS>"',)))[1]


def test_a_setup_that_fails_ends_the_task(bash: Bash) -> None:
    bash.kdcache("print('working')")
    code, output = bash.run(_script(setup=("false",)))
    assert (code, "working" in output) == (1, False)


def test_a_complete_task_ends_with_0(bash: Bash) -> None:
    bash.kdcache("")
    code, output = bash.run(_script())
    assert (code, REQUEUE in output) == (0, False)


def test_a_failed_task_keeps_its_exit_code(bash: Bash) -> None:
    bash.kdcache("sys.exit(3)")
    code, output = bash.run(_script())
    assert (code, REQUEUE in output) == (3, False)


def test_a_killed_task_keeps_its_exit_code(bash: Bash) -> None:
    bash.kdcache("os.kill(os.getpid(), signal.SIGKILL)")
    code, output = bash.run(_script())
    assert (code, REQUEUE in output) == (137, False)


def test_an_interrupted_task_is_queued_again(bash: Bash) -> None:
    bash.kdcache("sys.exit(5)")
    code, output = bash.run(_script(), SLURM_RESTART_COUNT="19")
    assert (code, REQUEUE in output) == (5, True)


def test_a_task_is_not_queued_again_for_ever(bash: Bash) -> None:
    bash.kdcache("sys.exit(5)")
    code, output = bash.run(_script(max_restarts=2), SLURM_RESTART_COUNT="2")
    assert (code, REQUEUE in output) == (5, False)
    assert "has been restarted 2 times; submit the same script again" in output


Send = Callable[[subprocess.Popen[str]], None]


def _warn(process: subprocess.Popen[str]) -> None:
    """Do as Slurm before the time limit: signal the shell alone."""
    os.kill(process.pid, signal.SIGUSR1)


def _end(process: subprocess.Popen[str]) -> None:
    """Do as Slurm when it ends a task: signal all its processes."""
    os.killpg(process.pid, signal.SIGTERM)


def _signalled(process: subprocess.Popen[str], send: Send, *, after: str) -> tuple[int, str]:
    """Send once the script has printed a line with ``after``; return its exit code and what it printed then."""
    assert process.stdout is not None
    while after not in process.stdout.readline():
        assert process.poll() is None
    send(process)
    output, _ = process.communicate(timeout=30)
    return process.returncode, output


@pytest.mark.parametrize("send", [_warn, _end])
def test_kdcache_gets_one_sigterm_and_the_time_it_needs(bash: Bash, send: Send) -> None:
    bash.kdcache(HEEDFUL)
    code, output = _signalled(bash.start(_script()), send, after="working")
    assert (code, output) == (5, f"stopped\nkdcache: task 7_3 ends with exit code 5\n{REQUEUE}")


@pytest.mark.parametrize("send", [_warn, _end])
def test_a_signal_before_kdcache_can_answer_interrupts_all_the_same(bash: Bash, send: Send) -> None:
    bash.kdcache("os.write(1, b'working\\n')\ntime.sleep(60)")
    code, output = _signalled(bash.start(_script()), send, after="working")
    assert (code, REQUEUE in output) == (5, True)


@pytest.mark.parametrize("send", [_warn, _end])
def test_a_signal_during_the_setup_interrupts_before_kdcache_starts(bash: Bash, send: Send) -> None:
    bash.kdcache("print('working')")
    process = bash.start(_script(setup=("echo setting up; sleep 0.5",)))
    code, output = _signalled(process, send, after="setting up")
    assert (code, REQUEUE in output, "working" in output) == (5, True, False)


def test_outside_of_slurm_the_script_says_what_to_do(bash: Bash) -> None:
    result = subprocess.run(["bash", "-c", _script()], capture_output=True, text=True, check=False, env={})
    assert result.returncode != 0
    assert "submit this script with sbatch" in result.stderr
