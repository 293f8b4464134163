"""Reading gives back what was written, from any process, or says what is missing."""

import pickle
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdcache.errors import CorruptChunkError, MissingViewError, StoreError
from kdcache.logits import all_classes, top_k
from kdcache.store.reader import Cache, open_cache
from kdcache.store.writer import CacheWriter
from tests.support.stores import (
    features_entry,
    fill_block,
    logits_of,
    make_manifest,
    make_store,
    make_teacher,
    table_of,
)

TEACHERS = {"gaps": make_teacher(), "exact": make_teacher(encoding="float32")}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "c", make_manifest(teachers=TEACHERS))


@pytest.fixture
def cache(path: Path) -> Cache:
    return open_cache(path)


def test_targets_are_those_of_the_logits_that_were_written(cache: Cache) -> None:
    table = table_of(cache.blocks[2])
    found = cache.targets("gaps", 2, 3)
    assert found.valid_N.tolist() == [*table.ok_N.tolist(), False]
    for row in np.flatnonzero(found.valid_N):
        cut = top_k(logits_of("gaps", table.keys[row], 3, 20)[None], 5)
        assert found.class_ids_NK is not None
        assert cut.class_ids_NK is not None
        assert found.class_ids_NK[row].tolist() == cut.class_ids_NK[0].tolist()
        assert np.abs(found.kept_probs_NK(2.0)[row] - cut.kept_probs_NK(2.0)[0]).max() < 0.02


def test_float32_targets_are_exact(cache: Cache) -> None:
    expected = all_classes(logits_of("exact", "s0-0008", 1, 20)[None])
    np.testing.assert_array_equal(cache.targets("exact", 1, 1).logits_NK[0], expected.logits_NK[0])


def test_samples_leave_padding_out(cache: Cache) -> None:
    assert [len(cache.samples(block.index)) for block in cache.blocks] == [8, 2, 7]
    assert table_of(cache.blocks[1]).first_difference(cache.samples(1)) is None


def test_views_of_bad_samples_have_no_digest(cache: Cache) -> None:
    digests_R = cache.view_digests(0, 2)
    assert (digests_R != 0).tolist() == table_of(cache.blocks[0]).ok_N.tolist()
    assert cache.thumbnails(0, 2).shape == (8, 8, 8, 3)


def test_a_view_is_found_by_its_key(cache: Cache) -> None:
    found = cache.lookup("s1-0003", 2, teacher="exact")
    assert len(found) == 1
    np.testing.assert_array_equal(found.logits_NK[0], logits_of("exact", "s1-0003", 2, 20))


def test_lookup_needs_no_name_where_there_is_one_teacher(tmp_path: Path) -> None:
    cache = open_cache(make_store(tmp_path / "c"))
    assert cache.lookup("s0-0000", 0).valid_N.tolist() == [True]


def test_lookup_among_several_teachers_asks_for_a_name(cache: Cache) -> None:
    with pytest.raises(StoreError, match=r"name the teacher: .* has gaps, exact"):
        cache.lookup("s0-0000", 0)


def test_a_key_in_several_shards_is_ambiguous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tests.support.stores.keys_of", lambda _, num_samples: [f"{n:04d}" for n in range(num_samples)]
    )
    cache = open_cache(make_store(tmp_path / "c"))
    with pytest.raises(StoreError, match=r"the key '0001' is in 2 shards \(train-000.tar, train-001.tar\)"):
        cache.lookup("0001", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gaps", 0, 4), "aug_seed 4 is not in .* which has 4 views of each sample, counted from 0"),
        (("gaps", 0, -1), "aug_seed -1 is not in"),
        (("gaps", 3, 0), "block 3 is not in .* which has 3 blocks"),
        (("vit", 0, 0), "has no teacher 'vit'; it has gaps, exact"),
    ],
)
def test_what_a_cache_cannot_hold_is_a_missing_view(
    cache: Cache, arguments: tuple[str, int, int], message: str
) -> None:
    with pytest.raises(MissingViewError, match=message):
        cache.targets(*arguments)


def test_an_unknown_key_is_a_missing_view(cache: Cache) -> None:
    with pytest.raises(MissingViewError, match=r"no committed sample of .* has the key 'nobody'"):
        cache.lookup("nobody", 0, teacher="gaps")


def test_what_is_not_committed_yet_is_missing_until_it_is(tmp_path: Path) -> None:
    writer = CacheWriter.create_or_resume(tmp_path / "c", make_manifest())
    cache = open_cache(tmp_path / "c")
    with pytest.raises(MissingViewError, match="the samples of block 0 are not in"):
        cache.samples(0)
    with pytest.raises(MissingViewError, match=r"cnn/0-1 \(aug_seed 2\) is not in .* yet; run the same"):
        cache.targets("cnn", 0, 2)
    with pytest.raises(MissingViewError, match="no committed sample"):
        cache.lookup("s0-0000", 0)
    assert cache.committed_groups("cnn", 0) == ()
    fill_block(writer, writer.layout.blocks[0], groups=[1])
    assert cache.committed_groups("cnn", 0) == (1,)
    assert cache.targets("cnn", 0, 2).valid_N.any()
    assert cache.is_committed("views/0-1")
    assert not cache.is_committed("views/0-0")


