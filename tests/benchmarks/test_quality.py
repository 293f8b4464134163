import gzip
import io
import json
import struct
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kdcache.demo.recipe import TEST
from tests.benchmarks import quality
from tests.benchmarks.quality_report import MethodResult, QualityReport, SettingResult
from tests.benchmarks.quality_runs import Commands
from tests.benchmarks.quality_ways import WAYS, Benchmark, Scale


def _idx_files(folder: Path) -> Path:
    """Write the demo's test pictures, 200 of them for both splits, as the four files of Fashion-MNIST."""
    with tarfile.open(TEST) as tar:
        content = {member.name: tar.extractfile(member).read() for member in tar.getmembers()[:400]}  # type: ignore[union-attr]
    pictures = [np.asarray(Image.open(io.BytesIO(data))) for name, data in content.items() if "png" in name]
    labels = bytes(int(data) for name, data in content.items() if "cls" in name)
    images_NHW = np.stack(pictures)
    files = (
        ("images-idx3", struct.pack(">4I", 0x803, *images_NHW.shape) + images_NHW.tobytes()),
        ("labels-idx1", struct.pack(">2I", 0x801, len(labels)) + labels),
    )
    folder.mkdir()
    for split in ("train", "t10k"):
        for kind, data in files:
            (folder / f"{split}-{kind}-ubyte.gz").write_bytes(gzip.compress(data))
    return folder


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the whole benchmark on 160 pictures, two steps a run, in this process."""
    folder = tmp_path_factory.mktemp("quality")
    small = "--labels 80 --images 160 --test-images 40 --views 2 --seeds 1 --samples 128 --teacher-epochs 2"
    where = ["--data", str(_idx_files(folder / "idx")), "--out", str(folder / "out")]
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCACHE_HOME", str(folder / "home"))
        patch.setattr(sys, "stdout", out)
        patch.setattr(
            sys,
            "argv",
            ["quality", *small.split(), "--workers", "0", "--side-by-side", "0", "--json", *where],
        )
        quality.main()
    facts: dict[str, Any] = json.loads(out.getvalue())
    return facts


def test_every_way_is_trained(facts: dict[str, Any]) -> None:
    (few,) = facts["settings"]
    assert (few["labels"], few["images"]) == (80, 160)
    assert set(few["methods"]) == set(WAYS)
    assert all(method["seeds"] == [0] for method in few["methods"].values())


def test_no_run_seed_is_used_under_two_label_counts() -> None:
    assert Scale().seeds_for(1_000) == (0, 1, 2)
    assert Scale().seeds_for(10_000) == (3,)


def test_the_convolutional_teacher_knows_the_pictures(facts: dict[str, Any]) -> None:
    assert facts["teachers"]["convolution"] > 75.0
    assert set(facts["teachers"]) == {"convolution", "involution", "ensemble"}


def test_every_command_has_its_cost(facts: dict[str, Any]) -> None:
    runs = [method for part in facts["settings"] for method in part["methods"].values()]
    assert all(run["wall_seconds"][0] > 0 and run["cpu_seconds"][0] > 0 for run in runs)
    assert set(facts["stages_one"]) == {"test", "labels-80", "labels-80-students"}


def test_the_few_label_gain_is_the_softs_mean_over_the_labels_only(facts: dict[str, Any]) -> None:
    methods = facts["settings"][0]["methods"]
    assert facts["few_label_gain"] == methods["soft"]["mean"] - methods["labels only"]["mean"]


def test_a_missing_data_set_is_answered_with_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["quality", "--data", str(tmp_path)])
    with pytest.raises(SystemExit):
        quality.main()
    assert "apt-get install dataset-fashion-mnist" in capsys.readouterr().err


def test_a_folder_begun_with_other_pictures_is_refused(tmp_path: Path) -> None:
    data = _idx_files(tmp_path / "idx")
    commands = Commands(tmp_path, side_by_side=0, say=lambda _: None)
    for images in (20, 20):
        scale = Scale(labels=(10,), images=images, test_images=10)
        Benchmark(scale, data=data, out=tmp_path / "out", commands=commands).pack()
    scale = Scale(labels=(10,), images=30, test_images=10)
    with pytest.raises(SystemExit, match="was begun with"):
        Benchmark(scale, data=data, out=tmp_path / "out", commands=commands).pack()


def _report(labels_only: tuple[float, ...], soft: tuple[float, ...]) -> QualityReport:
    def runs(top1: tuple[float, ...]) -> MethodResult:
        return MethodResult(tuple(range(len(top1))), top1, (60.0,) * len(top1), (30.0,) * len(top1))

    methods = {"labels only": runs(labels_only), "soft": runs(soft)}
    return QualityReport(
        steps=2,
        batch_size=64,
        views=10,
        test_images=10,
        teachers={"convolution": 92.88},
        teacher_training_cpu_seconds=0.0,
        stages_one={"test": (2.0, 1.0)},
        settings=(SettingResult(10, 100, methods),),
    )


def test_the_table_shows_mean_spread_and_gain() -> None:
    text = _report((70.0, 72.0), (75.0, 76.0)).to_text()
    assert "75.50   75.00..76.00   +4.50" in text
    assert "+4.50 points, goal 2.5: reached" in text


def test_a_gain_below_the_goal_is_said_to_be_missed() -> None:
    report = _report((70.0, 72.0), (72.0, 73.0))
    assert "goal 2.5: MISSED" in report.to_text()
    assert report.to_json()["reached"] is False


def test_shards_end_where_every_label_count_ends() -> None:
    assert Scale().shard == 1000
    assert Scale(labels=(200, 10_000)).shard == 200
