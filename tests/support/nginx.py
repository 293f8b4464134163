"""A real nginx that serves a folder on loopback, as one user, with all that it writes in a folder of its own."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import free_port, wait_for_port

__all__ = ["nginx"]

_CONFIG = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
{user}
events {{ worker_connections 256; }}
http {{
    access_log off;
    default_type application/octet-stream;
    {temporary}
    server {{
        listen 127.0.0.1:{port};
        root {root};
        {more}
    }}
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextlib.contextmanager
def nginx(root: Path, folder: Path, *, more: str = "") -> Iterator[str]:
    """Serve ``root`` and yield its address; the test is skipped where nginx is not installed.

    Args:
        root: what is served.
        folder: an empty folder for configuration, logs and temporary files.
        more: lines for the server's part of the configuration.
    """
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed; 'make packages' installs it where that can be done")
    port = free_port()
    text = _CONFIG.format(
        folder=folder,
        root=root,
        port=port,
        more=more,
        user="user root;" if os.geteuid() == 0 else "",
        temporary="".join(f"{name}_temp_path {folder}/{name};" for name in _TEMPORARY),
    )
    config = folder / "nginx.conf"
    config.write_text(text, encoding="utf-8")
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for_port(port, process, folder / "error.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
