"""Which files go beside a copy, and what of it is worth a warning."""

from pathlib import Path

import pytest

from kdcache.config.terms import Terms
from kdcache.errors import StoreError
from kdcache.share import card
from kdcache.share.card import card_of, warnings_of
from kdcache.share.source import Source, read_source
from kdcache.store.create import set_terms
from kdcache.store.objects import LocalObjects
from tests.support.stores import make_store


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return make_store(tmp_path / "c.zarr")


def _source(cache: Path) -> Source:
    return read_source(LocalObjects(cache), jobs=1)


def test_the_sources_own_card_goes_before_a_made_one(cache: Path) -> None:
    (cache / "README.md").write_bytes(b"mine")
    files = card_of(_source(cache), {"README.md": b"made", "croissant.json": b"made", ".gitattributes": b"x"})
    assert files == {"README.md": b"mine", "croissant.json": b"made", ".gitattributes": b"x"}
    assert card_of(_source(cache), {}) == {"README.md": b"mine"}


def test_a_card_of_gigabytes_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "README.md").write_bytes(b"too long")
    monkeypatch.setattr(card, "_LIMIT", 7)
    with pytest.raises(StoreError, match=r"README.md in .* has 8 bytes"):
        card_of(_source(cache), {})


def test_empty_terms_are_named_with_what_sets_them(cache: Path) -> None:
    (warning,) = warnings_of(_source(cache), {})
    assert "no licence and no contact" in warning
    assert f"kdcache extend --cache {cache} --licence ... --contact ..." in warning
    set_terms(LocalObjects(cache), Terms(licence="MIT"))
    (warning,) = warnings_of(_source(cache), {})
    assert "no contact, so nobody knows whom to ask" in warning
    assert "--licence" not in warning
    set_terms(LocalObjects(cache), Terms(contact="a@b.org"))
    assert warnings_of(_source(cache), {}) == ()


def test_a_card_of_another_state_is_named(cache: Path) -> None:
    set_terms(LocalObjects(cache), Terms(licence="MIT", contact="a@b.org"))
    source = _source(cache)
    now = source.content_id.encode()
    assert warnings_of(source, {"README.md": now, "croissant.json": now, ".gitattributes": b""}) == ()
    (warning,) = warnings_of(source, {"README.md": b"old", "croissant.json": now})
    assert warning.startswith(f"README.md does not name the content id {source.content_id}")
