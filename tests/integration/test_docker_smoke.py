"""``docker/smoke.sh`` without Docker: the steps of the compose file's services, against a real S3 server."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import first_server
from tests.support.source import ROOT

SCRIPT = ROOT / "docker" / "smoke.sh"
STEPS = ["bucket", "shards", "precompute", "check", "share", "train", "eval"]
# The command as it is, forked from a process that has done its imports.
KDCACHE = f"""\
#!{sys.executable}
import sys
from pathlib import Path
from tests.support.processes import launch
process = launch(["kdcache", *sys.argv[1:]], folder=Path.cwd())
stdout, stderr = process.communicate()
sys.stdout.write(stdout)
sys.stderr.write(stderr)
sys.exit(process.returncode)
"""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Give an empty folder with a short name: sockets are made below it."""
    with tempfile.TemporaryDirectory(prefix="kd-") as folder:
        yield Path(folder)


@pytest.fixture
def environment(tmp_path: Path, temporary: Path) -> dict[str, str]:
    """Return one with the command, the server and an empty folder for temporary files; AWS's own is left out."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kdcache").write_text(KDCACHE, encoding="utf-8")
    (tmp_path / "bin" / "kdcache").chmod(0o755)
    path = (str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")]),
        "TMPDIR": str(temporary),
        "KDCACHE_HOME": str(tmp_path / "home"),
        "KDCACHE_TEST_PROCESSES": first_server(),
    }


def _run(*words: str, environment: dict[str, str]) -> tuple[int, str]:
    result = subprocess.run(
        [SCRIPT, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


def _left(folder: Path) -> list[str]:
    """Return what is left in the folder, and the command lines of processes that work there."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended meanwhile
            continue
    return [line for line in lines if str(folder) in line] + [str(path) for path in folder.iterdir()]


@pytest.mark.slow
def test_a_cache_is_made_shared_and_learnt_from_in_an_object_store(
    environment: dict[str, str], temporary: Path
) -> None:
    code, output = _run("--without-docker", environment=environment)
    assert code == 0, output
    assert re.findall(r"^ok (\w+): ", output, flags=re.MULTILINE) == STEPS
    assert output.endswith("smoke: all steps are right\n")
    assert _left(temporary) == []


def test_the_script_ends_with_the_first_step_that_fails(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "content-id").write_text(f"sha256:{'0' * 64}\n", encoding="utf-8")
    nobody = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo-only",
        "KDCACHE_REMOTE_TIMEOUT": "1",
        "DATA": str(tmp_path),
    }
    code, output = _run("step", "share", "train", environment=environment | nobody)
    assert code == 3, output
    assert "== train" not in output


def test_a_signal_leaves_neither_server_nor_files(environment: dict[str, str], temporary: Path) -> None:
    process = subprocess.Popen(
        [SCRIPT, "--without-docker"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "== bucket\n"
    assert len(_left(temporary)) >= 2
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert time.monotonic() - started < 30
    assert _left(temporary) == []


def test_a_step_that_there_is_not_is_refused(environment: dict[str, str]) -> None:
    code, output = _run("step", "trian", environment=environment)
    assert (code, "there is no step trian" in output) == (1, True)
