"""Commands in processes of their own whose imports are done already: seconds of start-up less for each.

A test process, or the one that starts several, starts the server of ``process_server.py``, which forks them.
"""

import atexit
import contextlib
import fcntl
import functools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.support.process_server import ORDER_BYTES, socket_for
from tests.support.source import ROOT

__all__ = ["Process", "first_server", "launch", "launch_ranks", "run", "run_facts", "start_server"]

_PIPE_BYTES: Final = 1 << 20  # nobody reads a pipe before its process has ended
_SOCKET: Final = "KDCACHE_TEST_PROCESSES"
_SECONDS_TO_START: Final = 120.0


class Process:
    """A command that runs; what ``subprocess.Popen`` has of it, and leader of a session of its own.

    Attributes:
        pid: its id, and that of its process group.
        returncode: None while it runs; negative for a signal.
    """

    def __init__(self, report: socket.socket, outputs: Sequence[int]) -> None:
        self._report, self._outputs = report, outputs
        self.returncode: int | None = None
        self.pid = int(report.recv(64))

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs."""
        with contextlib.suppress(TimeoutError):
            self.wait(timeout=0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit status.

        Raises:
            TimeoutError: it runs still after ``timeout`` seconds.
        """
        if self.returncode is None:
            if not select.select([self._report], [], [], timeout)[0]:
                raise TimeoutError(f"process {self.pid} runs still after {timeout} s")
            self.returncode = int(self._report.recv(64))
            self._report.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end and return what it wrote to (stdout, stderr)."""
        self.wait(timeout)
        texts = [_drain(descriptor) for descriptor in self._outputs]
        self._outputs = ()
        return (texts[0], texts[1]) if texts else ("", "")

    def send_signal(self, number: int) -> None:
        """Send it alone a signal, if it runs still."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it alone SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill_group(self) -> None:
        """Kill it and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def launch(
    words: Sequence[str],
    *,
    folder: Path | None = None,
    log: Path | None = None,
    step: Sequence[Any] = (),
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Run ``kdcache ...``, ``kdcache.demo.without_teacher ...`` or ``script.py ...`` in another process.

    Args:
        words: the command line.
        folder: where it runs; the repository by default.
        log: a file to which its output is appended, instead of keeping it for ``communicate``.
        step: (phase, kind, count) of ``kill_steps``, where it kills itself.
        environment: changes to this process's environment.
    """
    order = {
        "words": list(words),
        "folder": str(folder or ROOT),
        "environment": os.environ | {_SOCKET: first_server()} | dict(environment or {}),
        "step": list(step),
    }
    pipes = [] if log else [os.pipe() for _ in range(2)]
    for _, end in pipes:
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    ends = [os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)] * 2 if log else [end for _, end in pipes]
    report = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    report.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ORDER_BYTES)
    report.connect(_server(words[0]))
    socket.send_fds(report, [json.dumps(order).encode()], ends)
    for end in set(ends):
        os.close(end)
    return Process(report, [start for start, _ in pipes])


def launch_ranks(words: Sequence[str], *, world: int, log: Path | None = None) -> list[Process]:
    """Run a command as so many processes of one group, as torchrun starts them on one machine."""
    if world == 1:
        return [launch(words, log=log)]
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(one.getsockname()[1])}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)} for rank in range(world)]
    return [launch(words, log=log, environment=meet | rank) for rank in ranks]


def run(
    words: Sequence[str], *, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """Run a command to its end, which must be a good one, and return (stdout, stderr)."""
    process = launch(words, folder=folder, environment=environment)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, f"{words} ended with {process.returncode}:\n{stderr}"
    return stdout, stderr


def run_facts(
    words: Sequence[str], *, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run it and return the JSON with which its stdout ends: one line, or all of it."""
    text, _ = run(words, folder=folder, environment=environment)
    facts: dict[str, Any] = json.loads(text if text.startswith("{\n") else text.splitlines()[-1])
    return facts


@functools.cache
def first_server() -> str:
    """Return the socket of the shared server, or of this process's own, where it soon listens."""
    return os.environ.get(_SOCKET) or start_server()


@functools.cache
def _server(command: str) -> str:
    """Return the socket of the server for a command: one that is shared, or this process's own."""
    path = socket_for(command, first_server())
    deadline = time.monotonic() + _SECONDS_TO_START
    while not Path(path).exists():
        assert time.monotonic() < deadline, f"nobody listens at {path}"
        time.sleep(0.02)
    return path


def start_server() -> str:
    """Start a server, which ends with this process, and return its socket, where it soon listens."""
    # A socket's path must be short, and pytest's folders may be deep.
    folder = tempfile.mkdtemp(prefix="kdcache-")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.process_server", f"{folder}/socket"],
        stdin=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")]), "OMP_NUM_THREADS": "1"},
    )

    def end() -> None:
        process.stdin.close()  # type: ignore[union-attr]
        process.wait(timeout=60)
        shutil.rmtree(folder)

    atexit.register(end)
    return f"{folder}/socket"


def _drain(descriptor: int) -> str:
    """Return what lies in a pipe; who else may still hold its other end is not waited for."""
    os.set_blocking(descriptor, False)
    with open(descriptor, "rb") as pipe:
        return (pipe.read() or b"").decode(errors="replace")
