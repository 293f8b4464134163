"""Which work is left, and how it is cut."""

from hypothesis import given
from hypothesis import strategies as st

from kdcache.precompute.plan import Item, ItemShape, Task, plan, probe_items, spread
from kdcache.store.layout import Block

BLOCKS = (Block(0, 0, 0, 8), Block(1, 0, 8, 2), Block(2, 1, 0, 7))


def test_everything_is_pending_at_first() -> None:
    work = plan(BLOCKS, 2, ["cnn"], set())
    assert work.pending == tuple(Task(block, group, ("cnn",)) for block in BLOCKS for group in (0, 1))
    assert (work.num_units, work.num_done) == (6, 0)


def test_committed_units_are_not_done_again() -> None:
    work = plan(BLOCKS, 2, ["cnn", "vit"], {"cnn/0-1", "vit/0-1", "cnn/1-0", "samples/0", "views/2-0"})
    assert Task(BLOCKS[0], 1, ("cnn", "vit")) not in work.pending
    assert Task(BLOCKS[1], 0, ("vit",)) in work.pending
    assert work.num_done == 3


def test_nothing_is_left_of_a_complete_cache() -> None:
    assert plan(BLOCKS, 1, ["cnn"], {"cnn/0-0", "cnn/1-0", "cnn/2-0"}).pending == ()


def _items(batch_size: int, seeds_per_group: int = 2) -> list[tuple[int, Item]]:
    pending = plan(BLOCKS, 2, ["cnn"], {"cnn/0-0"}).pending
    shape = ItemShape.of_batch(batch_size, seeds_per_group)
    return [
        (number, item)
        for number, task in enumerate(pending)
        for item in shape.items_of(task, seeds_per_group=seeds_per_group, thumbnail_rows=3)
    ]


@given(batch_size=st.integers(1, 40), seeds=st.integers(1, 5))
def test_items_cover_every_view_once_in_order(batch_size: int, seeds: int) -> None:
    pending = plan(BLOCKS, 2, ["cnn"], {"cnn/0-0"}).pending
    seen = [
        (number, item.shard, sample, seed)
        for number, item in _items(batch_size, seeds)
        for sample in item.samples
        for seed in item.aug_seeds
    ]
    wanted = [
        (number, task.block.shard, task.block.first + row, task.group * seeds + offset)
        for number, task in enumerate(pending)
        for row in range(task.block.num_rows)
        for offset in range(seeds)
    ]
    assert seen == wanted


@given(batch_size=st.integers(2, 40))
def test_a_batch_is_never_too_large(batch_size: int) -> None:
    assert max(len(item.samples) * len(item.aug_seeds) for _, item in _items(batch_size)) <= batch_size


def test_one_sample_is_the_least() -> None:
    assert {len(item.samples) for _, item in _items(1, seeds_per_group=5)} == {1}


def test_the_first_rows_of_a_block_get_thumbnails() -> None:
    rows = [item.thumbnail_rows for _, item in _items(4)]
    assert rows[:4] == [2, 1, 0, 0]
    assert sum(rows) == 3 + 2 * 2 + 2 * 3


@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=6), wanted=st.integers(0, 60))
def test_spread_samples_are_real_and_different(counts: list[int], wanted: int) -> None:
    places = spread(counts, wanted)
    assert len(set(places)) == len(places) == min(wanted, sum(counts))
    assert all(0 <= sample < counts[shard] for shard, sample in places)
    assert list(places) == sorted(places)


def test_probe_items_do_not_cross_shards_or_the_batch_size() -> None:
    items = probe_items([4, 0, 2], 6, batch_size=3)
    assert [(item.shard, item.samples) for item in items] == [(0, (0, 1, 2)), (0, (3,)), (2, (0, 1))]
    assert {item.aug_seeds for item in items} == {(0,)}
