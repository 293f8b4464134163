"""Which encoding, and how many classes."""

from typing import Any

import pytest

from kdcache.errors import ConfigError
from kdcache.precompute.encodings import choose_encoding, choose_top_k


@pytest.mark.parametrize(
    ("num_classes", "top_k", "encoding", "chosen"),
    [
        (10, "auto", None, ("dense8", 10)),
        (256, "auto", None, ("dense8", 256)),
        (257, "auto", None, ("gap8", "auto")),
        (10, 3, None, ("gap8", 3)),
        (1000, 1000, None, ("dense8", 1000)),
        (1000, 50, None, ("gap8", 50)),
        (1000, 1000, "gap8", ("dense8", 1000)),
        (10, "auto", "gap8", ("gap8", "auto")),
        (1000, "auto", "float32", ("float32", 1000)),
        (1000, "auto", "hard", ("hard", 1)),
        (1000, 1, "hard", ("hard", 1)),
    ],
)
def test_the_encoding_follows_from_classes_and_wishes(
    num_classes: int, top_k: Any, encoding: Any, chosen: tuple[str, Any]
) -> None:
    assert choose_encoding(num_classes, top_k=top_k, encoding=encoding, where="teacher 'x'") == chosen


@pytest.mark.parametrize(
    ("top_k", "encoding", "message"),
    [
        (11, None, "--top-k is 11, but the teacher has 10 classes; use 10 at most"),
        (5, "dense8", "encoding dense8 keeps 10 of 10 classes, --top-k asks for 5"),
        (5, "float32", "leave --top-k out"),
        (2, "hard", "encoding hard keeps 1 of 10"),
    ],
)
def test_wishes_that_contradict_each_other_are_refused(top_k: Any, encoding: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_encoding(10, top_k=top_k, encoding=encoding, where="teacher 'x'")


@pytest.mark.parametrize(
    ("masses", "chosen"),
    [({8: 0.95, 16: 0.99}, 8), ({8: 0.5, 16: 0.90}, 16), ({8: 0.5, 128: 0.6}, 128), ({}, 6)],
)
def test_auto_takes_the_smallest_that_keeps_ninety_percent(masses: dict[int, float], chosen: int) -> None:
    assert choose_top_k(masses, 7) == chosen