def test_records_are_the_same_from_the_index_and_from_their_files(tmp_path: Path) -> None:
    path = make_store(tmp_path / "c", finished=False)
    before = list(open_cache(path).records())
    content_id = open_cache(path).content_id()
    CacheWriter.create_or_resume(path, make_manifest()).finish()
    assert list(open_cache(path).records()) == before
    assert open_cache(path).content_id() == content_id
    assert len(before) == 15


def test_equal_caches_have_equal_content_ids(tmp_path: Path) -> None:
    ids = {open_cache(make_store(tmp_path / name)).content_id() for name in "ab"}
    assert len(ids) == 1
    assert next(iter(ids)).startswith("sha256:")


def test_another_byte_or_another_identity_is_another_content_id(tmp_path: Path) -> None:
    plain = open_cache(make_store(tmp_path / "a")).content_id()
    partial = CacheWriter.create_or_resume(tmp_path / "b", make_manifest())
    fill_block(partial, partial.layout.blocks[0])
    other = make_manifest(teachers={"cnn": make_teacher(weights="other")})
    ids = {
        plain,
        open_cache(tmp_path / "b").content_id(),
        open_cache(make_store(tmp_path / "d", other)).content_id(),
    }
    assert len(ids) == 3


def _read(cache: Cache, results: "Queue[float]") -> None:
    results.put(float(cache.targets("exact", 0, 0).top1_N[0]))


@pytest.mark.parametrize("context", [get_context("fork"), get_context("spawn")], ids=["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_cache_works_in_a_child_process(cache: Cache, context: Any) -> None:
    expected = cache.targets("exact", 0, 0).top1_N[0]
    results = context.Queue()
    child = context.Process(target=_read, args=(cache, results))
    child.start()
    assert results.get(timeout=60) == expected
    child.join()


def test_a_pickled_cache_carries_no_caches_and_no_open_files(cache: Cache) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    cache.targets("gaps", 0, 0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    fresh = len(pickle.dumps(open_cache(cache.url)))
    assert len(pickle.dumps(cache)) == fresh


def test_planes_out_of_range_name_their_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdcache.store.writer.check_planes", lambda *_: None)
    writer = CacheWriter.create_or_resume(tmp_path / "c", make_manifest())
    fill_block(writer, writer.layout.blocks[0], groups=[])
    writer.write_views(0, 0, np.ones((2, 8), "u4"), np.zeros((2, 8, 8, 8, 3), "u1"), seconds=0)
    planes = np.full((2, 15, 8), 999, dtype=np.uint16)
    writer.write_targets("cnn", 0, 0, planes, labelled=0, correct=0, saturated=0, failures={}, seconds=0)
    with pytest.raises(CorruptChunkError, match=r"targets/c/0/0/0 .* a class id is not below 20"):
        open_cache(tmp_path / "c").targets("cnn", 0, 0)


def _cache_with_features(folder: Path) -> Cache:
    teachers = {"cnn": make_teacher(), "cnn.features": features_entry(make_teacher(), "cnn")}
    return open_cache(make_store(folder / "c", make_manifest(teachers=teachers)))


def test_features_are_those_that_were_written_in_float16(tmp_path: Path) -> None:
    cache = _cache_with_features(tmp_path)
    table, found_RD = table_of(cache.blocks[2]), cache.features("cnn", 2, 3)
    assert (found_RD.shape, found_RD.dtype.name, cache.num_features("cnn")) == ((8, 6), "float16", 6)
    has_features_R = ~np.isnan(found_RD).any(axis=1)
    assert has_features_R.tolist() == [*table.ok_N.tolist(), False]
    assert np.isnan(found_RD[~has_features_R]).all()
    for row in np.flatnonzero(has_features_R):
        expected_D = logits_of("cnn.features", table.keys[row], 3, 6).astype(np.float16)
        np.testing.assert_array_equal(found_RD[row], expected_D)


def test_features_are_no_teacher(tmp_path: Path) -> None:
    cache = _cache_with_features(tmp_path)
    assert cache.teachers == ("cnn",)
    assert cache.feature_units == {"cnn": "cnn.features"}
    assert len(cache.lookup("s0-0000", 0)) == 1
    with pytest.raises(MissingViewError, match=r"no teacher 'cnn.features'; it has cnn"):
        cache.targets("cnn.features", 0, 0)


def test_a_teacher_without_features_says_who_has_some(tmp_path: Path, cache: Cache) -> None:
    with pytest.raises(
        MissingViewError, match=r"no features of teacher 'gaps', but of none; .*--store-features"
    ):
        cache.features("gaps", 0, 0)
    with pytest.raises(MissingViewError, match="no features of teacher 'vit', but of cnn"):
        _cache_with_features(tmp_path).num_features("vit")
