"""Credentials are used, and never printed, logged or stored."""

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from kdcache.errors import StoreError
from kdcache.store import open_cache
from kdcache.store.verify import verify
from kdcache.store.writer import CacheWriter
from kdcache_cli.main import kdcache
from tests.support.s3 import BUCKET, S3Server, moto_server
from tests.support.stores import fill_block, make_manifest

SECRET = "hunter2hunter2"  # noqa: S105 - of nobody
CACHE = f"s3://ann:{SECRET}@bucket/cache.zarr"
SHARD = f"https://ann:{SECRET}@host/train-000.tar"
SIGNED = f"https://host/train-000.tar?X-Amz-Signature={SECRET}"

PRECOMPUTE = ["--teacher", "resnet18", "--views", "1"]
TRAIN = ["--student", "vit_tiny_patch16_224", "--out", "run", "--steps", "1"]
COMMANDS = {
    "info": ["info", CACHE],
    "verify": ["verify", CACHE],
    "gc": ["gc", CACHE],
    "extend": ["extend", "data.tar", "--cache", CACHE, "--views", "4"],
    "precompute": ["precompute", "data.tar", "--cache", CACHE, *PRECOMPUTE],
    "precompute from a shard": ["precompute", SHARD, "--cache", "c.zarr", *PRECOMPUTE],
    "precompute from a signed shard": ["precompute", SIGNED, "--cache", "c.zarr", *PRECOMPUTE],
    "train": ["train", "data.tar", "--cache", CACHE, *TRAIN],
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with moto_server(tmp_path) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(
                name, SECRET if name in {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} else value
            )
        yield running


@pytest.mark.parametrize("name", COMMANDS)
def test_an_address_with_a_password_is_refused_and_never_repeated(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.tar").touch()
    with caplog.at_level(logging.DEBUG):
        result = CliRunner().invoke(kdcache, ["--debug", *COMMANDS[name]])
    assert result.exit_code == 2
    assert "in the environment" in result.output
    written = [file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file()]
    assert SECRET not in "".join([result.output, caplog.text, *written])


def test_credentials_of_the_environment_reach_neither_cache_nor_log(
    server: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"s3://{BUCKET}/cache.zarr"
    with caplog.at_level(logging.DEBUG, logger="kdcache"):
        writer = CacheWriter.create_or_resume(url, make_manifest())
        fill_block(writer, writer.layout.blocks[0])
        writer.finish()
        verify(url)
        opened = pickle.dumps(open_cache(url))
    stored = b"".join(server.objects("cache.zarr").values())
    assert len(stored) > 1000
    assert SECRET.encode() not in stored + opened + caplog.text.encode()


def test_an_endpoint_with_a_password_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://ann:{SECRET}@127.0.0.1:1")
    monkeypatch.setenv("KDCACHE_REMOTE_TIMEOUT", "0.5")
    with pytest.raises(StoreError, match=r"cannot read s3://bucket/c/zarr\.json|cannot look up") as caught:
        open_cache("s3://bucket/c")
    assert SECRET not in str(caught.value)
