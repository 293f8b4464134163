"""The import contracts of pyproject.toml hold, and each of them notices when it is broken."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source import ROOT

FLOORS = "imports point down only, and files on one floor are strangers"
CLI = "the command line sits above the library"
NO_TEACHER = "training, and everything it uses, never reaches a teacher"
LIGHT = "a cache and its views open without torch, timm or webdataset"


def _lint(house: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{house}{os.pathsep}{house / 'cli'}", "NO_COLOR": "1"}
    return subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=house,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the package that a test may break."""
    copy = tmp_path_factory.mktemp("house")
    ignore = shutil.ignore_patterns("__pycache__", "*.tar", "*.safetensors")
    shutil.copytree(ROOT / "kdcache", copy / "kdcache", ignore=ignore)
    shutil.copytree(ROOT / "cli", copy / "cli", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


@pytest.fixture(autouse=True)
def repaired(house: Path) -> None:
    """Undo what the test before this one broke."""
    for path in (*house.rglob("bad.py"), *house.rglob("attic.py")):
        path.unlink()


def test_every_contract_holds(house: Path) -> None:
    result = _lint(house)
    assert result.returncode == 0, result.stdout
    assert "4 kept, 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("where", "line", "contract"),
    [
        ("kdcache/store/bad.py", "import kdcache.data.loader", FLOORS),
        ("kdcache/views/bad.py", "import kdcache.store.reader", FLOORS),
        ("kdcache/config/bad.py", "import kdcache.runtime", FLOORS),
        ("kdcache/precompute/bad.py", "import kdcache.train", FLOORS),
        ("kdcache/report/bad.py", "import kdcache_cli.main", CLI),
        ("kdcache/train/bad.py", "import kdcache.teachers", NO_TEACHER),
        ("kdcache/models/bad.py", "import kdcache.teachers", FLOORS),
        ("kdcache/store/bad.py", "import torch", LIGHT),
        ("kdcache/views/bad.py", "import timm.data", LIGHT),
        ("kdcache/config/bad.py", "import webdataset", LIGHT),
    ],
)
def test_breaking_a_contract_is_noticed(house: Path, where: str, line: str, contract: str) -> None:
    (house / where).write_text(f"{line}\n")
    result = _lint(house)
    assert result.returncode != 0
    assert f"{contract} BROKEN" in result.stdout


def test_reaching_a_teacher_through_another_module_is_noticed(house: Path) -> None:
    (house / "kdcache/data/bad.py").write_text("import kdcache.teachers\n")
    (house / "kdcache/train/bad.py").write_text("import kdcache.data.bad\n")
    assert f"{NO_TEACHER} BROKEN" in _lint(house).stdout


def test_a_module_that_has_no_floor_is_noticed(house: Path) -> None:
    (house / "kdcache/attic.py").write_text("")
    result = _lint(house)
    assert result.returncode != 0
    assert f"{FLOORS} BROKEN" in result.stdout
