"""What ``kdcache launch slurm`` does with its script."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kdcache.precompute.slurm import SlurmArray, batch_script
from kdcache_cli.main import kdcache

CAT = shutil.which("cat")
WORDS = ("precompute", "a b.tar", "--cache", "c.zarr", "--views", "3")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stay in a folder whose ``bin`` is the whole PATH."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def _launch(*words: str) -> Result:
    return CliRunner().invoke(kdcache, ["launch", "slurm", *words])


def _sbatch(folder: Path, body: str) -> None:
    (folder / "bin").mkdir()
    (folder / "bin" / "sbatch").write_text(f"#!/bin/sh\n{body}\n")
    (folder / "bin" / "sbatch").chmod(0o755)


def test_the_script_is_printed() -> None:
    result = _launch("--", *WORDS)
    assert result.output == batch_script(SlurmArray(), WORDS)


def test_flags_become_settings() -> None:
    flags = (
        "--tasks 4 --gpus-per-task 0 --cpus-per-task 2 --time 1-0 --partition p --account a --qos q --mem 9G"
    )
    more = "--max-running 2 --max-restarts 3 --job-name n --logs l --setup s1 --setup s2 --sbatch --exclusive"
    array = SlurmArray(
        tasks=4,
        gpus_per_task=0,
        cpus_per_task=2,
        time="1-0",
        partition="p",
        account="a",
        qos="q",
        mem="9G",
        max_running=2,
        max_restarts=3,
        job_name="n",
        logs="l",
        setup=("s1", "s2"),
        sbatch=("--exclusive",),
    )
    assert _launch(*flags.split(), *more.split(), "--", *WORDS).output == batch_script(array, WORDS)


def test_the_two_dashes_may_be_left_out() -> None:
    assert _launch("--tasks", "2", *WORDS).output == _launch("--tasks", "2", "--", *WORDS).output


def test_a_file_gets_the_script_and_the_user_the_next_step(folder: Path) -> None:
    result = _launch("--out", "s.sh", "--", *WORDS)
    assert (folder / "s.sh").read_text() == batch_script(SlurmArray(), WORDS)
    assert result.output == "s.sh: submit it with: mkdir -p slurm-logs && sbatch s.sh\n"


def test_a_file_that_cannot_be_written_is_a_usage_error() -> None:
    result = _launch("--out", "nowhere/s.sh", "--", *WORDS)
    assert (result.exit_code, "cannot write nowhere/s.sh: No such file" in result.stderr) == (2, True)


def test_submitting_makes_the_folder_of_the_logs_and_hands_over_the_script(folder: Path) -> None:
    _sbatch(folder, f"{CAT} > got.sh; echo Submitted batch job 12")
    result = _launch("--submit", "--logs", "a/b", "--", *WORDS)
    assert (result.exit_code, result.output) == (0, "Submitted batch job 12\n")
    assert (folder / "got.sh").read_text() == batch_script(SlurmArray(logs="a/b"), WORDS)
    assert (folder / "a" / "b").is_dir()


def test_what_sbatch_refuses_is_a_usage_error(folder: Path) -> None:
    _sbatch(folder, "echo 'sbatch: error: invalid partition' >&2; exit 1")
    result = _launch("--submit", "--", *WORDS)
    assert result.exit_code == 2
    assert "sbatch refused the script: sbatch: error: invalid partition" in result.stderr


def test_without_sbatch_the_user_learns_where_to_go() -> None:
    result = _launch("--submit", "--", *WORDS)
    assert result.exit_code == 2
    assert "go to a login node of the cluster" in result.stderr


def test_a_setting_that_cannot_work_is_a_usage_error() -> None:
    result = _launch("--tasks", "0", "--", *WORDS)
    assert (result.exit_code, "tasks" in result.stderr) == (2, True)


def test_another_command_than_precompute_is_a_usage_error() -> None:
    result = _launch("--", "train", "--cache", "c")
    assert (result.exit_code, "expected precompute" in result.stderr) == (2, True)


def test_no_command_at_all_is_a_usage_error() -> None:
    assert _launch().exit_code == 2
