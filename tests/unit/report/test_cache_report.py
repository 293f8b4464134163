"""The facts of a cache are summed up from its records."""

import json
from pathlib import Path
from typing import Any

import pytest

from kdcache.report.cache_report import CacheReport, Progress
from kdcache.store.manifest import Manifest
from kdcache.store.reader import open_cache
from kdcache.store.verify import verify
from kdcache.store.writer import CacheWriter
from tests.support.stores import features_entry, fill_block, make_manifest, make_store, make_teacher


def report_of(path: Path) -> CacheReport:
    return CacheReport.of(open_cache(path))


def test_a_complete_cache_is_summed_up(tmp_path: Path) -> None:
    report = report_of(make_store(tmp_path / "c"))
    assert report.complete
    assert (report.shards, report.samples, report.committed_samples) == (2, 17, 17)
    assert report.bad_samples == {"undecodable": 3}
    assert report.views == 14 * 4
    assert report.content_id == verify(tmp_path / "c").content_id
    assert report.view_units == Progress(6, 6)
    teacher = report.teachers["cnn"]
    assert (teacher.views, teacher.labelled) == (56, 28)
    assert teacher.kept_mass == {"1": 0.75, "2": 0.5}
    assert teacher.top1 is not None
    assert 0 <= teacher.top1 <= 1
    assert teacher.bytes_per_view == teacher.bytes / 56


def test_bytes_per_view_counts_every_object(tmp_path: Path) -> None:
    report = report_of(make_store(tmp_path / "c"))
    assert report.bytes == verify(tmp_path / "c").num_bytes
    assert report.bytes_per_view == report.bytes / 56


def test_an_empty_cache_has_no_figures_yet(tmp_path: Path) -> None:
    CacheWriter.create_or_resume(tmp_path / "c", make_manifest())
    report = report_of(tmp_path / "c")
    assert not report.complete
    assert (report.bytes, report.bytes_per_view, report.teachers["cnn"].top1) == (0, None, None)


def test_a_growing_cache_shows_how_far_it_is(tmp_path: Path) -> None:
    writer = CacheWriter.create_or_resume(tmp_path / "c", make_manifest())
    fill_block(writer, writer.layout.blocks[0], groups=[0])
    report = report_of(tmp_path / "c")
    assert (report.sample_units, report.teachers["cnn"].units) == (Progress(1, 3), Progress(1, 6))


def test_facts_are_json(tmp_path: Path) -> None:
    facts = report_of(make_store(tmp_path / "c")).to_json()
    assert json.loads(json.dumps(facts))["teachers"]["cnn"]["units"] == {"committed": 6, "total": 6}


def manifest_with(kept_mass: Any, **teacher: Any) -> Manifest:
    manifest = make_manifest(teachers={"cnn": make_teacher(**teacher)})
    about = manifest.about.model_copy(update={"teachers": {"cnn": {"kept_mass": kept_mass}}})
    return manifest.model_copy(update={"about": about})


@pytest.mark.parametrize(
    "kept_mass",
    [
        *(None, [], {"5": None}, {"9": {"1": 0.5}}, {"5": {"1": "much"}}),
        *({"5": {"warm": 0.5}}, {"5": {"1": 10**400}}, {"5": {"1": [1]}}),
    ],
)
def test_a_pilot_that_says_nothing_about_k_leaves_the_mass_unknown(tmp_path: Path, kept_mass: Any) -> None:
    CacheWriter.create_or_resume(tmp_path / "c", manifest_with(kept_mass))
    assert report_of(tmp_path / "c").teachers["cnn"].kept_mass == {}


def test_a_dense_teacher_keeps_all_mass(tmp_path: Path) -> None:
    CacheWriter.create_or_resume(tmp_path / "c", manifest_with({}, encoding="dense8"))
    assert set(report_of(tmp_path / "c").teachers["cnn"].kept_mass.values()) == {1.0}


def test_features_are_told_apart_from_teachers(tmp_path: Path) -> None:
    teachers = {"cnn": make_teacher(), "cnn.features": features_entry(make_teacher(), "cnn")}
    path = make_store(tmp_path / "c", make_manifest(teachers=teachers))
    report = report_of(path)
    assert report.complete
    assert (list(report.teachers), list(report.features)) == (["cnn"], ["cnn"])
    facts = report.features["cnn"]
    assert (facts.unit, facts.layer, facts.num_features) == ("cnn.features", "pre-logits", 6)
    assert (facts.views, facts.units) == (56, Progress(6, 6))
    assert facts.bytes_per_view == facts.bytes / 56
    assert report.bytes == verify(path).num_bytes
    assert report.bytes_per_view == report.bytes / 56
