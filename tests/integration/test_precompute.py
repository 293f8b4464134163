"""Stage one from shards to a cache, on real pictures and real networks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from kdcache.config.precompute import TeacherConfig
from kdcache.config.views import ViewPolicy
from kdcache.errors import ConfigError, TeacherError
from kdcache.logits import top_k
from kdcache.precompute import precompute
from kdcache.store import open_cache
from kdcache.store.verify import verify
from kdcache.teachers import build_teacher
from kdcache.views import decode_for, render_views, view_digest
from tests.support.precompute_runs import TINY, config_for, data_objects, grey_shard, manifest_of
from tests.support.shards import picture, png_bytes, write_shard, write_shards

WIDE: dict[str, Any] = {"model": TINY, "name": "wide", "kwargs": {"num_classes": 300}}
READER = "tests.support.teachers:colour_reader"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    """Return two shards of 13 and 6 samples: three blocks of eight rows."""
    return write_shards(tmp_path / "shards", [13, 6])


def test_the_cache_holds_what_the_teacher_says_of_every_view(tmp_path: Path, shards: list[str]) -> None:
    precompute(config_for(tmp_path / "c.zarr", shards, teachers=[{**WIDE, "top_k": 20}]), quiet=True)
    teacher = build_teacher(TeacherConfig.model_validate(WIDE), device=torch.device("cpu"))
    cache, policy = open_cache(tmp_path / "c.zarr"), ViewPolicy.named("rrc", size=24)
    for number, aug_seed in ((0, 0), (7, 3), (8, 1), (18, 2)):
        image = decode_for(policy, png_bytes(picture(number)), where="here")
        views = render_views(f"s{number:05d}", image, [aug_seed], policy)
        wanted = top_k(teacher(torch.from_numpy(views)).numpy(), 20)
        found = cache.lookup(f"s{number:05d}", aug_seed)
        np.testing.assert_array_equal(found.class_ids_NK, wanted.class_ids_NK)
        np.testing.assert_allclose(found.logits_NK, wanted.logits_NK, atol=1 / 32 + 1 / 32 + 1e-6)
        block = next(
            b for b in cache.blocks if b.shard == number // 13 and b.first <= number % 13 < b.first + 8
        )
        digests = cache.view_digests(block.index, aug_seed)
        assert digests[number % 13 - block.first] == view_digest(views[0])


def test_the_cache_is_whole_and_verifies(tmp_path: Path, shards: list[str]) -> None:
    report = precompute(config_for(tmp_path / "c.zarr", shards), quiet=True)
    assert (report.units, report.units_before, report.views) == (6, 0, 19 * 4)
    assert verify(tmp_path / "c.zarr").units == 3 + 6 + 6
    assert report.teachers["tiny_cnn"].encoding == "dense8"


def test_labels_and_statuses_are_those_of_the_shards(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", range(5), labels={0: 3, 2: 9}, images={4: b"not an image"})
    report = precompute(config_for(tmp_path / "c.zarr", [str(path)], max_bad=0.5), quiet=True)
    cache = open_cache(tmp_path / "c.zarr")
    assert cache.samples(0).labels.tolist() == [3, -1, 9, -1, -1]
    assert cache.samples(0).status.tolist() == [0, 0, 0, 0, 2]
    assert cache.targets("tiny_cnn", 0, 1).valid_N.tolist() == [True] * 4 + [False] * 4
    assert report.bad_samples == {"undecodable": 1}
    records = {record.unit: record for record in cache.records()}
    assert records["samples/0"].failures == {"undecodable": 1}
    assert records["tiny_cnn/0-1"].failures == {"undecodable": 2}
    assert (records["tiny_cnn/0-1"].rows, records["tiny_cnn/0-1"].labelled) == (8, 4)


def test_a_shard_of_bad_pictures_only_is_a_cache_without_targets(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", range(3), images=dict.fromkeys(range(3), b"nothing"))
    report = precompute(config_for(tmp_path / "c.zarr", [str(path)], max_bad=1.0), quiet=True)
    assert report.views == 0
    verify(tmp_path / "c.zarr")


@pytest.mark.parametrize("encoding", ["gap8", "dense8", "float32", "hard"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_encoding_and_precision_makes_a_cache(
    tmp_path: Path, shards: list[str], encoding: str, precision: str
) -> None:
    teacher = {"model": TINY, "encoding": encoding, "precision": precision}
    precompute(config_for(tmp_path / "c.zarr", shards, teachers=[teacher]), quiet=True)
    identity = open_cache(tmp_path / "c.zarr").identity.teachers["tiny_cnn"]
    assert (identity.encoding, identity.precision) == (encoding, precision)
    verify(tmp_path / "c.zarr")


def test_several_teachers_see_the_same_views_in_one_pass(tmp_path: Path, shards: list[str]) -> None:
    model = timm.create_model("test_resnet", pretrained=False, num_classes=10)
    save_file(model.state_dict(), tmp_path / "resnet.safetensors")
    other = {
        "model": "test_resnet",
        "checkpoint": str(tmp_path / "resnet.safetensors"),
        "kwargs": {"num_classes": 10},
        "size": 32,
        "precision": "bfloat16",
        "top_k": 3,
    }
    both = config_for(tmp_path / "both.zarr", shards, teachers=[{"model": TINY}, other])
    precompute(both, quiet=True)
    one_after_the_other = tmp_path / "two.zarr"
    precompute(config_for(one_after_the_other, shards), quiet=True)
    precompute(config_for(one_after_the_other, shards, teachers=[other]), quiet=True)
    assert data_objects(tmp_path / "both.zarr") == data_objects(one_after_the_other)
    cache = open_cache(tmp_path / "both.zarr")
    assert [cache.identity.teachers[name].encoding for name in ("tiny_cnn", "test_resnet")] == [
        "dense8",
        "gap8",
    ]
    assert cache.content_id() == open_cache(one_after_the_other).content_id()


def test_a_second_run_has_nothing_to_do(
    tmp_path: Path, shards: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_for(tmp_path / "c.zarr", shards)
    precompute(config, quiet=True)
    before = open_cache(tmp_path / "c.zarr").content_id()
    report = precompute(config)
    assert (report.units, report.units_before) == (0, 6)
    assert "6 of 6 units are committed already" in capsys.readouterr().err
    assert open_cache(tmp_path / "c.zarr").content_id() == before


def test_auto_keeps_as_few_classes_as_hold_the_mass(tmp_path: Path, shards: list[str]) -> None:
    precompute(config_for(tmp_path / "c.zarr", shards, teachers=[WIDE]), quiet=True)
    identity = open_cache(tmp_path / "c.zarr").identity.teachers["wide"]
    facts = manifest_of(tmp_path / "c.zarr")["about"]["teachers"]["wide"]
    masses = {int(k): mass["1"] for k, mass in facts["kept_mass"].items()}
    assert identity.top_k == min((k for k, mass in masses.items() if mass >= 0.9), default=128)
    assert list(masses) == [8, 16, 32, 64, 128]
    assert facts["pilot_samples"] == 19
    # A second run takes K from the cache, without a pilot.
    assert precompute(config_for(tmp_path / "c.zarr", shards, teachers=[WIDE]), quiet=True).units == 0


def test_the_pilot_does_not_depend_on_the_readers(tmp_path: Path, shards: list[str]) -> None:
    facts = []
    for readers in (0, 2):
        cache = tmp_path / f"c{readers}.zarr"
        precompute(config_for(cache, shards, teachers=[WIDE], readers=readers), quiet=True)
        facts.append(manifest_of(cache)["about"]["teachers"]["wide"]["kept_mass"])
    assert facts[0] == facts[1]


def test_the_manifest_says_what_made_it(tmp_path: Path, shards: list[str]) -> None:
    precompute(config_for(tmp_path / "c.zarr", shards), quiet=True)
    about = manifest_of(tmp_path / "c.zarr")["about"]
    assert set(about["software"]) == {"kdcache", "torch", "timm", "pillow", "numpy", "numcodecs"}
    assert about["sources"] == shards
    assert about["decoder"]["pillow"]
    facts = about["teachers"]["tiny_cnn"]
    assert (facts["batch_size"], facts["teacher_threads"], facts["device"]) == (8, 1, "cpu")
    assert facts["source"] == f"weights by {TINY}"


def test_tuning_is_taken_from_the_cache_that_is_there(tmp_path: Path, shards: list[str]) -> None:
    precompute(config_for(tmp_path / "c.zarr", shards[:1], batch_size=6), quiet=True)
    second = config_for(
        tmp_path / "c.zarr",
        shards[:1],
        batch_size=None,
        teacher_threads=None,
        teachers=[{**WIDE, "kwargs": {}}],
    )
    precompute(second, quiet=True)
    facts = manifest_of(tmp_path / "c.zarr")["about"]["teachers"]["wide"]
    assert (facts["batch_size"], facts["teacher_threads"]) == (6, 1)


def test_other_tuning_is_pointed_out(
    tmp_path: Path, shards: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    precompute(config_for(tmp_path / "c.zarr", shards[:1]), quiet=True)
    precompute(config_for(tmp_path / "c.zarr", shards[:1], batch_size=4))
    assert "was begun with batch_size 8 and goes on with 4" in capsys.readouterr().err


def test_threads_are_given_back(tmp_path: Path, shards: list[str]) -> None:
    before = torch.get_num_threads()
    precompute(config_for(tmp_path / "c.zarr", shards, teacher_threads=before + 1), quiet=True)
    assert torch.get_num_threads() == before


def test_a_good_teacher_passes_its_check_and_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = grey_shard(tmp_path / "a.tar", [25 * (n % 10) for n in range(40)])
    config = config_for(tmp_path / "c.zarr", [str(path)], teachers=[{"model": READER}], teacher_check=True)
    report = precompute(config)
    assert "teacher colour_reader: top-1 100.0% on 40 labelled centre views" in capsys.readouterr().err
    assert report.teachers["colour_reader"].top1 == 1.0
    assert manifest_of(tmp_path / "c.zarr")["about"]["teachers"]["colour_reader"]["check"]["top1"] == 1.0


def test_a_teacher_at_chance_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = grey_shard(tmp_path / "a.tar", [25 * (n % 10) for n in range(40)], labels=[3] * 40)
    config = config_for(tmp_path / "c.zarr", [str(path)], teachers=[{"model": READER}], teacher_check=True)
    with pytest.raises(TeacherError, match=r"guessing among 10 classes gives 10.0%"):
        precompute(config, quiet=True)
    assert not (tmp_path / "c.zarr").exists()


def test_unlabelled_shards_cannot_check_a_teacher(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_shard(tmp_path / "a.tar", range(4), labels={})
    report = precompute(config_for(tmp_path / "c.zarr", [str(path)], teacher_check=True))
    assert "not checked, the samples looked at have no labels" in capsys.readouterr().err
    assert report.teachers["tiny_cnn"].top1 is None


def test_only_labelled_shards_are_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled = grey_shard(tmp_path / "a.tar", [0, 25, 50, 75])
    plain = write_shard(tmp_path / "b.tar", range(30), labels={})
    shards = [str(plain), str(labelled)]
    precompute(config_for(tmp_path / "c.zarr", shards, teachers=[{"model": READER}], teacher_check=True))
    assert "top-1 100.0% on 4 labelled" in capsys.readouterr().err


def test_a_view_smaller_than_the_teacher_s_input_is_pointed_out(
    tmp_path: Path, shards: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    precompute(config_for(tmp_path / "c.zarr", shards, teachers=[{"model": TINY, "size": 48}]))
    assert "takes 48 x 48 pixels, the views have 24 x 24" in capsys.readouterr().err


def test_views_that_are_all_the_same_are_refused(tmp_path: Path, shards: list[str]) -> None:
    config = config_for(tmp_path / "c.zarr", shards, policy={"preset": "center", "size": 24})
    with pytest.raises(ConfigError, match="use --views 1"):
        precompute(config, quiet=True)


def test_one_centre_view_is_a_cache(tmp_path: Path, shards: list[str]) -> None:
    policy = {"preset": "center", "size": 24}
    config = config_for(tmp_path / "c.zarr", shards, policy=policy, views=1, seeds_per_group=None)
    assert precompute(config, quiet=True).views == 19


def test_teachers_of_different_class_spaces_are_refused(tmp_path: Path, shards: list[str]) -> None:
    config = config_for(tmp_path / "c.zarr", shards, teachers=[{"model": TINY}, WIDE])
    with pytest.raises(ConfigError, match="'tiny_cnn' has 10 classes and 'wide' has 300"):
        precompute(config, quiet=True)
