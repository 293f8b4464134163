from pathlib import Path

import pytest

from kdcache.errors import ConfigError, ManifestMismatchError
from kdcache.store.objects import open_objects
from kdcache.store.pin import split_pin
from kdcache.store.reader import open_cache
from kdcache.store.verify import verify
from tests.support.stores import make_store


def test_an_address_without_a_pin_stays_as_it_is(tmp_path: Path) -> None:
    assert split_pin(tmp_path / "c@home") == (str(tmp_path / "c@home"), None)


@pytest.mark.parametrize("digits", ["", "1f0c2ab", "1f0c2abz", "0" * 65])
def test_a_pin_has_to_be_the_beginning_of_a_content_id(digits: str) -> None:
    with pytest.raises(ConfigError, match="8 to 64 hexadecimal digits"):
        split_pin(f"s3://b/c@sha256:{digits}")
    with pytest.raises(ConfigError, match="does not pin a cache"):
        split_pin(f"@sha256:{digits}")


def test_a_cache_opens_under_its_own_content_id_and_no_other(tmp_path: Path) -> None:
    path = make_store(tmp_path / "c")
    content_id = open_cache(path).content_id()
    for pin in (content_id, content_id[:15], content_id.upper().replace("SHA256", "sha256")):
        assert open_cache(f"{path}@{pin}").url == str(path)
    assert verify(f"{path}@{content_id}").content_id == content_id
    other = f"sha256:{'0' * 64}"
    for check in (open_cache, verify):
        with pytest.raises(
            ManifestMismatchError, match=rf"at {path} .*content id is {content_id}, .* {other}"
        ):
            check(f"{path}@{other}")


def test_a_pinned_address_is_not_for_writing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is pinned .*; leave sha256:01234567 out"):
        open_objects(f"{tmp_path}@sha256:01234567")
