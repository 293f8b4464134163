"""Pairs of a block: perfect matchings inside windows, the bad ones left out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kdcache.data.pairs import pair_cells, partners_of
from kdcache.store.tables import STATUS_OK, STATUS_UNDECODABLE, SampleTable


@st.composite
def tables(draw: st.DrawFn) -> SampleTable:
    is_bad = draw(st.lists(st.sampled_from([False, False, False, True]), min_size=1, max_size=150))
    return SampleTable(
        keys=tuple(f"k{number}" for number in range(len(is_bad))),
        labels=np.zeros(len(is_bad), dtype=np.int32),
        digests=np.zeros(len(is_bad), dtype=np.uint64),
        status=np.where(is_bad, STATUS_UNDECODABLE, STATUS_OK).astype(np.uint8),
    )


@given(table=tables(), aug_seed=st.integers(0, 20))
def test_good_samples_are_in_one_cell_each(table: SampleTable, aug_seed: int) -> None:
    cells = pair_cells(table, aug_seed)
    rows = [*cells.main.reshape(-1).tolist(), *cells.singles.tolist()]
    assert sorted(rows) == np.flatnonzero(table.ok_N).tolist()
    assert (cells.main[:, 0] < cells.main[:, 1]).all()


@given(table=tables(), aug_seed=st.integers(0, 20))
def test_partners_are_mutual_and_of_one_window(table: SampleTable, aug_seed: int) -> None:
    partners_N = partners_of(table, aug_seed)
    rows_N = np.arange(len(table))
    assert (partners_N[partners_N] == rows_N).all()
    assert (partners_N // 64 == rows_N // 64).all()
    assert (partners_N[~table.ok_N] == rows_N[~table.ok_N]).all()


@given(table=tables(), matching=st.integers(0, 5))
def test_four_seeds_share_a_matching(table: SampleTable, matching: int) -> None:
    matchings = {tuple(partners_of(table, 4 * matching + i)) for i in range(4)}
    assert len(matchings) == 1


@given(table=tables())
def test_a_longer_block_keeps_the_pairs_of_whole_windows(table: SampleTable) -> None:
    whole = len(table) // 64 * 64
    if whole:
        shorter = SampleTable(
            keys=table.keys[:whole],
            labels=table.labels[:whole],
            digests=table.digests[:whole],
            status=table.status[:whole],
        )
        assert (partners_of(table, 5)[:whole] == partners_of(shorter, 5)).all()
