"""Pairs of a block: perfect matchings inside windows, the bad ones left out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcache.config.views import ViewPolicy
from kdcache.data.pairs import mix_rows, pair_cells, partners_of
from kdcache.store.tables import STATUS_OK, STATUS_UNDECODABLE, SampleTable
from kdcache.views.mix import ONE, mix_params, mix_views

POLICY = ViewPolicy.named("rrc", size=8, mixing={})


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


def table_of(num_rows: int, *, bad: tuple[int, ...] = (), first: int = 0) -> SampleTable:
    status = np.full(num_rows, STATUS_OK, dtype=np.uint8)
    status[list(bad)] = STATUS_UNDECODABLE
    return SampleTable(
        keys=tuple(f"k{first + row}" for row in range(num_rows)),
        labels=np.arange(first, first + num_rows, dtype=np.int32),
        digests=np.zeros(num_rows, dtype=np.uint64),
        status=status,
    )


@pytest.mark.parametrize(("num_rows", "alone"), [(1, 1), (2, 0), (64, 0), (65, 1), (127, 1), (128, 0)])
def test_an_odd_row_is_alone_and_nobody_else(num_rows: int, alone: int) -> None:
    assert len(pair_cells(table_of(num_rows), 0).singles) == alone


def test_the_partner_of_a_bad_row_is_alone_and_no_other_pair_changes() -> None:
    whole = partners_of(table_of(64), 0)
    partner = int(whole[3])
    holed = partners_of(table_of(64, bad=(3,)), 0)
    assert pair_cells(table_of(64, bad=(3,)), 0).singles.tolist() == [partner]
    assert np.flatnonzero(whole != holed).tolist() == sorted([3, partner])


def test_a_window_is_matched_alike_wherever_its_block_begins() -> None:
    later = partners_of(table_of(128), 0)[64:] - 64
    np.testing.assert_array_equal(later, partners_of(table_of(64, first=64), 0))


def test_the_fifth_seed_has_another_matching() -> None:
    assert partners_of(table_of(64), 3).tolist() != partners_of(table_of(64), 4).tolist()


def test_rows_are_mixed_in_place_both_from_the_unmixed_views() -> None:
    table = table_of(7, bad=(2,))
    views = np.random.default_rng(0).integers(0, 256, (7, 3, 8, 8), dtype=np.uint8)
    before = views.copy()
    labels_N = mix_rows(views, table, 5, POLICY)
    for row, partner in enumerate(partners_of(table, 5).tolist()):
        params = mix_params(table.keys[min(row, partner)], 5, POLICY)
        mixed = before[row] if partner == row else mix_views(before[row], before[partner], params)
        np.testing.assert_array_equal(views[row], mixed)
        assert labels_N[row] == table.labels[partner if params.lam_q < ONE // 2 else row]
    assert table.labels.tolist() == list(range(7))
