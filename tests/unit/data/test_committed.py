"""What a pass may draw from: the seeds that every wanted teacher has."""

import pytest

from kdcache.data.committed import committed_seeds
from kdcache.store.reader import Cache, open_cache
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shards


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    folder = tmp_path_factory.mktemp("cache")
    shards = write_shards(folder, [3, 2])
    return open_cache(
        make_real_cache(
            folder / "c.zarr", shards, num_aug_seeds=6, seeds_per_group=2, groups=(0, 2), rows_per_block=64
        )
    )


@pytest.mark.parametrize("teachers", [("formula",), ()])
def test_seeds_come_in_whole_groups(cache: Cache, teachers: tuple[str, ...]) -> None:
    assert committed_seeds(cache, [0, 1], teachers) == {0: (0, 1, 4, 5), 1: (0, 1, 4, 5)}


def test_only_what_every_teacher_has_is_taken(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: dict[str, dict[int, tuple[int, ...]]] = {"one": {0: (0, 2), 1: (1,)}, "other": {0: (2,), 1: (0,)}}

    def committed_groups(name: str, block: int) -> tuple[int, ...]:
        return groups[name][block]

    monkeypatch.setattr(cache, "committed_groups", committed_groups)
    assert committed_seeds(cache, [0, 1], ("one", "other")) == {0: (4, 5)}
