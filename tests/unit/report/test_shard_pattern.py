"""Names of shards as one word, which means them and no more."""

import braceexpand
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcache.report.shard_pattern import shard_pattern


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["a-00.tar", "a-01.tar", "a-02.tar"], "a-{00..02}.tar"),
        (["r18-7.tar", "r18-8.tar"], "r18-{7..8}.tar"),
        (["a-0.tar", "a-2.tar"], "*.tar"),
        (["b.tar", "a.tar"], "*.tar"),
        (["a;rm -rf.tar"], None),
        (["-rf.tar"], None),
        (["{a,b}.tar"], None),
    ],
)
def test_names_become_a_pattern(names: list[str], pattern: str | None) -> None:
    assert shard_pattern(names) == pattern


@given(
    stem=st.from_regex(r"[a-z][a-z.-]{0,3}", fullmatch=True),
    first=st.integers(0, 99),
    count=st.integers(2, 5),
)
def test_a_numbered_pattern_means_the_names(stem: str, first: int, count: int) -> None:
    names = [f"{stem}{number:03d}.tar" for number in range(first, first + count)]
    assert list(braceexpand.braceexpand(shard_pattern(names) or "")) == names
