"""Weights are written as timm loads them, described beside or inside the file."""

import json
import stat
from pathlib import Path

import torch
from safetensors import safe_open

from kdcache.export.subject import Subject
from kdcache.export.weights import as_timm_loads_it, write_described, write_with_metadata


def test_a_description_stands_beside_the_weights(subject: Subject, tmp_path: Path) -> None:
    write_described(subject, tmp_path / "a.safetensors")
    config = json.loads((tmp_path / "a.json").read_text())
    assert config == json.loads(json.dumps(subject.timm_config()))


def test_the_header_says_where_the_weights_come_from(subject: Subject, tmp_path: Path) -> None:
    write_with_metadata(subject, tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        facts = file.metadata()
    assert facts["cache_id"] == subject.run.report["cache_id"]
    assert json.loads(facts["config"])["num_classes"] == 10


def test_others_may_read_what_they_may_read_of_any_new_file(subject: Subject, tmp_path: Path) -> None:
    write_with_metadata(subject, tmp_path / "a.safetensors")
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.safetensors", "plain")}
    assert len(modes) == 1


def test_timm_builds_the_same_model(subject: Subject, tmp_path: Path) -> None:
    write_with_metadata(subject, tmp_path / "a.safetensors")
    views_B3HW = subject.views(4)
    with torch.inference_mode():
        found_BC = as_timm_loads_it(subject, tmp_path / "a.safetensors")(views_B3HW)
        torch.testing.assert_close(
            found_BC, subject.student.model(subject.preprocess(views_B3HW)), rtol=0, atol=0
        )
