"""JSON lines."""

import json
import logging
from pathlib import Path

from kdcache.runtime.log import JsonLines, json_log


def test_facts_come_back_as_written(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "new" / "log.jsonl")
    lines.write(step=1, loss=0.5, where=Path("a"))
    lines.write(step=2, loss=float("nan"))
    lines.close()
    read = [json.loads(line) for line in (tmp_path / "new" / "log.jsonl").read_text().splitlines()]
    assert read == [{"step": 1, "loss": 0.5, "where": "a"}, {"step": 2, "loss": None}]


def test_a_second_log_appends(tmp_path: Path) -> None:
    for step in (1, 2):
        lines = JsonLines(tmp_path / "log.jsonl")
        lines.write(step=step)
        lines.close()
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_log_records_carry_their_extra_facts(tmp_path: Path) -> None:
    log = logging.getLogger("kdcache.test")
    with json_log(tmp_path / "log.jsonl"):
        log.info("unit committed", extra={"unit": "samples/3"})
    log.info("after the block")
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["event"] == "unit committed"
    assert record["unit"] == "samples/3"
    assert record["logger"] == "kdcache.test"
    assert set(record) == {"time", "level", "logger", "event", "unit"}


def test_private_marks_of_other_libraries_stay_out(tmp_path: Path) -> None:
    with json_log(tmp_path / "log.jsonl"):
        logging.getLogger("kdcache.test").info("hello", extra={"unit": 3, "_private": 1})
    assert set(json.loads((tmp_path / "log.jsonl").read_text())) == {
        "time",
        "level",
        "logger",
        "event",
        "unit",
    }


def test_the_level_is_given_back(tmp_path: Path) -> None:
    logger = logging.getLogger("kdcache")
    before = logger.level
    with json_log(tmp_path / "log.jsonl"):
        assert logger.isEnabledFor(logging.INFO)
    assert logger.level == before
