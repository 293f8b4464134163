"""Facts, one JSON object a line: what a run did, for programs to read."""

import contextlib
import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

__all__ = ["JsonLines", "JsonLinesHandler", "json_log"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines:
    """An append-only file of JSON objects; every line is on disk's way before ``write`` returns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def write(self, **facts: Any) -> None:
        """Append one object; NaN and infinities become null, which JSON has no words for."""
        clean = {name: _finite(value) for name, value in facts.items()}
        self._file.write(json.dumps(clean, ensure_ascii=False, default=str) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonLinesHandler(logging.Handler):
    """Writes log records as JSON lines: time, level, logger, event, and everything given as ``extra``.

    Names that begin with an underscore are other libraries' private marks (Ray stamps every record) and stay out.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._lines = JsonLines(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Append one record."""
        facts = {
            name: value for name, value in vars(record).items() if name not in _STANDARD and name[0] != "_"
        }
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        self._lines.write(
            time=f"{stamp}.{int(record.msecs):03d}Z",
            level=record.levelname.lower(),
            logger=record.name,
            event=record.getMessage(),
            **facts,
        )

    def close(self) -> None:
        """Close the file."""
        self._lines.close()
        super().close()


@contextlib.contextmanager
def json_log(path: Path, level: int = logging.INFO) -> Iterator[None]:
    """Append what kdcache's loggers say to the file ``path`` for the length of a ``with`` block."""
    logger = logging.getLogger("kdcache")
    handler, before = JsonLinesHandler(path), logger.level
    logger.addHandler(handler)
    logger.setLevel(min(level, before) if before else level)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
        handler.close()


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
