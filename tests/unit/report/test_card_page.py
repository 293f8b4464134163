"""The page says what a cache is; nothing that others wrote becomes markup of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from kdcache.report.card_facts import CardFacts
from kdcache.report.card_page import card_page
from kdcache.store.manifest import About, Manifest
from kdcache.store.reader import open_cache
from kdcache.store.writer import CacheWriter
from tests.support.stores import features_entry, make_manifest, make_store, make_teacher

HOSTILE = (
    "x`y``z", "|\n|---|", "<script>alert(1)</script>", "![a](http://e.vil/a.png)", "[a](javascript:b)", "\\",
    "\n---\nlicense: mit\n---\n# Owned", "http://e.vil www.e.vil a@e.vil", "```\nrm -rf ~\n```", "<!--", "*_~$",
)  # fmt: skip


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> CardFacts:
    cnn = make_teacher()
    manifest = make_manifest(teachers={"cnn": cnn, "cnn.features": features_entry(cnn, "cnn")})
    about = About.model_validate(
        manifest.about.model_dump()
        | {
            "licence": "MIT",
            "contact": "ann",
            "merged_from": ["sha256:ab"],
            "parent": {"content_id": "sha256:cd", "selection": {"seeds": "0-1"}},
        }
    )
    path = make_store(
        tmp_path_factory.mktemp("page") / "c.zarr", Manifest(identity=manifest.identity, about=about)
    )
    return CardFacts.of(open_cache(path), url="s3://bucket/c.zarr")


def _replaced(facts: CardFacts, text: str) -> CardFacts:
    """Put a text wherever a manifest or a record has one that its maker chooses."""
    report, identity = facts.report, facts.identity
    cnn = replace(report.teachers["cnn"], architecture=text, source=text)
    about = {
        **report.about,
        **dict.fromkeys(("licence", "contact", "created"), text),
        "software": {text: text},
        "merged_from": [text],
        "parent": {"content_id": text, "selection": {text: text}},
    }
    inputs = identity.teachers["cnn"].preprocessing
    assert inputs is not None
    entry = identity.teachers["cnn"].model_copy(
        update={"preprocessing": inputs.model_copy(update={"interpolation": text})}
    )
    shards = tuple(shard.model_copy(update={"name": text}) for shard in identity.shards)
    return replace(
        facts,
        report=replace(report, teachers={"cnn": cnn}, about=about, bad_samples={text: 3}),
        identity=identity.model_copy(
            update={"teachers": {**identity.teachers, "cnn": entry}, "shards": shards}
        ),
    )


def _shape(page: str) -> list[str]:
    """Return the kinds of all parts of the page, without those that a text may be cut into."""
    body = page.partition("\n---\n")[2]
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
    return list(_kinds(tokens))


def _kinds(tokens: list[Any]) -> Iterator[str]:
    for token in tokens:
        yield f"{token.type} {token.tag}"
        inner = {child.type for child in token.children or []} - {"text", "code_inline"}
        yield from sorted(inner)


def _commands(page: str) -> str:
    return page.partition("```bash\n")[2].partition("```")[0]


def test_the_page_says_what_the_cache_is(facts: CardFacts) -> None:
    page = card_page(facts)
    report = facts.report
    for part in (
        f"| content id | `{report.content_id}` |",
        "| licence | `MIT` |",
        "| contact | `ann` |",
        "| parent | `sha256:cd`, of it `seeds 0-1` |",
        "| merged from | `sha256:ab` |",
        "17 in 2 shards, 20 classes",
        "3 `undecodable`",
        f"| `{report.teachers['cnn'].weights_sha256}` | gap8, K = 5 of 20 | 75.0% at T=1, 50.0% at T=2 |",
        "mean 0.5 0.5 0.5, std 0.25 0.25 0.25",
        f"{report.teachers['cnn'].top1:.2%} of 28",
        f"{facts.top_five['cnn'].share:.2%} of 7",
        "| `cnn` | `pre-logits` | 6 | 56 | 6 of 6 |",
        '"preset": "rrc"',
    ):
        assert part in page


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_changes_no_part_of_the_page(facts: CardFacts, text: str) -> None:
    page = card_page(_replaced(facts, text))
    assert _shape(page) == _shape(card_page(facts))
    assert "'*.tar'" in _commands(page)


@given(text=st.text(st.sampled_from("ab`|\\<>&*_[]()!#-~\n'\";$") | st.characters(), min_size=1, max_size=20))
def test_no_text_changes_a_part_of_the_page(facts: CardFacts, text: str) -> None:
    page = card_page(_replaced(facts, text))
    assert _shape(page) == _shape(card_page(facts))


def test_an_empty_cache_without_teachers_has_a_page(tmp_path: Path) -> None:
    CacheWriter.create_or_resume(tmp_path / "c.zarr", make_manifest(teachers={}))
    page = card_page(CardFacts.of(open_cache(tmp_path / "c.zarr"), url=None))
    assert "not all units are committed" in page
    assert "kdcache verify c.zarr@sha256:" in page
    assert "kdcache train" not in page
    assert "```python" not in page


def test_an_ensemble_has_its_members_inputs(tmp_path: Path) -> None:
    teacher = make_teacher().model_copy(update={"preprocessing": None, "ensemble": {"combine": "mean-prob"}})
    CacheWriter.create_or_resume(tmp_path / "c.zarr", make_manifest(teachers={"both": teacher}))
    assert "its members'" in card_page(CardFacts.of(open_cache(tmp_path / "c.zarr"), url=None))
