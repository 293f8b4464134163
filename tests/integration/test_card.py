"""A card's commands run as they stand, where the shards are, against a real published cache."""

import re
import shlex
from pathlib import Path

import mlcroissant
import pytest

from kdcache.share.push import push
from kdcache.store import open_cache
from kdcache.store.garbage import find_garbage
from kdcache.store.verify import verify
from tests.support.precompute_runs import config_for, invoke, words
from tests.support.processes import run
from tests.support.shards import write_shards
from tests.support.training import small_cache


def _block(page: str, language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)
    return str(block)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("home")
def test_a_published_card_fetches_checks_and_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, cache = small_cache(tmp_path, num_aug_seeds=2)
    published = tmp_path / "published" / "digits.zarr"
    assert invoke(["card", str(cache), "--url", f"file://{published}"]).exit_code == 0
    push(cache, published, quiet=True)
    page = (published / "README.md").read_text(encoding="utf-8")
    folder = Path(shards[0]).parent
    lines = _block(page, "bash").replace("\\\n", "").splitlines()
    assert [shlex.split(line)[1] for line in lines] == ["pull", "verify", "train"]
    for line in lines:
        command = shlex.split(line)
        if command[1] == "train":
            command += ["--workers", "0", "--threads", "1", "--batch-size", "8", "--quiet"]
        run(command, folder=folder)
    assert (folder / "run" / "model.safetensors").exists()
    monkeypatch.chdir(folder)
    exec(compile(_block(page, "python"), "card", "exec"), {})  # noqa: S102
    assert open_cache(cache).samples(0).keys[0] in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")  # in mlcroissant
@pytest.mark.usefixtures("home")
def test_a_card_in_the_folder_disturbs_nobody(tmp_path: Path) -> None:
    shards, cache = small_cache(tmp_path, num_aug_seeds=2)
    before = open_cache(cache).content_id()
    invoke(["card", str(cache)])
    report = verify(cache)
    assert (report.content_id, report.unknown) == (before, ())
    garbage = find_garbage(cache, min_age=0.0)
    assert (garbage.orphans, garbage.temporary) == ((), ())
    dataset = mlcroissant.Dataset(jsonld=cache / "croissant.json")
    assert [row["shards/name"] for row in dataset.records("shards")] == [Path(shard).name for shard in shards]


@pytest.mark.usefixtures("home")
def test_licence_and_contact_go_through_stage_one_and_stay(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "data", [9])
    cache = tmp_path / "c.zarr"
    terms = ["--licence", "CC-BY-4.0", "--contact", "ann@example.org"]
    assert invoke(words(cache, shards, *terms)).exit_code == 0
    again = invoke(words(cache, shards, "--licence", "MIT"))
    assert "keeps its licence (CC-BY-4.0); kdcache extend" in again.stderr
    settings = config_for(cache, shards)
    more = ["--teacher", settings.teachers[0].model, "--views", "6", "--contact", "bob@example.org"]
    flags = ["--readers", "0", "--device", "cpu", "--skip-teacher-check", "--quiet"]
    assert invoke(["extend", *shards, "--cache", str(cache), *more, *flags]).exit_code == 0
    part, small = str(tmp_path / "part.zarr"), str(tmp_path / "small.zarr")
    assert invoke(["pull", str(cache), part, "--seeds", "0-1"]).exit_code == 0
    assert invoke(["prune", str(cache), "--out", small, "--seeds", "0-1"]).exit_code == 0
    for path in (cache, part, small):
        about = open_cache(path).manifest.about
        assert (about.licence, about.contact) == ("CC-BY-4.0", "bob@example.org")
