"""Whatever differs between a cache and its data, views or teacher is found, and says what to do.

docs/mismatches.md is the same matrix in words.
"""

import json
import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdcache.config.views import ViewPolicy
from kdcache.data.loader import distill_loader
from kdcache.errors import (
    CorruptChunkError,
    KdcacheError,
    ManifestMismatchError,
    MissingViewError,
    StoreError,
    ViewMismatchError,
)
from kdcache.precompute import precompute
from kdcache.store.reader import open_cache
from kdcache.store.verify import verify
from kdcache_cli.errors import exit_code
from tests.support.precompute_runs import TINY, config_for
from tests.support.shards import picture, png_bytes, write_shard, write_shards
from tests.support.source import ROOT

SIZES = [24, 16]
NUM_FLIPS = 224


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Return two shards and the cache of them."""
    folder = tmp_path_factory.mktemp("matrix")
    shards = write_shards(folder / "shards", SIZES)
    precompute(config_for(folder / "c.zarr", shards), quiet=True)
    return shards, folder / "c.zarr"


def keys_of(shards: list[str], cache: Path) -> list[str]:
    """Train-side read of one epoch with every view checked; return the keys in sorted order."""
    loader = distill_loader(shards, cache=cache, batch_size=4, check_views=1)
    return sorted(key for batch in loader.epoch(0) for key in batch.keys)


# Stage one, run again with something changed: refused before anything is computed.

OTHER_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "other policy field": ({"policy": {"preset": "rrc", "size": 24, "flip": 0.0}}, "policy.flip"),
    "other resolution": ({"policy": {"preset": "rrc", "size": 28}}, "policy.size"),
    "other interpolation": (
        {"policy": {"preset": "rrc", "size": 24, "interpolation": "bilinear"}},
        "policy.interpolation",
    ),
    "other teacher weights": ({"teachers": [{"model": TINY, "kwargs": {"seed": 1}}]}, "weights_sha256"),
    "other K": ({"teachers": [{"model": TINY, "top_k": 3}]}, "top_k"),
    "more views than the cache": ({"views": 6}, "num_aug_seeds"),
}


@pytest.mark.parametrize("row", OTHER_SETTINGS)
def test_stage_one_refuses_other_settings(row: str, made: tuple[list[str], Path]) -> None:
    changes, field = OTHER_SETTINGS[row]
    with pytest.raises(ManifestMismatchError, match=field) as caught:
        precompute(config_for(made[1], made[0], **changes), quiet=True)
    assert exit_code(caught.value) == 4
    assert "--cache" in str(caught.value)


# Stage two, on shards that are not those of the cache.


def _replaced(image_of: Callable[[int], bytes]) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        images = {number: image_of(number) for number in range(24)}
        write_shard(folder / "train-000.tar", range(24), images=images)
        return [str(folder / "train-000.tar")]

    return make


def _changed_byte(number: int) -> bytes:
    data = bytearray(png_bytes(picture(number)))
    data[-20] ^= 1 if number == 7 else 0
    return bytes(data)


def _shard(numbers: list[int], **more: Any) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        return [str(write_shard(folder / "train-000.tar", numbers, **more))]

    return make


REFUSED_SHARDS: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "changed image byte": (_replaced(_changed_byte), "'s00007'.*other bytes"),
    "re-encoded image": (
        _replaced(lambda n: png_bytes(np.ascontiguousarray(picture(n)[::-1]))),
        "other bytes",
    ),
    "swapped labels": (
        _shard(list(range(24)), labels={n: (n + 1 if n % 2 == 0 else n - 1) % 10 for n in range(24)}),
        "its label is .* there and .* in the cache",
    ),
    "other class order": (
        _shard(list(range(24)), labels={n: 9 - n % 10 for n in range(24)}),
        "its label is .* there and .* in the cache",
    ),
    "renamed key": (_shard([*range(23), 99]), "added or renamed"),
    "missing sample": (_shard(list(range(23))), "lacks 1 samples.*'s00023'"),
    "extra sample": (_shard([*range(24), 99]), "added or renamed|does not know"),
}


@pytest.mark.parametrize("row", REFUSED_SHARDS)
def test_stage_two_refuses_other_data(row: str, tmp_path: Path, made: tuple[list[str], Path]) -> None:
    make, message = REFUSED_SHARDS[row]
    with pytest.raises(ManifestMismatchError, match=message) as caught:
        keys_of(make(tmp_path), made[1])
    assert exit_code(caught.value) == 4


def test_other_class_order_of_the_teacher_is_other_weights(made: tuple[list[str], Path]) -> None:
    changes = {"teachers": [{"model": "tests.support.teachers:reordered_cnn", "name": "tiny_cnn"}]}
    with pytest.raises(ManifestMismatchError, match="weights_sha256"):
        precompute(config_for(made[1], made[0], **changes), quiet=True)


def test_shards_in_another_order_are_accepted(made: tuple[list[str], Path]) -> None:
    shards, cache = made
    assert keys_of(shards[::-1], cache) == keys_of(shards, cache)


def _reordered(folder: Path) -> list[str]:
    first = write_shard(folder / "train-000.tar", reversed(range(24)))
    return [str(first), str(write_shard(folder / "train-001.tar", range(24, 40)))]


def _repacked(folder: Path) -> list[str]:
    return [
        str(write_shard(folder / f"part-{part}.tar", range(start, start + 10)))
        for part, start in enumerate(range(0, 40, 10))
    ]


@pytest.mark.parametrize("make", [_reordered, _repacked])
def test_samples_that_were_packed_anew_are_joined_by_key_and_it_is_said(
    make: Callable[[Path], list[str]],
    tmp_path: Path,
    made: tuple[list[str], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="kdcache"):
        assert len(keys_of(make(tmp_path), made[1])) == 40
    assert "joined by key, which is slower" in caplog.text


@pytest.mark.parametrize("make", [_reordered, _repacked])
def test_samples_that_were_packed_anew_are_refused_under_a_mixing_policy(
    make: Callable[[Path], list[str]], tmp_path: Path, made: tuple[list[str], Path]
) -> None:
    policy = ViewPolicy.named("rrc", size=24, mixing={})
    config = config_for(tmp_path / "m.zarr", made[0], policy=policy, rows_per_block=64)
    precompute(config, quiet=True)
    with pytest.raises(ManifestMismatchError, match="mixes samples that are neighbours") as caught:
        keys_of(make(tmp_path), tmp_path / "m.zarr")
    assert exit_code(caught.value) == 4


def test_an_aug_seed_beyond_the_cache_is_refused(made: tuple[list[str], Path]) -> None:
    cache = open_cache(made[1])
    with pytest.raises(MissingViewError, match=r"aug_seed 4 is not in .*, which has 4 views") as caught:
        cache.targets(cache.teachers[0], 0, 4)
    assert exit_code(caught.value) == 3


def test_views_of_another_policy_under_this_manifest_are_found_in_training(
    tmp_path: Path, made: tuple[list[str], Path]
) -> None:
    shards, cache = made
    other, forged = tmp_path / "other.zarr", tmp_path / "forged.zarr"
    precompute(
        config_for(other, shards, policy={"preset": "rrc", "size": 24, "scale": [0.5, 1.0]}), quiet=True
    )
    shutil.copytree(cache, forged)
    for part in ("views", "commits/views"):
        shutil.rmtree(forged / part)
        shutil.copytree(other / part, forged / part)
    (forged / "commits" / "index.json").unlink()
    with pytest.raises(ViewMismatchError, match=r"sample 's\d+' .* under aug_seed \d") as caught:
        keys_of(shards, forged)
    assert exit_code(caught.value) == 4


# A damaged store.


def test_every_flipped_bit_is_found_in_every_kind_of_object(
    tmp_path: Path, made: tuple[list[str], Path]
) -> None:
    copy = tmp_path / "c.zarr"
    shutil.copytree(made[1], copy)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    by_kind: dict[str, list[Path]] = {}
    for path in files:
        parts = path.relative_to(copy).parts
        by_kind.setdefault("metadata" if path.name == "zarr.json" else "/".join(parts[:2]), []).append(path)
    rng, missed, kinds = random.Random(7), [], sorted(by_kind)
    assert len(kinds) >= 7
    for number in range(NUM_FLIPS):
        path = rng.choice(by_kind[kinds[number % len(kinds)]])
        intact = path.read_bytes()
        damaged = bytearray(intact)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            verify(copy)
            missed.append(str(path))
        except StoreError:
            pass
        path.write_bytes(intact)
    assert missed == []
    verify(copy)


def _target(cache: Path) -> Path:
    return next(
        path for path in sorted((cache / "teachers").rglob("*")) if path.parent.parent.parent.name == "c"
    )


def _truncate(cache: Path) -> None:
    path = _target(cache)
    path.write_bytes(path.read_bytes()[:-7])


def _newer_format(cache: Path) -> None:
    document = json.loads((cache / "zarr.json").read_text())
    document["attributes"]["kdcache"]["identity"]["format_version"] = 2
    (cache / "zarr.json").write_text(json.dumps(document))


DAMAGE: dict[str, tuple[Callable[[Path], None], type[KdcacheError], str]] = {
    "truncated object": (_truncate, CorruptChunkError, "teachers/tiny_cnn/targets"),
    "missing object": (lambda cache: _target(cache).unlink(), CorruptChunkError, "missing"),
    "missing commit": (
        lambda cache: (cache / "commits" / "tiny_cnn" / "0-0.json").unlink(),
        StoreError,
        "tiny_cnn/0-0",
    ),
    "store of another format version": (_newer_format, StoreError, "format 2.*upgrade kdcache"),
}


@pytest.mark.parametrize("row", DAMAGE)
def test_a_damaged_store_is_named(row: str, tmp_path: Path, made: tuple[list[str], Path]) -> None:
    damage, kind, message = DAMAGE[row]
    copy = tmp_path / "c.zarr"
    shutil.copytree(made[1], copy)
    damage(copy)
    with pytest.raises(kind, match=message) as caught:
        verify(copy)
    assert exit_code(caught.value) == 3


def test_the_page_on_mismatches_has_every_row() -> None:
    page = (ROOT / "docs" / "mismatches.md").read_text()
    rows = [*OTHER_SETTINGS, *REFUSED_SHARDS, *DAMAGE]
    assert [row for row in rows if f"| {row} |" not in page] == []
