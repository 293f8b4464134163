"""The wheel builds, carries what the demo needs, and works where it is installed."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.source import ROOT


def _run(*words: str, cwd: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    result = subprocess.run(
        list(words), cwd=cwd, env=clean | environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with what is installed."""
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), cwd=ROOT)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, "--no-deps", "--no-index", "--target", str(folder), str(wheel), cwd=folder)
    return folder


def test_wheel_carries_the_demo_data_weights_and_notice(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert sum(name.startswith("kdcache/demo/data/") and name.endswith(".tar") for name in names) == 6
    assert "kdcache/demo/data/LICENSE-fashion-mnist" in names
    assert "kdcache/demo/teacher.safetensors" in names


def test_wheel_holds_the_two_packages_and_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"kdcache", "kdcache_cli"}


def test_wheel_is_typed_and_licensed(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "kdcache/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_installed_library_is_the_wheel_and_not_the_checkout(site: Path) -> None:
    code = "import kdcache, kdcache_cli.main; print(kdcache.__file__); print(kdcache.__version__)"
    place, version = _run(sys.executable, "-c", code, cwd=site, PYTHONPATH=str(site)).splitlines()
    assert Path(place).is_relative_to(site)
    assert version in str(next(site.glob("*.dist-info")))


def test_installed_command_answers(site: Path) -> None:
    output = _run(str(site / "bin" / "kdcache"), "--help", cwd=site, PYTHONPATH=str(site))
    assert "precompute" in output
