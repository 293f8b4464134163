"""The benchmark of bytes per view, over a handful of views."""

from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import storage
from tests.benchmarks.rows import Row
from tests.benchmarks.storage_coder import ids_bytes, planes_bytes
from tests.benchmarks.storage_found import GOALS
from tests.benchmarks.storage_outputs import Outputs


@pytest.fixture(scope="module")
def outputs() -> list[Outputs]:
    return storage.outputs_of(short=True, num_samples=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def found(outputs: list[Outputs], folder: Path) -> list[Row]:
    return storage.report(outputs, tables=folder / "tables.md")


def test_every_row_of_the_budget_is_there(found: list[Row]) -> None:
    with_budget = [row for row in found if row.goal is not None]
    assert len(with_budget) == 4 * len(GOALS)
    assert all(row.low == row.median == row.high > 0.0 for row in found)


def test_real_targets_stay_as_true_as_the_exact_cut(found: list[Row]) -> None:
    """Sizes need whole blocks to be judged; this does not."""
    assert [row.what for row in found if "KL" in row.what and row.verdict == "missed"] == []


def test_the_tables_name_every_format(found: list[Row], folder: Path) -> None:
    text = (folder / "tables.md").read_text(encoding="utf-8")
    assert all(f"| {form} |" in text for form in ("gap8", "exact", "TinyViT", "dense8", "float32", "hard"))


def test_the_plot_is_a_picture(outputs: list[Outputs], folder: Path) -> None:
    pytest.importorskip("matplotlib")
    from tests.benchmarks.storage_found import measure
    from tests.benchmarks.storage_plot import draw

    draw([measure(outputs[0], (5, 10))], folder / "plot.png")
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_an_ideal_coder_needs_ten_bits_for_one_of_1024_equal_classes() -> None:
    ids_1M = np.random.Generator(np.random.PCG64(0)).permutation(np.tile(np.arange(1024), 512))[None]
    assert ids_bytes(ids_1M, 1024) == pytest.approx(10 / 8, rel=1e-3)


def test_an_ideal_coder_needs_next_to_nothing_for_a_constant() -> None:
    assert planes_bytes(np.full((3, 1000), 7)) < 0.01
