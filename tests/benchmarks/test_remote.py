import json
import sys

import pytest

from tests.benchmarks import remote


def test_the_benchmark_of_object_stores_still_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--repeats", "2", "--workers", "1", "--shards", "2", "--samples", "8", "--size", "32"]
    monkeypatch.setattr(sys, "argv", ["remote", *few, "--batch-size", "4", "--latency", "0.001", "--json"])
    remote.main()
    found = json.loads(capsys.readouterr().out)
    assert found["ratio"] > 0.0
    assert found["blocks"] == 2
    # targets and digests of each block; the last pass reads ahead, too
    later = found["requests_per_pass"][1:]
    assert sum(later) <= 2 * found["blocks"] * (len(later) + 1)
