"""The text says what the facts say, in aligned paragraphs."""

from dataclasses import replace
from pathlib import Path

import pytest

from kdcache.report.cache_report import CacheReport
from kdcache.report.cache_text import to_text
from kdcache.store.reader import open_cache
from kdcache.store.writer import CacheWriter
from tests.support.stores import features_entry, make_manifest, make_store, make_teacher


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> CacheReport:
    return CacheReport.of(open_cache(make_store(tmp_path_factory.mktemp("store") / "c")))


@pytest.mark.parametrize(
    "line",
    [
        "  state         complete",
        "  software      kdcache 0.1.0",
        "  samples       17 in 20 classes",
        "  bad samples   3 undecodable",
        "  committed     3 of 3 blocks of up to 8 samples",
        "  per sample    4, in groups of 2",
        "  targets       gap8, 5 of 20 classes",
        "  kept mass     75.0% at T=1, 50.0% at T=2",
        "  architecture  testnet, 32 x 32 pixels, float32",
        "  committed     56 views in 6 of 6 units",
    ],
)
def test_the_text_has_the_line(report: CacheReport, line: str) -> None:
    assert line in to_text(report).splitlines()


def test_an_empty_cache_has_a_text_too(tmp_path: Path) -> None:
    CacheWriter.create_or_resume(tmp_path / "c", make_manifest())
    text = to_text(CacheReport.of(open_cache(tmp_path / "c")))
    assert "incomplete: run the same precompute command again" in text
    assert "unknown (no labels)" in text
    assert "none yet" in text


def test_what_goes_beyond_the_usual_is_said(report: CacheReport) -> None:
    about = {**report.about, "licence": "CC0", "contact": "me@example.org"}
    teachers = {"cnn": replace(report.teachers["cnn"], saturated=3)}
    text = to_text(replace(report, about=about, teachers=teachers))
    assert "  licence       CC0" in text
    assert "  saturated     3 of 56 views have a gap above 254/16 nat" in text


def test_a_manifest_cannot_steer_the_terminal(report: CacheReport) -> None:
    about = {**report.about, "licence": "\x1b[2Jgone\nfake line"}
    assert "  licence       ?[2Jgone?fake line" in to_text(replace(report, about=about))


def test_features_have_a_paragraph(tmp_path: Path) -> None:
    teachers = {"cnn": make_teacher(), "cnn.features": features_entry(make_teacher(), "cnn", 1536)}
    text = to_text(CacheReport.of(open_cache(make_store(tmp_path / "c", make_manifest(teachers=teachers)))))
    assert "Features of cnn\n  numbers       1,536 a view, in float16 (pre-logits)\n" in text
    assert "Teacher cnn.features" not in text
