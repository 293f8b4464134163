"""Bad input to stage one is normal input: one clear paragraph, an exit code, and nothing lost."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kdcache.store import open_cache
from tests.support.precompute_runs import TINY, data_objects, grey_shard, invoke, words
from tests.support.shards import picture, png_bytes, write_members, write_shard, write_shards

PNG = png_bytes(picture(1))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


def _cut(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def _empty_tar(path: Path) -> Path:
    with tarfile.open(path, "w"):
        return path


SHARDS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "truncated tar": (lambda p: _cut(write_shard(p, range(6)), 5_000), "complete samples come before it"),
    "empty file": (lambda p: _cut(write_shard(p, range(1)), 0), "empty file"),
    "empty shard": (_empty_tar, "holds no sample"),
    "duplicate keys": (
        lambda p: write_members(p, [("a.png", PNG), ("b.png", PNG), ("a.cls", b"1")]),
        "key 'a' comes again",
    ),
    "unknown extension": (lambda p: write_members(p, [("a.cls", b"1"), ("a.xyz", PNG)]), "no images"),
    "label no number": (
        lambda p: write_members(p, [("a.png", PNG), ("a.cls", b"cat")]),
        "a.cls holds 'cat', expected a class number from 0 to 9",
    ),
    "label out of range": (
        lambda p: write_shard(p, range(3), labels={0: 1, 1: 12}),
        "s00001.cls holds '12', expected a class number from 0 to 9; correct the label, or choose a teacher",
    ),
}


@pytest.mark.parametrize("case", SHARDS)
def test_a_broken_shard_is_named(tmp_path: Path, case: str) -> None:
    make, message = SHARDS[case]
    path = make(tmp_path / "a.tar")
    result = invoke(words(tmp_path / "c.zarr", [str(path)]))
    assert result.exit_code == 3, result.output
    assert "a.tar" in result.stderr
    assert message in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error KD2")


SETTINGS: dict[str, tuple[list[str], int, str]] = {
    "no shard matches": (["nothing-{0..3}.tar"], 2, "no shard matches 'nothing-0.tar'"),
    "K too large": (["--top-k", "11"], 2, "--top-k is 11, but the teacher has 10 classes"),
    "K of no kind": (["--top-k", "many"], 2, "top_k"),
    "groups": (["--views", "5"], 2, "views is 5, not a multiple of seeds_per_group 2"),
    "unknown policy": (["--policy", "rcc"], 2, "did you mean 'rrc'"),
    "unknown teacher": (["--teacher", "resnet5"], 2, "did you mean resnet50"),
    "no such module": (["--teacher", "no.such:net"], 2, "cannot import 'no.such'"),
    "bad name": (["--teacher", f"Views={TINY}"], 2, "'Views' cannot name a teacher"),
    "no normalisation": (["--teacher", "tests.support.teachers:stranger_cnn"], 2, "--teacher-mean"),
    "device": (["--device", "cuda:77"], 2, "device cuda:77 is not available"),
    "missing checkpoint": (["--teacher-checkpoint", "no.pth"], 3, "there is no checkpoint no.pth"),
    "checkpoints": (
        ["--teacher-checkpoint", "a", "--teacher-checkpoint", "b"],
        2,
        "2 --teacher-checkpoint for 1",
    ),
    "kwargs": (["--teacher-kwargs", "classes"], 2, "not key=value"),
    "pair": (["--teacher", "tests.support.teachers:two_outputs"], 3, "returns a tuple for one image"),
    "cache elsewhere": (["--cache", "ftp://host/c.zarr"], 2, "ftp://"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_that_cannot_be_is_explained(tmp_path: Path, case: str) -> None:
    more, code, message = SETTINGS[case]
    shards = write_shards(tmp_path, [4])
    result = invoke(words(tmp_path / "c.zarr", shards, *more))
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert not (tmp_path / "c.zarr").exists()


def test_no_shards_and_no_cache_are_asked_for(tmp_path: Path) -> None:
    result = invoke(["precompute", "--teacher", TINY])
    assert result.exit_code == 2
    assert "shards: Field required" in result.stderr
    assert "cache: Field required" in result.stderr


def test_a_checkpoint_of_another_network_is_explained(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(3, 16)}, tmp_path / "w.pth")
    shards = write_shards(tmp_path, [4])
    result = invoke(words(tmp_path / "c.zarr", shards, "--teacher-checkpoint", str(tmp_path / "w.pth")))
    assert result.exit_code == 3
    assert "fc.weight is (3, 16) in the file, (10, 16) in the network" in result.stderr
    assert "missing in the file" in result.stderr


def test_weights_that_cannot_be_had_point_to_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(name: str, **kwargs: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("timm.create_model", offline)
    result = invoke(words(tmp_path / "c.zarr", write_shards(tmp_path, [4]), "--teacher", "resnet50"))
    assert result.exit_code == 3
    assert "the pretrained weights of 'resnet50' cannot be had" in result.stderr
    assert "--teacher-checkpoint" in result.stderr


def test_probabilities_instead_of_logits_are_refused(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, [4])
    arguments = words(tmp_path / "c.zarr", shards, "--teacher", "tests.support.teachers:probability_cnn")
    arguments.remove("--skip-teacher-check")
    result = invoke(arguments)
    assert result.exit_code == 3
    assert "take the softmax off" in result.stderr


def test_a_teacher_at_chance_stops_the_run(tmp_path: Path) -> None:
    shard = grey_shard(tmp_path / "a.tar", [25 * (n % 10) for n in range(40)], labels=[3] * 40)
    arguments = words(tmp_path / "c.zarr", [str(shard)], "--teacher", "tests.support.teachers:colour_reader")
    assert invoke(arguments).exit_code == 0
    arguments.remove("--skip-teacher-check")
    result = invoke([*arguments, "--cache", str(tmp_path / "other.zarr")])
    assert result.exit_code == 3
    assert "guessing among 10 classes gives 10.0%" in result.stderr
    assert "--skip-teacher-check" in result.stderr


def test_nan_outputs_name_the_view_and_lose_nothing(tmp_path: Path) -> None:
    """The bright picture sits in the second block; the first one's units stay."""
    shard = grey_shard(tmp_path / "a.tar", [*[50] * 11, 250, *[50] * 4], labels=[2] * 16)
    cache = tmp_path / "c.zarr"
    result = invoke(words(cache, [str(shard)], "--teacher", "tests.support.teachers:nan_cnn"))
    assert result.exit_code == 3
    assert "for sample 's00011' of shard a.tar under aug_seed 0" in result.stderr
    assert "what was committed before stays" in result.stderr
    committed = {record.unit for record in open_cache(cache).records()}
    assert committed == {"samples/0", "views/0-0", "views/0-1", "nan_cnn/0-0", "nan_cnn/0-1"}


