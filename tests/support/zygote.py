"""A process that has everything imported and forks one command after the other: a kill then costs no start-up.

As a script it reads one JSON line a command from stdin, ``{"arguments", "environment", "log", "kill_at"}``, answers
with the child's pid, then waits for it and answers with its exit status (negative: the signal that ended it).
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.kill_steps import kill_at
from tests.support.source import ROOT

__all__ = ["Child", "Zygote"]


@dataclass(frozen=True)
class Child:
    """A forked command, in a process group of its own."""

    zygote: "Zygote"
    pid: int
    log: Path

    def kill(self) -> None:
        """Kill it and its readers, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Return its exit status; negative for a signal."""
        return int(self.zygote.read())


class Zygote:
    """The parent's end; one child at a time."""

    def __enter__(self) -> Self:
        """Start the process."""
        paths = os.pathsep.join([str(ROOT), str(ROOT / "cli")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        assert self.read() == "ready"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def read(self) -> str:
        """Return the next line that it says."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def start(
        self, arguments: Sequence[str], log: Path, *, step: Sequence[Any] = (), **environment: str
    ) -> Child:
        """Fork and run a command; with ``step`` = (phase, kind, count) it kills itself there."""
        assert self._process.stdin is not None
        order = {
            "arguments": list(arguments),
            "environment": environment,
            "log": str(log),
            "kill_at": list(step),
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Child(self, int(self.read()), log)


def _serve() -> None:
    import torch

    import kdcache.precompute
    import kdcache.train
    import tests.support.teachers  # noqa: F401
    from kdcache_cli.main import kdcache as command

    assert kdcache.precompute is not None
    assert kdcache.train is not None
    torch.set_num_threads(1)
    _say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(order, lambda arguments: command(arguments, standalone_mode=True, prog_name="kdcache"))
        _say(str(pid))
        _, status = os.waitpid(pid, 0)
        _say(str(os.waitstatus_to_exitcode(status)))


def _run(order: dict[str, Any], command: Callable[[list[str]], Any]) -> None:
    code = 70
    try:
        os.setsid()
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["environment"])
        if order["kill_at"]:
            kill_at(*order["kill_at"])
        command(order["arguments"])
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0 if left.code is None else 1
    except BaseException:  # noqa: BLE001 - told, and the child ends
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _serve()
