"""Which exit code and which words a user gets for each error."""

import pytest

import kdcache.errors
from kdcache.errors import ConfigError, KdcacheError, ShardError, ViewMismatchError
from kdcache_cli.errors import exit_code, report, sentence

EXPECTED = {
    "KdcacheError": 3,
    "ConfigError": 2,
    "ShardError": 3,
    "BadImageError": 3,
    "ImageTooLargeError": 3,
    "TeacherError": 3,
    "CheckpointError": 3,
    "StoreError": 3,
    "ManifestMismatchError": 4,
    "ViewMismatchError": 4,
    "MissingViewError": 3,
    "CorruptChunkError": 3,
    "InterruptedRunError": 5,
}


@pytest.mark.parametrize("name", kdcache.errors.__all__)
def test_every_error_has_its_exit_code(name: str) -> None:
    error: KdcacheError = getattr(kdcache.errors, name)("what happened")
    assert exit_code(error) == EXPECTED[name]


def test_codes_of_errors_are_unique() -> None:
    codes = [getattr(kdcache.errors, name).code for name in kdcache.errors.__all__]
    assert len(set(codes)) == len(codes)


def test_report_is_one_paragraph_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    report(ConfigError("no shards match a.tar; check the path"), debug=False)
    assert capsys.readouterr().err == "error KD100: no shards match a.tar; check the path\n"


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    report(ShardError("cut short"), debug=True)
    assert capsys.readouterr().err.startswith("kdcache.errors.ShardError: cut short")


def test_the_traceback_of_a_loader_worker_is_left_out() -> None:
    wrapped = (
        "Caught ViewMismatchError in DataLoader worker process 0.\n"
        "Original Traceback (most recent call last):\n"
        '  File "loop.py", line 1, in f\nkdcache.errors.ViewMismatchError: sample 7 differs\n'
    )
    assert sentence(ViewMismatchError(wrapped)) == "sample 7 differs"
