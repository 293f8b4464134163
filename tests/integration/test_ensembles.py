"""Several teachers in one pass: their mean is a teacher, too, and each may have classes of its own."""

import json
from pathlib import Path

import numpy as np
import pytest

from kdcache.errors import ConfigError, ManifestMismatchError
from kdcache.precompute import precompute
from kdcache.store import open_cache
from kdcache.store.verify import verify
from tests.support.precompute_runs import TINY, config_for, data_objects, invoke, words
from tests.support.shards import write_shards


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path / "shards", [13, 6])


def test_an_ensemble_is_stored_beside_its_members(tmp_path: Path, shards: list[str]) -> None:
    members = [
        {"model": TINY, "name": f"m{seed}", "kwargs": {"seed": seed}, "encoding": "float32"}
        for seed in (1, 2)
    ]
    combine = [
        {"how": "mean-prob", "weights": [1, 3], "encoding": "float32"},
        {"how": "mean-logit", "name": "logits", "encoding": "float32"},
    ]
    precompute(config_for(tmp_path / "c.zarr", shards, teachers=members, combine=combine), quiet=True)
    cache = open_cache(tmp_path / "c.zarr")
    assert cache.teachers == ("m1", "m2", "ensemble", "logits")
    one, two, both, logits = (
        cache.targets(name, 0, 1).logits_NK.astype(np.float64) for name in cache.teachers
    )
    p1, p2 = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (one, two))
    np.testing.assert_allclose(both, np.log(0.25 * p1 + 0.75 * p2), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logits, (one + two) / 2, rtol=1e-6, atol=1e-6)
    recipe = cache.identity.teachers["ensemble"].ensemble
    assert recipe is not None
    assert recipe["combine"] == "mean-prob"
    verify(tmp_path / "c.zarr")


def test_an_ensemble_may_come_later(tmp_path: Path, shards: list[str]) -> None:
    members = [{"model": TINY, "name": f"m{seed}", "kwargs": {"seed": seed}} for seed in (1, 2)]
    precompute(config_for(tmp_path / "c.zarr", shards, teachers=members), quiet=True)
    before = data_objects(tmp_path / "c.zarr")
    report = precompute(
        config_for(tmp_path / "c.zarr", shards, teachers=members, combine="mean-prob"), quiet=True
    )
    assert (report.units, report.units_before) == (6, 12)
    after = data_objects(tmp_path / "c.zarr")
    assert {path: after[path] for path in before} == before


def test_an_ensemble_may_be_asked_for_by_flags(tmp_path: Path, shards: list[str]) -> None:
    flags = ["--teacher", f"b={TINY}", "--combine", "mean-prob", "--combine-weights", "1,3"]
    result = invoke(words(tmp_path / "c.zarr", shards, "--teacher", f"a={TINY}", *flags))
    assert result.exit_code == 0, result.stderr
    recipe = open_cache(tmp_path / "c.zarr").identity.teachers["ensemble"].ensemble
    assert recipe is not None
    assert [member["weight"] for member in recipe["members"]] == [0.25, 0.75]
    shown = invoke(["info", str(tmp_path / "c.zarr")])
    assert "mean-prob of a, b" in shown.stdout


def test_other_weights_are_another_ensemble(tmp_path: Path, shards: list[str]) -> None:
    members = [{"model": TINY, "name": f"m{seed}", "kwargs": {"seed": seed}} for seed in (1, 2)]
    cache = tmp_path / "c.zarr"
    precompute(config_for(cache, shards, teachers=members, combine="mean-prob"), quiet=True)
    other = config_for(cache, shards, teachers=members, combine={"how": "mean-prob", "weights": [1, 2]})
    with pytest.raises(ManifestMismatchError, match=r"teachers.ensemble"):
        precompute(other, quiet=True)


def test_an_ensemble_cannot_be_asked_again_alone(tmp_path: Path, shards: list[str]) -> None:
    members = [{"model": TINY, "name": f"m{seed}", "kwargs": {"seed": seed}} for seed in (1, 2)]
    cache = tmp_path / "c.zarr"
    precompute(config_for(cache, shards, teachers=members, combine="mean-prob"), quiet=True)
    result = invoke(
        ["verify", str(cache), "--recompute", "3", "--views", shards[0], "--teacher", f"ensemble={TINY}"]
    )
    assert result.exit_code == 2, result.stdout
    assert "name one of its members" in result.stderr


def test_a_class_map_brings_teachers_of_other_classes_together(tmp_path: Path, shards: list[str]) -> None:
    halves = tmp_path / "halves.json"
    halves.write_text(json.dumps({"num_classes": 10, "map": [c // 2 for c in range(20)]}), encoding="utf-8")
    wide = {"model": TINY, "name": "wide", "kwargs": {"num_classes": 20}, "encoding": "float32"}
    mapped = {**wide, "name": "mapped", "class_map": str(halves)}
    cache = tmp_path / "c.zarr"
    precompute(config_for(cache, shards, teachers=[{"model": TINY}, mapped]), quiet=True)
    precompute(config_for(tmp_path / "wide.zarr", shards, teachers=[wide]), quiet=True)
    found = open_cache(cache).targets("mapped", 0, 1).logits_NK[:8].astype(np.float64)
    whole = open_cache(tmp_path / "wide.zarr").targets("wide", 0, 1).logits_NK[:8].astype(np.float64)
    wanted = np.logaddexp(whole[:, 0::2], whole[:, 1::2])
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert open_cache(cache).identity.teachers["mapped"].class_map_sha256
    verify(cache)


def test_another_class_map_is_another_teacher(tmp_path: Path, shards: list[str]) -> None:
    def teacher(order: list[int]) -> dict[str, str]:
        path = tmp_path / "map.json"
        path.write_text(json.dumps(order), encoding="utf-8")
        return {"model": TINY, "class_map": str(path)}

    cache = tmp_path / "c.zarr"
    precompute(config_for(cache, shards, teachers=[teacher(list(range(10)))]), quiet=True)
    with pytest.raises(ManifestMismatchError, match="class_map_sha256"):
        precompute(config_for(cache, shards, teachers=[teacher(list(range(10))[::-1])]), quiet=True)


def test_a_map_for_another_network_is_refused(tmp_path: Path, shards: list[str]) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps([0, 1, 1]), encoding="utf-8")
    with pytest.raises(ConfigError, match="has 10 classes"):
        precompute(
            config_for(tmp_path / "c.zarr", shards, teachers=[{"model": TINY, "class_map": str(path)}]),
            quiet=True,
        )
