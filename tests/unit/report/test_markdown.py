"""Whatever others wrote stays text: a Markdown parser finds no markup in it."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from kdcache.report.markdown import code, fenced, table, visible

TEXTS = st.text(st.sampled_from("ab`|\\<>&*_[]()!#-~$.:/@'\"\n\r\t {}%") | st.characters(), max_size=30)
HOSTILE = [
    "`", "``` \n# x", "a`b``c", "|", "\\|", "a\\", "\\`", "<script>alert(1)</script>", "<!-- ", "[x](http://e.vil)",
    "![x](http://e.vil)", "http://e.vil", "www.e.vil", "a@e.vil", "---\nlicense: mit\n---", "&lt;b&gt;", "",
]  # fmt: skip


def _tokens(markdown: str) -> list[Token]:
    return MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)


def _leaves(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from token.children or [token]


def _demand_code_only(tokens: list[Token], text: str) -> None:
    shown = [token for token in _leaves(tokens) if token.type != "paragraph_open" and token.content]
    assert {token.type for token in shown} <= {"code_inline", "text"}
    assert {token.content for token in shown if token.type == "text"} <= {"|", ""}
    assert "".join(token.content for token in shown).replace(" ", "") == visible(text).replace(" ", "")


@given(text=TEXTS)
def test_a_text_is_code_in_a_line(text: str) -> None:
    if visible(text):
        _demand_code_only(_tokens(code(text)), text.replace("|", "|"))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_code_in_a_cell(text: str) -> None:
    _demand_one_cell(text)


@given(text=TEXTS)
def test_a_text_is_code_in_a_cell(text: str) -> None:
    _demand_one_cell(text)


def _demand_one_cell(text: str) -> None:
    tokens = _tokens(table(("a", "b"), [(code(text), "c")]))
    cells = [inner for outer, inner in itertools.pairwise(tokens) if outer.type == "td_open"]
    assert [cell.content for cell in cells[1:]] == ["c"]
    assert {token.type for token in cells[0].children or []} <= {"code_inline", "text"}


@given(text=TEXTS)
def test_a_block_of_code_ends_at_its_own_fence(text: str) -> None:
    lines = visible(text)
    (fence, heading, inline, *_) = _tokens(fenced(f"x\n{lines}", "bash") + "# after\n")
    assert (fence.type, fence.info, heading.type, inline.content) == (
        "fence",
        "bash",
        "heading_open",
        "after",
    )
    assert fence.content.rstrip() == f"x\n{lines}".rstrip()


@given(text=TEXTS)
def test_a_visible_text_is_one_printable_line(text: str) -> None:
    assert visible(text).isprintable()
