"""A card is written whole, and never over what somebody else wrote."""

from pathlib import Path

import pytest

from kdcache.errors import StoreError
from kdcache.report.card_folder import write_card

FILES = {"README.md": b"page", "croissant.json": b"{}"}


def _files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_card_goes_into_a_new_folder(tmp_path: Path) -> None:
    assert write_card(tmp_path / "new", FILES, force=False) == tuple(FILES)
    assert _files(tmp_path / "new") == FILES
    assert write_card(tmp_path / "new", FILES, force=False) == ()


def test_another_page_stays_unless_it_is_forced(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"mine")
    with pytest.raises(StoreError, match=r"README.md is there already.*--force"):
        write_card(tmp_path, FILES, force=False)
    assert _files(tmp_path) == {"README.md": b"mine"}
    assert write_card(tmp_path, FILES, force=True) == tuple(FILES)
    assert _files(tmp_path) == FILES


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"mine")
    (tmp_path / "card").mkdir()
    (tmp_path / "card/README.md").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="is a link"):
        write_card(tmp_path / "card", FILES, force=True)
    assert (tmp_path / "outside").read_bytes() == b"mine"
