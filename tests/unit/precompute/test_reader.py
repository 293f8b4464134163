"""What reader processes do."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from kdcache.config.views import ViewPolicy
from kdcache.data.index import index_shard
from kdcache.digest import sample_digest
from kdcache.errors import InterruptedRunError, KdcacheError, ShardError
from kdcache.precompute.plan import Item
from kdcache.precompute.reader import ItemReader, RenderedItem, lost_readers_explained, rendered_items
from kdcache.runtime.interrupt import Interrupts
from kdcache.store.tables import STATUS_OK, STATUS_TOO_LARGE, STATUS_UNDECODABLE
from kdcache.views import decode_for, render_views, thumbnail, view_digest
from tests.support.shards import picture, png_bytes, write_shard

POLICY = ViewPolicy.named("rrc", size=24)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


def _reader(tmp_path: Path, *, policy: ViewPolicy = POLICY, num_classes: int = 10) -> ItemReader:
    images = {3: b"\xff\xd8\xffcut", 4: png_bytes(picture(4, size=(300, 200)))}
    paths = [
        write_shard(tmp_path / "a.tar", range(6), labels={0: 7, 1: 2}, images=images),
        write_shard(tmp_path / "b.tar", range(6, 9)),
    ]
    return ItemReader([index_shard(str(path)) for path in paths], policy, num_classes=num_classes)


def _rendered(item: RenderedItem | KdcacheError) -> RenderedItem:
    assert isinstance(item, RenderedItem), item
    return item


def test_an_item_holds_every_view_of_its_samples(tmp_path: Path) -> None:
    item = _rendered(_reader(tmp_path)[Item(0, (0, 1, 2), (4, 5), 2)])
    assert item.table.keys == ("s00000", "s00001", "s00002")
    assert item.table.labels.tolist() == [7, 2, -1]
    assert item.views_B3HW.shape == (6, 3, 24, 24)
    encoded = png_bytes(picture(1))
    assert item.table.digests[1] == sample_digest(encoded)
    wanted = render_views("s00001", decode_for(POLICY, encoded, where="here"), (4, 5), POLICY)
    assert torch.equal(item.views_B3HW[2:4], torch.from_numpy(wanted))
    assert item.digests_GN[:, 1].tolist() == [view_digest(view) for view in wanted]
    np.testing.assert_array_equal(item.thumbnails[1, 1], thumbnail(wanted[1]))
    assert item.thumbnails.shape == (2, 2, 8, 8, 3)


def test_bad_samples_are_marked_and_black(tmp_path: Path) -> None:
    policy = ViewPolicy.named("rrc", size=24, max_pixels=20_000)
    item = _rendered(_reader(tmp_path, policy=policy)[Item(0, (2, 3, 4), (0,), 3)])
    assert item.table.status.tolist() == [STATUS_OK, STATUS_UNDECODABLE, STATUS_TOO_LARGE]
    assert item.digests_GN[0].astype(bool).tolist() == [True, False, False]
    assert not item.views_B3HW[1:].any()
    assert not item.thumbnails[:, 1:].any()
    assert "a.tar: sample 's00003'" in item.complaints[0]
    assert "max_pixels" in item.complaints[1]


def test_what_breaks_a_shard_comes_back_as_itself(tmp_path: Path) -> None:
    reader = _reader(tmp_path, num_classes=7)
    items = [Item(0, (0,), (0,)), Item(1, (1,), (0,))]
    for processes in (0, 1):
        with pytest.raises(
            ShardError, match=r"s00000.cls holds '7', expected a class number from 0 to 6"
        ) as caught:
            list(rendered_items(reader, items, processes=processes))
        assert "Traceback" not in str(caught.value)


def test_the_order_is_the_same_for_any_number_of_readers(tmp_path: Path) -> None:
    items = [Item(0, (n,), (0, 1)) for n in range(6)] + [Item(1, (n,), (0, 1)) for n in range(3)]
    reader = _reader(tmp_path)
    seen = [
        [item.digests_GN.tolist() for item in rendered_items(reader, iter(items), processes=processes)]
        for processes in (0, 1, 3)
    ]
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) == 9


def test_a_killed_reader_is_an_interrupted_run() -> None:
    with (
        pytest.raises(InterruptedRunError, match=r"a reader process died: .* fewer --readers.*2 of 9 units"),
        lost_readers_explained(Interrupts(), lambda: "2 of 9 units are committed"),
    ):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. \nmore")


def test_other_errors_of_a_reader_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        list(rendered_items(_reader(tmp_path), [Item(9, (0,), (0,))], processes=0))


def test_pixels_are_dropped_on_request(tmp_path: Path) -> None:
    item = _rendered(_reader(tmp_path)[Item(0, (0, 1), (0,))])
    assert len(item.without_views().views_B3HW) == 0
    assert item.without_views().table == item.table


def test_an_item_is_asked_for_only_when_a_reader_is_free(tmp_path: Path) -> None:
    asked: list[int] = []

    def items() -> Iterator[Item]:
        for number in range(6):
            asked.append(number)
            yield Item(0, (number,), (0,))

    rendered = rendered_items(_reader(tmp_path), items(), processes=1)
    next(rendered)
    assert len(asked) <= 4
    assert len(list(rendered)) == 5
