"""The error tree is what workers, handlers and the command line build upon."""

import pickle

import pytest

from kdcache import errors
from kdcache.errors import KdcacheError, StoreError

ALL = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("error", ALL)
def test_every_error_is_a_kdcache_error(error: type[KdcacheError]) -> None:
    assert issubclass(error, KdcacheError)


def test_every_error_has_a_code_of_its_own() -> None:
    assert len({error.code for error in ALL}) == len(ALL)


@pytest.mark.parametrize("error", ALL)
def test_an_error_takes_one_string_and_survives_a_worker(error: type[KdcacheError]) -> None:
    copy = pickle.loads(pickle.dumps(error("what, where, way out")))  # noqa: S301
    assert type(copy) is error
    assert str(copy) == "what, where, way out"


@pytest.mark.parametrize(
    "name", ["ManifestMismatchError", "ViewMismatchError", "MissingViewError", "CorruptChunkError"]
)
def test_what_is_wrong_with_a_cache_is_a_store_error(name: str) -> None:
    assert issubclass(getattr(errors, name), StoreError)
