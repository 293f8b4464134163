"""The layout of format 1: names, shapes and chunks."""

import pytest

from kdcache.store.layout import (
    Block,
    Layout,
    Unit,
    blocks_of,
    default_rows_per_block,
    default_seeds_per_group,
    record_path,
)
from tests.support.stores import make_manifest, make_teacher

LAYOUT = Layout.of(make_manifest().identity)


def test_blocks_do_not_cross_shards() -> None:
    assert blocks_of(make_manifest().identity) == (
        Block(0, 0, 0, 8),
        Block(1, 0, 8, 2),
        Block(2, 1, 0, 7),
    )


@pytest.mark.parametrize(("sizes", "rows"), [([1], 64), ([64], 64), ([65, 3], 128), ([10_000], 4096)])
def test_default_rows_round_the_largest_shard_up(sizes: list[int], rows: int) -> None:
    assert default_rows_per_block(sizes) == rows


@pytest.mark.parametrize(
    ("views", "rows", "group"), [(50, 4096, 5), (10, 1024, 10), (7, 4096, 7), (11, 4096, 1), (64, 1024, 32)]
)
def test_default_groups_divide_the_views(views: int, rows: int, group: int) -> None:
    assert default_seeds_per_group(views, rows) == group


def test_units_come_in_the_order_in_which_they_are_written() -> None:
    names = [unit.name for unit in LAYOUT.units()]
    assert names[:5] == ["samples/0", "samples/1", "samples/2", "views/0-0", "views/0-1"]
    assert names[-1] == "cnn/2-1"
    assert len(names) == len(set(names)) == 3 + 6 + 6


def test_units_are_found_by_name_and_counted_without_a_list() -> None:
    assert all(LAYOUT.unit(unit.name) == unit for unit in LAYOUT.units())
    assert LAYOUT.num_units == len(list(LAYOUT.units()))


@pytest.mark.parametrize(
    "name",
    ["", "cnn", "cnn/0", "cnn/0-2", "cnn/3-0", "samples/3", "samples/0-0", "views/-1-0", "cnn/00-0", "cnn/0-0-0",
     "rnn/0-0", "samples/x", "cnn/٣-0", "../samples/0", "samples/" + "9" * 900],
)  # fmt: skip
def test_no_other_name_is_a_unit(name: str) -> None:
    assert LAYOUT.unit(name) is None


@pytest.mark.parametrize(
    ("unit", "paths"),
    [
        (Unit.samples(2), [f"samples/{name}/c/2" for name in ("key", "label", "digest", "status")]),
        (Unit.views(2, 1), ["views/digest/c/1/2", "views/thumbnail/c/1/2/0/0/0"]),
        (Unit("cnn", 2, 1), ["teachers/cnn/targets/c/1/0/2"]),
    ],
)
def test_each_unit_has_objects_of_its_own(unit: Unit, paths: list[str]) -> None:
    assert [spec.object_path(*position) for spec, position in LAYOUT.objects_of(unit)] == paths


def test_one_unit_of_one_teacher_is_one_object_of_g_chunks() -> None:
    spec = LAYOUT.targets["cnn"]
    assert (spec.shape, spec.object_shape, spec.chunk) == ((4, 15, 24), (2, 15, 8), (1, 15, 8))
    assert spec.chunks_per_object == 2


def test_targets_say_what_their_planes_are() -> None:
    teachers = {
        "d": make_teacher(encoding="dense8"),
        "f": make_teacher(encoding="float32"),
        "h": make_teacher(encoding="hard"),
    }
    targets = Layout.of(make_manifest(teachers=teachers).identity).targets
    planes = {name: spec.attributes["planes"] for name, spec in targets.items()}
    assert planes["d"]["step_float32"] == [20, 22]
    assert planes["f"]["logit_float32"] == [0, 40]
    assert planes["h"]["class_id"] == [0, 1]
    assert planes["h"]["top1_16ths"] == [1, 2]
    assert planes["h"]["tail_count"] == [2, 3]
    assert planes["h"]["tail_bend_64ths"] == [6, 7]


def test_a_record_is_named_after_its_unit() -> None:
    assert record_path("cnn/3-0") == "commits/cnn/3-0.json"
