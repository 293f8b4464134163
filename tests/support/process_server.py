"""The server that forks the processes of ``processes.py``: it has imported torch, timm and kdcache already.

Every connection to its socket is an order: a JSON line with the words, the folder and the whole environment, and the
descriptors for the output. It forks a process for it, and answers with the process's id and then with its exit status.
A second server, for what runs without teachers, is forked off before the first one imports them.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shlex
import socket
import sys
import weakref
from pathlib import Path
from typing import Any, Final

from kdcache.demo.run import Shell
from tests.support.kill_steps import kill_at

__all__ = ["ORDER_BYTES", "socket_for"]

ORDER_BYTES: Final = 1 << 17
_COMMAND: Final = "kdcache_cli.main"
_WITHOUT_TEACHER: Final = "kdcache.demo.without_teacher"
_MODULES: Final = {"kdcache": _COMMAND, _WITHOUT_TEACHER: _WITHOUT_TEACHER}


def socket_for(command: str, path: str) -> str:
    """Return the socket of the server for a command, of the two whose first one listens at ``path``."""
    return f"{path}-without-teacher" if command == _WITHOUT_TEACHER else path


def _serve(path: str) -> None:
    gc.disable()
    import torch

    torch.set_num_threads(1)
    for module in ("timm", "kdcache.data.loader", "kdcache.train", "kdcache_cli.main"):
        importlib.import_module(module)
    if os.fork() == 0:
        path = socket_for(_WITHOUT_TEACHER, path)
    else:
        importlib.import_module("kdcache.precompute")
        importlib.import_module("tests.support.teachers")
    gc.collect()
    gc.enable()
    gc.freeze()  # else every child would look through, and so copy, all that is imported
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = (
            False  # torch would take its operators down one by one: half of a short command's time
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"{path}+")
    listener.listen()
    Path(f"{path}+").rename(path)
    _heed(listener)


def _heed(listener: socket.socket) -> None:
    """Fork processes and tell their ends until this process's stdin is closed."""
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
    data, outputs, _, _ = socket.recv_fds(report, ORDER_BYTES, 2)
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
        Shell.run = _forked  # type: ignore[method-assign, assignment]
        sys.argv = words
        if words[0] in _MODULES:
            runpy.run_module(_MODULES[words[0]], run_name="__main__", alter_sys=True)
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


def _forked(shell: Shell, *words: str, module: str = _COMMAND, label: str | None = None) -> str:
    """Let what the demo and the recipes type be forked, too."""
    mark = f"[{label}] " if label else ""
    shell.say(f"{mark}$ kdcache {shlex.join(words)}")
    name = next(name for name, its_module in _MODULES.items() if its_module == module)
    from tests.support.processes import run

    return run([name, *words], folder=Path.cwd())[0]


if __name__ == "__main__":
    _serve(sys.argv[1])
