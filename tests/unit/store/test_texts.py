"""Texts that steer a terminal are told from those that do not."""

import pytest

from kdcache.store.texts import steers_terminal


@pytest.mark.parametrize("text", ["", "a b\tc\n", "né/1 漢字 👩‍🔬", "\u00a0"])
def test_text_of_any_language_is_fine(text: str) -> None:
    assert not steers_terminal(text)


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "\x00", "\x9b2J", "gpj.\u202eexe", "\u2066a"])
def test_what_steers_is_found(text: str) -> None:
    assert steers_terminal(text)
