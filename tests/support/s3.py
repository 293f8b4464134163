"""Real S3 servers on loopback: moto's and SeaweedFS, each a process of its own."""

import contextlib
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.servers import free_port

__all__ = ["BUCKET", "SERVERS", "S3Server", "moto_server", "seaweed_server"]

BUCKET = "caches"
_SECONDS = 60.0


@dataclass(frozen=True)
class S3Server:
    """A running server with one empty bucket."""

    endpoint: str
    process: subprocess.Popen[bytes]

    @property
    def name(self) -> str:
        """Say which it is."""
        return "seaweedfs" if "weed" in str(self.process.args) else "moto"

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that every S3 tool reads."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    def client(self) -> Any:
        """Return a client that shares nothing with kdcache's."""
        return _client(self.endpoint)

    def paths(self, prefix: str) -> list[str]:
        """Return the paths of all objects under a prefix, below it."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        return [
            entry["Key"].removeprefix(f"{prefix}/") for page in pages for entry in page.get("Contents", ())
        ]

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Return the bytes of every object under a prefix, by path below it."""
        client = self.client()
        return {
            path: client.get_object(Bucket=BUCKET, Key=f"{prefix}/{path}")["Body"].read()
            for path in self.paths(prefix)
        }


@functools.cache
def _client(endpoint: str) -> Any:
    """Make a client; that takes longer than most of what it is asked for."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - of a server on loopback
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 0}, connect_timeout=2, read_timeout=30),
    )


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


@contextlib.contextmanager
def _running(command: list[str], endpoint: str, log: Path) -> Iterator[S3Server]:
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        _make_bucket(endpoint, process, log)
        yield S3Server(endpoint, process)
    finally:
        process.kill()
        process.wait()


def _make_bucket(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    client = S3Server(endpoint, process).client()
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no S3 server: {error}\n{log.read_text()[-2000:]}") from error
            time.sleep(0.1)
        else:
            return


@contextlib.contextmanager
def moto_server(folder: Path) -> Iterator[S3Server]:
    """Run moto's S3 server."""
    port = free_port()
    command = [_script("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, f"http://127.0.0.1:{port}", folder / "moto.log") as server:
        yield server


@contextlib.contextmanager
def seaweed_server(folder: Path) -> Iterator[S3Server]:
    """Run SeaweedFS with its S3 gateway; everything is below ``folder``."""
    (folder / "weed").mkdir()
    account = {
        "name": "test",
        "credentials": [{"accessKey": "test", "secretKey": "test"}],
        "actions": ["Admin"],
    }
    (folder / "weed.json").write_text(json.dumps({"identities": [account]}), encoding="utf-8")
    ports = [free_port() for _ in range(8)]
    names = ("master.port", "volume.port", "filer.port", "s3.port")
    # Its gRPC ports are these plus 10,000 unless they are given, and that may be beyond the last port.
    grpc = ("master.port.grpc", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc")
    flags = [f"-{name}={port}" for name, port in zip((*names, *grpc), ports, strict=True)]
    command = [
        _script("weed"),
        "-logtostderr",
        "server",
        f"-dir={folder / 'weed'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-s3",
        f"-s3.config={folder / 'weed.json'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=16",
        *flags,
    ]
    with _running(command, f"http://127.0.0.1:{ports[3]}", folder / "weed.log") as server:
        yield server


SERVERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[S3Server]]] = {
    "moto": moto_server,
    "seaweedfs": seaweed_server,
}
