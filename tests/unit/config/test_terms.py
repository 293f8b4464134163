"""Licence and contact are one printable line each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcache.config.terms import Terms
from kdcache.errors import ConfigError


def test_words_are_kept_and_lines_become_one() -> None:
    terms = Terms.parse({"licence": " CC-BY-4.0 ", "contact": "Ann\n  <ann@example.org>"}, where="test")
    assert (terms.licence, terms.contact) == ("CC-BY-4.0", "Ann <ann@example.org>")


def test_neither_has_to_be_given() -> None:
    assert Terms.parse({}, where="test") == Terms(licence=None, contact=None)


@pytest.mark.parametrize("text", ["", "  ", "\x1b[2J", "a\u202eb", "x" * 1001])
def test_what_is_no_line_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="licence"):
        Terms.parse({"licence": text}, where="test")


@given(text=st.text())
def test_what_is_taken_can_be_printed_anywhere(text: str) -> None:
    try:
        line = Terms.parse({"contact": text}, where="test").contact
    except ConfigError:
        return
    assert line
    assert line.isprintable()
