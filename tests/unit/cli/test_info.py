"""``kdcache info`` in a process of its own, as people run it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stores import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "c")


def info(*words: str) -> "subprocess.CompletedProcess[str]":
    code = f"""
import sys
sys.argv = {["kdcache", "info", *words]!r}
from kdcache_cli.main import main
try:
    main()
finally:
    heavy = {{"torch", "timm", "webdataset", "zarr"}} & set(sys.modules)
    assert not heavy, heavy
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_info_prints_a_text_and_imports_neither_torch_nor_zarr(store: Path) -> None:
    result = info(str(store))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"Cache {store}\n  content id    sha256:")


def test_info_prints_json(store: Path) -> None:
    result = info(str(store), "--json")
    assert json.loads(result.stdout)["teachers"]["cnn"]["encoding"] == "gap8"


def test_no_cache_exits_with_3_and_one_paragraph(tmp_path: Path) -> None:
    result = info(str(tmp_path / "none"))
    assert result.returncode == 3
    assert "there is no cache at" in result.stderr
    assert "Traceback" not in result.stderr
