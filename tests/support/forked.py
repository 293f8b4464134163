"""A process that has torch and timm imported and forks one script or command after the other.

As a script it reads orders from stdin, one JSON line each, ``{"words", "folder", "stdout", "stderr"}``, runs each in a
child, and answers with the child's exit status.
"""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.source import ROOT

__all__ = ["Forked"]


class Forked:
    """The parent's end; what it runs are real processes, only their imports are done already."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._runs = folder, 0

    def __enter__(self) -> Self:
        """Start the process."""
        paths = os.pathsep.join([str(ROOT), str(ROOT / "cli")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ
            | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "KDCACHE_HOME": str(self._folder / "home")},
        )
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

    def run(self, *words: str) -> str:
        """Run ``kdcache ...`` or ``script.py ...`` in the folder and return its stdout; it must succeed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._runs += 1
        stdout, stderr = (self._folder / f"{self._runs}.{name}" for name in ("out", "err"))
        order = {"words": words, "folder": str(self._folder), "stdout": str(stdout), "stderr": str(stderr)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status = self._process.stdout.readline().strip()
        assert status == "0", f"{words} ended with {status}:\n{stderr.read_text()}"
        return stdout.read_text()

    def facts(self, *words: str) -> dict[str, Any]:
        """Run it and return the JSON with which its stdout ends: one line, or all of it."""
        text = self.run(*words)
        facts: dict[str, Any] = json.loads(text if text.startswith("{\n") else text.splitlines()[-1])
        return facts


def _serve() -> None:
    import timm
    import torch

    import kdcache.data.loader
    import kdcache.precompute
    import kdcache.train

    assert all((timm, kdcache.data.loader, kdcache.precompute, kdcache.train))
    torch.set_num_threads(1)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _run(**json.loads(line))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    os._exit(0)  # seconds sooner than to take the libraries down


def _run(words: list[str], folder: str, stdout: str, stderr: str) -> None:
    code = 70
    try:
        for path, descriptor in ((os.devnull, 0), (stdout, 1), (stderr, 2)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
        os.chdir(folder)
        sys.argv = words
        if words[0] == "kdcache":
            runpy.run_module("kdcache_cli.main", run_name="__main__")
        else:
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0 if left.code is None else 1
    except BaseException:  # noqa: BLE001 - told, and the child ends
        import traceback

        traceback.print_exc()
    else:
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
