"""Commands in processes of their own whose imports are done already: seconds of start-up less for each.

A test process, or the one that starts several, starts a server, which imports torch, timm and kdcache. Every
connection to its socket is an order: a JSON line with the words, the folder and the whole environment, and the
descriptors for the output. It forks a process for it, and answers with the process's id and then with its exit status.
"""

import atexit
import contextlib
import fcntl
import functools
import gc
import importlib
import json
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kdcache.demo.run import Shell
from tests.support.kill_steps import kill_at
from tests.support.source import ROOT

__all__ = ["Process", "launch", "launch_ranks", "run", "run_facts", "start_server"]

_PIPE_BYTES: Final = 1 << 20  # nobody reads a pipe before its process has ended
_ORDER_BYTES: Final = 1 << 17
_COMMAND: Final = "kdcache_cli.main"
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
    """Run ``kdcache ...`` or ``script.py ...`` in another process.

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
        "environment": os.environ | {_SOCKET: _server()} | dict(environment or {}),
        "step": list(step),
    }
    pipes = [] if log else [os.pipe() for _ in range(2)]
    for _, end in pipes:
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    ends = [os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)] * 2 if log else [end for _, end in pipes]
    report = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    report.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ORDER_BYTES)
    report.connect(_server())
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
def _server() -> str:
    """Return the socket of the server that is shared, or of this process's own."""
    path = os.environ.get(_SOCKET) or start_server()
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
        [sys.executable, "-m", "tests.support.processes", f"{folder}/socket"],
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


def _serve(path: str) -> None:
    gc.disable()
    import torch

    for module in ("timm", "kdcache.data.loader", "kdcache.precompute", "kdcache.train", "kdcache_cli.main"):
        importlib.import_module(module)
    importlib.import_module("tests.support.teachers")
    torch.set_num_threads(1)
    gc.collect()
    gc.enable()
    gc.freeze()  # else every child would look through, and so copy, all that is imported
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"{path}-")
    listener.listen()
    Path(f"{path}-").rename(path)
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = (
            False  # torch would take its operators down one by one: half of a short command's time
        )
    reports: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for ready in select.select([sys.stdin.fileno(), listener.fileno(), *reports], [], [])[0]:
            if ready == sys.stdin.fileno():
                os._exit(0)  # seconds sooner than to take the libraries down
            elif ready == listener.fileno():
                pid, report = _begin(listener)
                reports[os.pidfd_open(pid)] = pid, report
            else:
                _tell(*reports.pop(ready))
                os.close(ready)


def _begin(listener: socket.socket) -> tuple[int, socket.socket]:
    """Take an order and fork its process; return its id and to whom its end is told."""
    report, _ = listener.accept()
    data, outputs, _, _ = socket.recv_fds(report, _ORDER_BYTES, 2)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        report.send(str(os.getpid()).encode())
        _run(stdout=outputs[0], stderr=outputs[1], **json.loads(data))
    for descriptor in outputs:
        os.close(descriptor)
    return pid, report


def _tell(pid: int, report: socket.socket) -> None:
    """Tell how a process ended."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        report.send(str(code).encode())
    report.close()


def _run(
    *,
    words: list[str],
    folder: str,
    environment: dict[str, str],
    step: list[Any],
    stdout: int,
    stderr: int,
) -> None:
    code = 70
    try:
        for descriptor, number in ((os.open(os.devnull, os.O_RDONLY), 0), (stdout, 1), (stderr, 2)):
            os.dup2(descriptor, number)
        os.closerange(3, 1 << 16)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        if step:
            kill_at(*step)
        Shell.run = _forked_shell(Shell.run)  # type: ignore[method-assign]
        sys.argv = words
        if words[0] == "kdcache":
            runpy.run_module(_COMMAND, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(words[0], run_name="__main__")
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0 if left.code is None else 1
    except BaseException:  # noqa: BLE001 - told, and the child ends
        import traceback

        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends its children there
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _forked_shell(run_fresh: Callable[..., str]) -> Callable[..., str]:
    """Let what the demo and the recipes type be forked, too, but for what must import nothing of a teacher."""

    def forked(shell: Shell, *words: str, module: str = _COMMAND, label: str | None = None) -> str:
        if module != _COMMAND:
            return run_fresh(shell, *words, module=module, label=label)
        shell.say(f"$ kdcache {shlex.join(words)}")
        return run(["kdcache", *words], folder=Path.cwd())[0]

    return forked


if __name__ == "__main__":
    _serve(sys.argv[1])
