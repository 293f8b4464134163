"""The run's own record: log.jsonl, one JSON object a line, and summary.csv, one line an evaluation."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Journal", "Mirror", "replace_file"]


class Mirror(Protocol):
    """Another place that gets what the journal gets."""

    def write(self, kind: str, facts: dict[str, Any]) -> None:
        """Take over one line."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


class Journal:
    """Appends to ``log.jsonl``; a resumed run cuts it back to where its checkpoint was taken."""

    def __init__(self, folder: Path) -> None:
        self.mirrors: tuple[Mirror, ...] = ()
        self._log = folder / "log.jsonl"
        self._summary = folder / "summary.csv"

    @property
    def size(self) -> int:
        """Bytes written so far: what a checkpoint must hold."""
        return self._log.stat().st_size if self._log.exists() else 0

    def write(self, kind: str, **facts: Any) -> None:
        """Append one line."""
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **facts}) + "\n")
        for mirror in self.mirrors:
            mirror.write(kind, facts)

    def cut_back(self, size: int) -> None:
        """Drop what was written after a checkpoint: those steps are about to be taken again."""
        with self._log.open("ab") as file:
            file.truncate(size)

    def read(self, kind: str) -> list[dict[str, Any]]:
        """Return the lines of one kind."""
        if not self._log.exists():
            return []
        lines = map(json.loads, self._log.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line["kind"] == kind]

    def summarise(self) -> None:
        """Write ``summary.csv`` anew from all evaluations."""
        rows = self.read("eval")
        if rows:
            text = io.StringIO()
            writer = csv.DictWriter(
                text, fieldnames=[name for name in rows[-1] if name != "kind"], extrasaction="ignore"
            )
            writer.writeheader()
            writer.writerows(rows)
            replace_file(self._summary, text.getvalue().encode())


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, durably."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
