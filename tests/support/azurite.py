"""A real Azurite, Microsoft's stand-in for Azure's blob storage, with everything below one folder."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.support.servers import free_port, wait_for_port

__all__ = ["CONTAINER", "Azurite", "azurite"]

CONTAINER = "caches"
_ACCOUNT = "testaccount"
_VERSION = "2023-11-03"


@dataclass(frozen=True)
class Azurite:
    """A running server with one empty container.

    Attributes:
        address: of the server itself, as in ``http://127.0.0.1:10000``.
        key: of the account.
    """

    address: str
    key: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(64)).decode())

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that every tool of the provider reads."""
        return self.environment_through(self.address)

    def environment_through(self, address: str) -> dict[str, str]:
        """Return them with the address of a proxy before the server."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": self.key,
            "AZURE_STORAGE_ENDPOINT": f"{address}/{_ACCOUNT}",
        }

    def make_container(self, name: str) -> None:
        """Make a container, with a request signed by hand: obstore makes none."""
        path = f"/{_ACCOUNT}/{name}"
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": _VERSION}
        signed = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        text = f"PUT{chr(10) * 12}{signed}/{_ACCOUNT}{path}\nrestype:container"
        digest = hmac.digest(base64.b64decode(self.key), text.encode(), hashlib.sha256)
        headers["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(digest).decode()}"
        connection = http.client.HTTPConnection(self.address.removeprefix("http://"), timeout=30)
        connection.request("PUT", f"{path}?restype=container", headers=headers | {"Content-Length": "0"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert answer.status == http.client.CREATED, body


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[Azurite]:
    """Run Azurite; the test is skipped where it is not installed."""
    program = _program()
    port = free_port()
    server = Azurite(f"http://127.0.0.1:{port}")
    where = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder / "blobs")]
    with (folder / "azurite.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *where, "--silent", "--skipApiVersionCheck", "--disableTelemetry"],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=os.environ | {"AZURITE_ACCOUNTS": f"{_ACCOUNT}:{server.key}"},
        )
    try:
        wait_for_port(port, process, folder / "azurite.log")
        server.make_container(CONTAINER)
        yield server
    finally:
        process.kill()
        process.wait()


def _program() -> str:
    installed = Path(sys.prefix) / "azurite" / "node_modules" / ".bin" / "azurite-blob"
    program = str(installed) if installed.exists() else shutil.which("azurite-blob")
    if program is None or shutil.which("node") is None:
        pytest.skip("Azurite is not installed; 'tests/support/azurite.sh' installs it where npm is there")
    return program
