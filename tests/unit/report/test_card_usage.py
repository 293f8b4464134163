"""The commands of a card are words that a shell takes as they are meant."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from kdcache.report.card_facts import CardFacts
from kdcache.report.card_usage import card_usage
from kdcache.store.reader import open_cache
from tests.support.stores import make_manifest, make_store, make_teacher


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> CardFacts:
    manifest = make_manifest(teachers={"a": make_teacher(), "b": make_teacher()})
    path = make_store(tmp_path_factory.mktemp("usage") / "c.zarr", manifest)
    return CardFacts.of(open_cache(path), url=None)


def _lines(facts: CardFacts) -> list[list[str]]:
    block = card_usage(facts).partition("```bash\n")[2].partition("```")[0]
    return [shlex.split(line) for line in block.replace("\\\n", "").splitlines()]


def test_a_published_cache_is_fetched_first(facts: CardFacts) -> None:
    pull, verify, train = _lines(replace(facts, url="s3://bucket/x.zarr"))
    pinned = f"x.zarr@sha256:{facts.report.content_id[7:23]}"
    assert pull == ["kdcache", "pull", "s3://bucket/x.zarr", "x.zarr"]
    assert verify == ["kdcache", "verify", pinned]
    assert train[:7] == ["kdcache", "train", "train-{000..001}.tar", "--cache", pinned, "--teacher", "a"]
    assert train[-4:] == ["--epochs", "4", "--out", "run"]


def test_a_cache_at_no_address_is_used_where_it_is(facts: CardFacts) -> None:
    assert [line[1] for line in _lines(facts)] == ["verify", "train"]


@pytest.mark.parametrize("url", ["s3://b/$(touch x)", "s3://b/a b;c", "s3://b/`x`", "s3://b/'"])
def test_an_address_is_one_word(facts: CardFacts, url: str) -> None:
    assert _lines(replace(facts, url=url))[0] == ["kdcache", "pull", url, "cache.zarr"]


def test_python_reads_the_first_targets_that_are_there(facts: CardFacts) -> None:
    later = tuple(record for record in facts.records if record.unit.startswith(("samples", "b/1-1")))
    assert 'cache.targets("b", block=1, aug_seed=2)' in card_usage(replace(facts, records=later))


@pytest.mark.parametrize(
    ("version", "said"), [("0.1.0", "version 0.1.0 or later"), ("<b>", "kdcache installed")]
)
def test_a_version_is_named_if_it_is_one(facts: CardFacts, version: str, said: str) -> None:
    about = {**facts.report.about, "software": {"kdcache": version}}
    assert said in card_usage(replace(facts, report=replace(facts.report, about=about)))


def test_the_block_stands_without_a_path_of_this_machine(facts: CardFacts, tmp_path: Path) -> None:
    assert str(tmp_path.parent) not in card_usage(facts)
