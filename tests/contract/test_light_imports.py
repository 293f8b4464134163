"""Commands that only look at things answer at once: they do not import the heavy libraries."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdcache_cli.main import COMMANDS
from tests.support.source import ROOT

HEAVY = ("torch", "torchvision", "timm", "webdataset", "zarr", "numpy", "pydantic", "rich")
LIGHT_HOUSE = (
    "config.views",
    "digest",
    "errors",
    "keys",
    "logits",
    "store.writer",
    "store.reader",
    "views.render",
)


def _loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after ``code``."""
    script = (
        f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout.splitlines()[-1]))


def _run_command(*words: str) -> str:
    return (
        "import contextlib, io, sys\n"
        f"sys.argv = {['kdcache', *words]!r}\n"
        "from kdcache_cli.main import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main()\n"
    )


def test_help_imports_none_of_the_heavy_libraries() -> None:
    assert not _loaded_by(_run_command("--help")) & set(HEAVY)


def test_importing_kdcache_imports_none_of_the_heavy_libraries() -> None:
    assert not _loaded_by("import kdcache; dir(kdcache)") & set(HEAVY)


@pytest.mark.parametrize("module", LIGHT_HOUSE)
def test_the_floors_below_the_tensors_import_no_torch(module: str) -> None:
    assert not _loaded_by(f"import kdcache.{module}") & {"torch", "torchvision", "timm", "webdataset"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_no_torch(command: str) -> None:
    assert not _loaded_by(_run_command(command, "--help")) & {"torch", "timm", "webdataset"}


def test_info_imports_no_torch(tmp_path: Path) -> None:
    loaded = _loaded_by(_run_command("info", str(tmp_path / "nothing")))
    assert not loaded & {"torch", "torchvision", "timm", "webdataset"}


def test_help_answers_soon() -> None:
    """The goal is 0.3 s on an idle machine; the bound is generous because this machine may be busy."""
    command = [str(Path(sys.executable).parent / "kdcache"), "--help"]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=quiet)
        times.append(time.perf_counter() - start)
    assert min(times) < 1.5


def test_verifying_objects_and_drawing_views_import_no_torch(tmp_path: Path) -> None:
    store, shard = ROOT / "tests/golden/format-1", ROOT / "kdcache/demo/data/labelled-000.tar"
    drawing = ("views", str(shard), "--policy", "light", "--size", "28", "--out", str(tmp_path / "a.png"))
    for words in (("verify", str(store)), drawing):
        assert not _loaded_by(_run_command(*words)) & {"torch", "torchvision", "timm", "webdataset"}
    assert (tmp_path / "a.png").exists()