def _with_bad_pictures(path: Path, bad: dict[int, bytes]) -> list[str]:
    return [str(write_shard(path, range(20), images=bad))]


def test_bad_pictures_are_skipped_and_said(tmp_path: Path) -> None:
    shards = _with_bad_pictures(tmp_path / "a.tar", {3: PNG[:300], 9: b"text"})
    result = invoke(words(tmp_path / "c.zarr", shards, "--max-bad", "10%"))
    assert result.exit_code == 0, result.output
    assert "bad samples, marked and skipped: 2 undecodable" in result.stdout


def test_a_strict_run_stops_at_the_first_bad_picture(tmp_path: Path) -> None:
    shards = _with_bad_pictures(tmp_path / "a.tar", {9: PNG[:300]})
    result = invoke(words(tmp_path / "c.zarr", shards, "--on-bad-sample", "fail"))
    assert result.exit_code == 3
    assert "a.tar: sample 's00009'" in result.stderr
    assert "--on-bad-sample skip" in result.stderr
    assert open_cache(tmp_path / "c.zarr").is_committed("tiny_cnn/0-1")


def test_too_many_bad_pictures_stop_a_run_that_can_go_on(tmp_path: Path) -> None:
    shards = _with_bad_pictures(tmp_path / "a.tar", {9: PNG[:300], 10: b"text"})
    arguments = words(tmp_path / "c.zarr", shards)
    result = invoke(arguments)
    assert result.exit_code == 3
    assert "2 of 20 samples cannot be decoded, more than --max-bad 5.00%" in result.stderr
    again = invoke([*arguments, "--max-bad", "0.1"])
    assert again.exit_code == 0
    assert "2 were there before" in again.stdout


