"""Croissant metadata is what mlcroissant accepts, and its digests are those of the files."""

import fnmatch
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlcroissant
import pytest

from kdcache.digest import sha256_hex
from kdcache.report import card_croissant
from kdcache.report.card_croissant import croissant
from kdcache.report.card_facts import CardFacts
from kdcache.store.reader import open_cache
from tests.support.stores import make_store

# mlcroissant's parser of JSON-LD uses a class of its own library that is on the way out.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("croissant") / "c.zarr")


@pytest.fixture
def facts(cache: Path) -> CardFacts:
    return CardFacts.of(open_cache(cache), url="s3://bucket/c.zarr")


def _described(facts: CardFacts, **about: str) -> CardFacts:
    return replace(facts, report=replace(facts.report, about={**facts.report.about, **about}))


def _parsed(facts: CardFacts) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(croissant(facts))
    return document


def _checked(facts: CardFacts) -> mlcroissant.Dataset:
    dataset = mlcroissant.Dataset(jsonld=_parsed(facts))
    assert not dataset.metadata.ctx.issues.errors
    return dataset


def test_mlcroissant_reads_teachers_and_shards(facts: CardFacts) -> None:
    dataset = _checked(_described(facts, licence="MIT", contact="ann"))
    (teacher,) = dataset.records("teachers")
    assert teacher["teachers/name"] == "cnn"
    assert teacher["teachers/top_k"] == 5
    assert [row["shards/num_samples"] for row in dataset.records("shards")] == [10, 7]


def test_every_file_has_its_size_and_digest(cache: Path, facts: CardFacts) -> None:
    files = [entry for entry in _parsed(facts)["distribution"] if entry["@type"] == "cr:FileObject"]
    for entry in files:
        data = (cache / entry["contentUrl"]).read_bytes()
        assert (entry["sha256"], entry["contentSize"]) == (sha256_hex(data), f"{len(data)} B")
    assert len(files) == 1 + sum(len(record.objects) for record in facts.records)


def test_of_a_large_cache_sets_of_files_are_listed(facts: CardFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_croissant, "_LISTED", 3)
    monkeypatch.setattr(card_croissant, "_SHARDS", 1)
    document = _parsed(facts)
    assert [entry["@id"] for entry in document["distribution"]][:2] == ["zarr.json", "commits/"]
    assert [entry["@id"] for entry in document["recordSet"]] == ["teachers"]
    _checked(facts)


def test_the_sets_cover_every_data_object(cache: Path, facts: CardFacts) -> None:
    patterns = [entry["includes"] for entry in _parsed(facts)["distribution"] if "includes" in entry]
    names = {entry.path for record in facts.records for entry in record.objects}
    # The specification leaves the meaning open; mlcroissant reads patterns so.
    assert names == {name for pattern in patterns for name in fnmatch.filter(names, pattern)}
    assert all((cache / name).is_file() for name in names)


def test_what_is_not_known_is_left_out(facts: CardFacts) -> None:
    document = _parsed(replace(_described(facts, created="then"), url=None))
    assert document.keys().isdisjoint({"license", "creator", "url", "datePublished"})
    assert _parsed(facts)["datePublished"] == "2026-01-01T00:00:00Z"


def test_a_licence_is_its_page_or_its_text(facts: CardFacts) -> None:
    assert _parsed(_described(facts, licence="MIT"))["license"] == "https://spdx.org/licenses/MIT.html"
    assert _parsed(_described(facts, licence="ask us"))["license"] == "ask us"


@pytest.mark.parametrize("text", ['"}], "@id": "x"', "http://e.vil", "\\u0000", "{}", "@id"])
def test_a_hostile_text_stays_a_value(facts: CardFacts, text: str) -> None:
    hostile = _described(facts, licence=text, contact=text, created=text)
    cnn = replace(facts.report.teachers["cnn"], architecture=text)
    shards = tuple(entry.model_copy(update={"name": text}) for entry in facts.identity.shards)
    hostile = replace(
        hostile,
        report=replace(hostile.report, teachers={"cnn": cnn}),
        identity=facts.identity.model_copy(update={"shards": shards}),
    )
    document = _parsed(hostile)
    assert document.keys() <= {*_parsed(facts), "license", "creator"}
    assert (document["license"], document["creator"]["name"]) == (text, text)
    (teacher,) = _checked(hostile).records("teachers")
    assert teacher["teachers/architecture"] == text
