"""When samples cannot be decoded."""

from pathlib import Path

import pytest

from kdcache.config.views import ViewPolicy
from kdcache.data.index import index_shard
from kdcache.errors import BadImageError, ShardError
from kdcache.precompute.bad_samples import BadSamples
from kdcache.precompute.plan import Item, Task
from kdcache.precompute.reader import ItemReader, RenderedItem
from kdcache.store.layout import Block
from tests.support.shards import write_shard

TASK = Task(Block(0, 0, 0, 10), 3, ("cnn",))


@pytest.fixture
def item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RenderedItem:
    """Return ten samples of which two are bad."""
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path))
    path = write_shard(tmp_path / "a.tar", range(10), images={3: b"no image", 5: b"neither"})
    reader = ItemReader(
        [index_shard(str(path))],
        ViewPolicy.named("rrc", size=8),
        num_classes=None,
    )
    rendered = reader[Item(0, tuple(range(10)), (0,))]
    assert isinstance(rendered, RenderedItem)
    return rendered


def test_bad_samples_are_counted_by_reason(item: RenderedItem) -> None:
    bad = BadSamples(on_bad_sample="skip", max_bad=0.2, num_samples=10)
    bad.note(item, TASK, first_seed=True)
    assert bad.counts == {"undecodable": 2}


def test_the_first_bad_sample_stops_a_strict_run(item: RenderedItem) -> None:
    bad = BadSamples(on_bad_sample="fail", max_bad=1.0, num_samples=10)
    with pytest.raises(BadImageError, match=r"sample 's00003'.*--on-bad-sample skip"):
        bad.note(item, TASK, first_seed=True)


def test_too_many_bad_samples_stop_any_run(item: RenderedItem) -> None:
    bad = BadSamples(on_bad_sample="skip", max_bad=0.1, num_samples=10)
    with pytest.raises(ShardError, match=r"2 of 10 samples cannot be decoded, more than --max-bad 10.00%"):
        bad.note(item, TASK, first_seed=True)


def test_a_sample_is_counted_once_however_many_groups_show_it(item: RenderedItem) -> None:
    bad = BadSamples(on_bad_sample="skip", max_bad=0.2, num_samples=10)
    bad.note(item, TASK, first_seed=True)
    bad.note(item, TASK, first_seed=False)
    bad.note(item, Task(TASK.block, 4, ("cnn",)), first_seed=True)
    assert bad.counts == {"undecodable": 2}
