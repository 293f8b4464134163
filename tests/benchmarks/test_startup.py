"""The benchmark of starts, on a tiny cache, in processes that have done their imports."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.benchmarks import startup
from tests.support.processes import run


def test_the_benchmark_of_starts_still_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"

    def forked(words: list[str], environment: Mapping[str, str]) -> str:
        if words[1] != "-c":
            return run([Path(words[0]).name, *words[1:]], environment=environment)[0]
        script.write_text(words[2])
        return run([str(script), *words[3:]], environment=environment)[0]

    monkeypatch.setattr(startup, "_run", forked)
    rows = startup.rows(samples=128, size=32, repeats=1)
    assert [row.goal for row in rows] == [startup.HELP_GOAL, None, None, None]
    assert all(row.median > 0.0 for row in rows)
