"""What is at the destination decides what is done: nothing of somebody else's is ever overwritten."""

import re
import shutil
from pathlib import Path

import pytest

from kdcache.errors import ManifestMismatchError, StoreError
from kdcache.share.destination import survey
from kdcache.share.plan import CopyPlan, plan_copy
from kdcache.share.push import push
from kdcache.share.source import read_source
from kdcache.store import open_cache
from kdcache.store.objects import LocalObjects
from kdcache.store.root import dump_root
from tests.support.stores import make_manifest, make_store, make_teacher


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("source") / "c.zarr")


@pytest.fixture(scope="module")
def plan(cache: Path) -> CopyPlan:
    source = read_source(LocalObjects(cache), jobs=1)
    return plan_copy(source.manifest, dump_root(source.manifest), source.records.values())


@pytest.fixture(scope="module")
def pristine_copy(cache: Path) -> Path:
    push(cache, cache.with_name("copy.zarr"), quiet=True)
    return cache.with_name("copy.zarr")


@pytest.fixture
def copy(pristine_copy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine_copy, tmp_path / "copy.zarr"))


def _missing(plan: CopyPlan, folder: Path) -> set[str]:
    return set(survey(LocalObjects(folder), plan, jobs=2)[1].missing)


def test_a_whole_copy_lacks_nothing(plan: CopyPlan, copy: Path) -> None:
    assert _missing(plan, copy) == set()


def test_a_copy_without_its_manifest_lacks_that_alone(plan: CopyPlan, copy: Path) -> None:
    (copy / "zarr.json").unlink()
    assert _missing(plan, copy) == {"zarr.json"}


def test_records_tell_what_the_sums_do_not(plan: CopyPlan, copy: Path) -> None:
    for name in ("zarr.json", "SHA256SUMS", "commits/samples/1.json"):
        (copy / name).unlink()
    _, work = survey(LocalObjects(copy), plan, jobs=2)
    assert {item.path for item in plan.data} & work.missing == set()
    assert work.unsure == {f"samples/{name}/c/1" for name in ("key", "label", "digest", "status")}


def test_a_cache_with_the_same_content_and_other_records_is_the_same(plan: CopyPlan, tmp_path: Path) -> None:
    other = make_store(tmp_path / "made-elsewhere.zarr")
    index = other / "commits/index.json"
    index.unlink()
    found, work = survey(LocalObjects(other), plan, jobs=2)
    assert work.missing == {"SHA256SUMS", "commits/index.json"}
    assert found.content_id == plan.content_id


def test_another_cache_is_refused_with_both_ids_and_what_differs(plan: CopyPlan, tmp_path: Path) -> None:
    teachers = {"cnn": make_teacher(weights="other")}
    other = make_store(tmp_path / "o.zarr", make_manifest(teachers=teachers))
    message = re.escape(open_cache(other).content_id()) + ".*" + re.escape(plan.content_id)
    with pytest.raises(ManifestMismatchError, match=message + ".*teachers.cnn.weights_sha256"):
        survey(LocalObjects(other), plan, jobs=2)


def test_part_of_another_cache_is_refused_by_name(plan: CopyPlan, copy: Path) -> None:
    for name in ("zarr.json", "SHA256SUMS"):
        (copy / name).unlink()
    path = copy / "teachers/cnn/targets/c/0/0/0"
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(
        ManifestMismatchError, match="another object under the name teachers/cnn/targets/c/0/0/0"
    ):
        survey(LocalObjects(copy), plan, jobs=2)


def test_other_files_are_refused_by_name_and_a_card_is_welcome(plan: CopyPlan, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("a card")
    assert len(_missing(plan, tmp_path)) == len(list(plan))
    (tmp_path / "thesis.tex").write_text("ten years")
    with pytest.raises(StoreError, match=r"thesis.tex, which is no part of this copy \(1 such"):
        survey(LocalObjects(tmp_path), plan, jobs=2)


def test_units_of_a_larger_copy_that_was_not_finished_are_refused(cache: Path, copy: Path) -> None:
    (copy / "zarr.json").unlink()
    source = read_source(LocalObjects(cache), jobs=1)
    few = [record for unit, record in source.records.items() if unit.block == 0]
    plan = plan_copy(source.manifest, dump_root(source.manifest), few)
    with pytest.raises(StoreError, match="which is no part of this copy"):
        survey(LocalObjects(copy), plan, jobs=2)
