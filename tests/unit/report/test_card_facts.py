"""What a card is made of."""

import json
from pathlib import Path

import pytest

from kdcache.report.card_facts import CardFacts
from kdcache.store.manifest import Manifest
from kdcache.store.reader import open_cache
from kdcache.store.writer import CacheWriter
from tests.support.stores import make_manifest, make_store, make_teacher


def _facts(path: Path, manifest: Manifest | None = None, *, url: str | None = None) -> CardFacts:
    CacheWriter.create_or_resume(path, manifest or make_manifest())
    return CardFacts.of(open_cache(path), url=url)


def test_the_facts_are_those_of_info_and_the_manifest_itself(tmp_path: Path) -> None:
    path = make_store(tmp_path / "c.zarr")
    facts = CardFacts.of(open_cache(path), url=None)
    assert facts.report.content_id == open_cache(path).content_id()
    assert facts.root == (path / "zarr.json").read_bytes()
    assert list(facts.top_five) == ["cnn"]
    assert json.loads(facts.root)


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        (None, "c.zarr"),
        ("s3://bucket/teams/digits.zarr/", "digits.zarr"),
        ("hf://datasets/ann/digits", "digits"),
        ("s3://bucket/a%20b", "cache.zarr"),
        ("s3://bucket/$(rm)", "cache.zarr"),
        ("s3://bucket/-rf", "cache.zarr"),
        ("s3://bucket/..", "cache.zarr"),
    ],
)
def test_a_copy_has_a_plain_name(tmp_path: Path, url: str | None, folder: str) -> None:
    assert _facts(tmp_path / "c.zarr", url=url).folder == folder


def test_secrets_of_an_address_are_left_out(tmp_path: Path) -> None:
    facts = _facts(tmp_path / "c.zarr", url="https://ann:pw@host/c.zarr?token=1")
    assert facts.url == "https://host/c.zarr"


def test_the_title_names_a_few_teachers(tmp_path: Path) -> None:
    manifest = make_manifest(teachers=dict.fromkeys("abcde", make_teacher()))
    assert _facts(tmp_path / "c", manifest).title() == "Cached logits of a, b, c and 2 more"
    assert _facts(tmp_path / "d", make_manifest(teachers={})).title() == "Cached logits"


def test_a_free_text_is_one_visible_line(tmp_path: Path) -> None:
    about = make_manifest().about.model_copy(update={"licence": "a\n\tb", "contact": "\n"})
    facts = _facts(tmp_path / "c", make_manifest().model_copy(update={"about": about}))
    assert (facts.about("licence"), facts.about("contact"), facts.about("nothing")) == ("a b", None, None)
