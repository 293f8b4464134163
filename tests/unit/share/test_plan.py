"""What a copy consists of, and what a destination lacks of it."""

from pathlib import Path

import pytest

from kdcache.digest import sha256_hex
from kdcache.share.plan import CopyPlan, Work, compare, plan_copy
from kdcache.share.source import read_source
from kdcache.store import open_cache
from kdcache.store.objects import LocalObjects
from kdcache.store.root import dump_root
from tests.support.stores import make_store


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("plan") / "c.zarr")


@pytest.fixture(scope="module")
def plan(cache: Path) -> CopyPlan:
    source = read_source(LocalObjects(cache), jobs=1)
    return plan_copy(source.manifest, dump_root(source.manifest), source.records.values())


def test_a_plan_is_the_cache_and_its_sums(cache: Path, plan: CopyPlan) -> None:
    files = {
        file.relative_to(cache).as_posix(): file.read_bytes() for file in cache.rglob("*") if file.is_file()
    }
    found = {item.path: (item.size, item.sha256) for item in plan}
    sums = found.pop("SHA256SUMS")
    assert found == {path: (len(data), sha256_hex(data)) for path, data in files.items()}
    assert {item.path for item in plan if item.content is None} == {item.path for item in plan.data}
    assert sums == (plan.sums.size, plan.sums.sha256)
    assert plan.content_id == open_cache(cache).content_id()


def test_the_manifest_comes_last_and_sums_name_all_the_rest(plan: CopyPlan) -> None:
    order = [item.path for item in plan]
    assert order[-2:] == ["SHA256SUMS", "zarr.json"]
    kinds = ["data" if "/c/" in path else "record" if path.startswith("commits/") else "" for path in order]
    assert kinds.index("record") == len(kinds) - 1 - kinds[::-1].index("data") + 1
    assert plan.sums.content is not None
    named = {line.split("  ")[1] for line in plan.sums.content.decode().splitlines()}
    assert named == set(order[:-2])


def test_everything_is_missing_where_nothing_is(plan: CopyPlan) -> None:
    work = compare(plan, {}, {}, set(), is_whole=False)
    assert work.missing == {item.path for item in plan}


def test_sums_tell_what_is_right(plan: CopyPlan) -> None:
    sizes = {item.path: item.size for item in plan if item is not plan.root}
    sums = {item.path: item.sha256 for item in plan}
    assert compare(plan, sizes, sums, set(), is_whole=False).missing == {"zarr.json"}


def test_a_record_vouches_for_its_objects(plan: CopyPlan) -> None:
    sizes = {item.path: item.size for item in (*plan.data, plan.records[0])}
    work = compare(plan, sizes, {}, {plan.records[0].path}, is_whole=False)
    vouched = {item.path for item in plan.data if item.record == plan.records[0].path}
    assert work.unsure == {item.path for item in plan.data} - vouched
    assert plan.records[0].path not in work.missing
    assert work.wrong == ()


def test_another_size_or_sum_is_wrong(plan: CopyPlan) -> None:
    first, second = plan.data[:2]
    sizes = {first.path: first.size + 1, second.path: second.size}
    work = compare(plan, sizes, {second.path: "0" * 64}, set(), is_whole=False)
    assert work.wrong == (first.path, second.path)


def test_a_record_that_is_not_equal_is_wrong(plan: CopyPlan) -> None:
    record = plan.records[0]
    assert compare(plan, {record.path: record.size}, {}, set(), is_whole=False).wrong == (record.path,)


def test_metadata_is_written_again_unless_it_is_known_to_be_right(plan: CopyPlan) -> None:
    sizes = {item.path: item.size for item in plan.documents}
    work = compare(plan, sizes, {}, set(), is_whole=False)
    assert {item.path for item in plan.documents} <= work.missing


def test_an_equal_cache_keeps_its_own_and_gets_what_it_lacks(plan: CopyPlan) -> None:
    sizes = {item.path: item.size + ("/c/" not in item.path) for item in plan}
    del sizes[plan.data[0].path]
    work = compare(plan, sizes, {}, set(), is_whole=True)
    assert work == Work(frozenset({plan.data[0].path}))