OTHERS: dict[str, tuple[list[str], str]] = {
    "policy": (["--policy", "light"], "policy.crop"),
    "size": (["--size", "20"], "policy.size"),
    "views": (["--views", "8"], "num_aug_seeds is 4 there, 8 here"),
    "K": (["--top-k", "3"], "teachers.tiny_cnn.top_k is 10 there, 3 here"),
    "encoding": (["--encoding", "gap8"], "teachers.tiny_cnn.encoding is 'dense8' there, 'gap8' here"),
    "weights": (["--teacher-kwargs", "seed=1"], "teachers.tiny_cnn.weights_sha256"),
    "precision": (["--precision", "bfloat16"], "precision is 'float32' there, 'bfloat16' here"),
    "normalisation": (
        [*["--teacher-mean", "0.4", "0.4", "0.4", "--teacher-std", "0.25", "0.25", "0.25"]],
        "teachers.tiny_cnn.preprocessing.mean",
    ),
    "classes": (["--teacher-kwargs", "num_classes=11"], "num_classes is 10 there, 11 here"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_run_s_cache_is_refused_with_what_differs(tmp_path: Path, case: str) -> None:
    more, message = OTHERS[case]
    cache, shards = tmp_path / "c.zarr", write_shards(tmp_path, [8])
    assert invoke(words(cache, shards)).exit_code == 0
    before = data_objects(cache)
    result = invoke(words(cache, shards, *more))
    assert result.exit_code == 4, result.output
    assert message in result.stderr
    assert "--cache a new path" in result.stderr
    assert data_objects(cache) == before


def test_more_shards_than_the_cache_has_are_refused(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, [8, 8])
    assert invoke(words(tmp_path / "c.zarr", shards[:1])).exit_code == 0
    result = invoke(words(tmp_path / "c.zarr", shards))
    assert result.exit_code == 4
    assert "shards" in result.stderr


def test_a_shard_that_changed_is_refused(tmp_path: Path) -> None:
    """Same keys and sizes, so that only the picture's own digest can tell."""

    def shard(level: int) -> list[str]:
        return [str(grey_shard(tmp_path / "a.tar", [level, 50, 75], labels=[1, 2, 3]))]

    arguments = words(tmp_path / "c.zarr", shard(25))
    assert invoke(arguments).exit_code == 0
    (tmp_path / "c.zarr/commits/tiny_cnn/0-1.json").unlink()
    shard(26)
    result = invoke(arguments)
    assert result.exit_code == 4, result.output
    assert "sample 's00000' has image digest" in result.stderr or "shards[0].digest" in result.stderr


def test_a_folder_of_something_else_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "c.zarr").mkdir()
    (tmp_path / "c.zarr/thesis.txt").write_text("years of work", encoding="utf-8")
    result = invoke(words(tmp_path / "c.zarr", write_shards(tmp_path, [4])))
    assert result.exit_code == 3
    assert "holds other files" in result.stderr


def test_a_cache_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    cache, shards = tmp_path / "c.zarr", write_shards(tmp_path, [4])
    assert invoke(words(cache, shards)).exit_code == 0
    root = cache / "zarr.json"
    root.write_text(root.read_text().replace('"format_version": 1', '"format_version": 2'), encoding="utf-8")
    result = invoke(words(cache, shards))
    assert result.exit_code == 3
    assert "format 2, this kdcache reads format 1" in result.stderr
