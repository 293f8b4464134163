import json
import sys

import pytest

from tests.benchmarks import views


def test_the_benchmark_of_views_still_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["views", "--repeats", "2", "--images", "1", "--json"])
    views.main()
    results = json.loads(capsys.readouterr().out)
    assert set(results) == set(views.GOALS)
    assert all(found["ratio"] > 0.0 for found in results.values())


def test_the_benchmarks_pictures_weigh_what_imagenets_do() -> None:
    assert 90_000 < len(views.photographs(1)[0]) < 130_000
