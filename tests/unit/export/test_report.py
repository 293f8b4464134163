"""The report says what was written, how it was checked, and how to load it."""

import json
from pathlib import Path

from kdcache.export.report import ExportReport


def test_people_and_programs_read_the_same(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "a").write_bytes(b"12345")
    report = ExportReport(
        to="hub-folder",
        files=(str(tmp_path / "hub"),),
        student="vit",
        weights_file="runs/a/model.safetensors",
        input="(B, 3, 24, 24) float32",
        max_difference=2.5e-7,
        views_checked=8,
        load="import timm",
    )
    assert "(5 bytes)" in report.to_text()
    assert "logits differ by at most 2.5e-07 over 8 views" in report.to_text()
    assert report.to_text().endswith("\n\nimport timm")
    assert json.loads(report.to_json())["max_difference"] == 2.5e-7
