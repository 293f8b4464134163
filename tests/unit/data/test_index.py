"""The index of a shard: complete or refused, kept, and made again when the shard changes."""

import io
import mmap
import os
import pickle
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from webdataset.tariterators import group_by_keys, tar_file_iterator

from kdcache.data.index import ShardIndex, expand_shards, index_shard, index_shards
from kdcache.data.shards import ShardReader
from kdcache.data.tar import Member, scan
from kdcache.digest import shard_digest
from kdcache.errors import ConfigError, ShardError
from tests.support.broken_shards import cut, flip_bit, header_starts, without_padding
from tests.support.shards import write_members, write_shard, write_shards


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write_shard(tmp_path / "train-000.tar", range(5), labels={0: 3, 2: 1})


def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []

    def watched(data: object, *, where: str) -> Iterator[Member]:
        seen.append(where)
        return scan(data, where=where)

    monkeypatch.setattr("kdcache.data.index.scan", watched)
    return seen


def test_an_index_finds_what_webdataset_reads(shard: Path) -> None:
    index = index_shard(str(shard))
    read = [ShardReader(index).read(row) for row in range(len(index))]
    with shard.open("rb") as file:
        samples = list(group_by_keys({**part, "__url__": ""} for part in tar_file_iterator(file)))  # type: ignore[arg-type]
    assert [raw.key for raw in read] == [sample["__key__"] for sample in samples]
    assert [raw.encoded for raw in read] == [sample["png"] for sample in samples]
    assert [raw.label for raw in read] == [int(sample.get("cls", b"-1")) for sample in samples]
    assert (index.name, index.num_samples, index.num_labelled) == ("train-000.tar", 5, 2)


def test_the_digest_covers_all_members_in_order(tmp_path: Path) -> None:
    path = write_members(tmp_path / "a.tar", [("1.JPG", b"abc"), ("1.json", b"{}"), ("2.png", b"xy")])
    assert index_shard(str(path)).digest == shard_digest([("1", "jpg", 3), ("1", "json", 2), ("2", "png", 2)])


def test_a_second_run_reads_no_headers(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scans(monkeypatch)
    first, second = index_shard(str(shard)), index_shard(str(shard))
    assert seen == [str(shard)]
    assert first.key(4) == second.key(4)


def test_a_changed_shard_is_indexed_again(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = index_shard(str(shard)).digest
    write_shard(shard, range(7))
    assert index_shard(str(shard)).num_samples == 7
    assert index_shard(str(shard)).digest != before
    seen = scans(monkeypatch)
    os.utime(shard, ns=(1, 1))
    index_shard(str(shard))
    assert seen == [str(shard)]


def test_an_index_travels_as_an_address(shard: Path) -> None:
    index = index_shard(str(shard))
    data = pickle.dumps(index)
    assert len(data) < 300
    assert pickle.loads(data).key(3) == index.key(3)  # noqa: S301


def test_a_folder_that_cannot_be_written_costs_only_time(
    shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "file"))
    assert index_shard(str(shard)).key(1) == "s00001"
    assert "set KDCACHE_HOME" in caplog.text


def refuse_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, contents: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("kdcache.data.index.write_index_file", write)


def test_a_stale_index_in_a_folder_that_cannot_be_written_is_not_used(
    shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path))
    index_shard(str(shard))
    refuse_to_write(monkeypatch)
    write_shard(shard, range(7))
    assert index_shard(str(shard)).num_samples == 7


def test_a_thousand_shards_that_cannot_be_kept_give_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path))
    refuse_to_write(monkeypatch)
    for shard in write_shards(tmp_path, [1] * 3):
        index_shard(shard)
    assert [record.message.count("Permission denied") for record in caplog.records] == [1]


def test_a_user_without_a_home_gets_an_index(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("KDCACHE_HOME")
    monkeypatch.setattr(Path, "expanduser", no_home)
    assert index_shard(str(shard)).num_samples == 5


def test_a_cut_shard_says_what_precedes_and_the_way_out(shard: Path) -> None:
    data = shard.read_bytes()
    picture_of_third = list(header_starts(data))[9]
    cut(shard, picture_of_third + 700)
    with pytest.raises(
        ShardError,
        match=r"train-000\.tar: broken at byte [\d,]+: its member of [\d,]+ bytes is cut off after 188; fetch or "
        r"pack the shard again .*\(2 complete samples come before it, the last one 's00001'\)",
    ):
        index_shard(str(shard))


def test_a_shard_cut_at_any_block_border_or_beside_it_is_refused(shard: Path) -> None:
    data = without_padding(shard.read_bytes())
    for border in range(512, len(data) + 1, 512):
        for size in {border - 511, border - 1, border} - {len(data)}:
            shard.write_bytes(data[:size])
            with pytest.raises(ShardError, match=r"train-000\.tar"):
                index_shard(str(shard))
    shard.write_bytes(data)
    assert index_shard(str(shard)).num_samples == 5


def test_a_flipped_bit_in_a_header_is_refused(shard: Path) -> None:
    flip_bit(shard, list(header_starts(shard.read_bytes()))[2] + 3)
    with pytest.raises(ShardError, match=r"the header's checksum is wrong"):
        index_shard(str(shard))


def test_a_missing_or_empty_shard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"cannot read the shard .*none\.tar: No such file"):
        index_shard(str(tmp_path / "none.tar"))
    (tmp_path / "empty.tar").touch()
    with pytest.raises(ShardError, match=r"empty\.tar: the shard is an empty file"):
        index_shard(str(tmp_path / "empty.tar"))
    with pytest.raises(ShardError, match=r"cannot read the shard .*Is a directory"):
        index_shard(str(tmp_path))
    with pytest.raises(ShardError, match="holds no sample"):
        index_shard(str(write_members(tmp_path / "zeros.tar", [])))


def test_braces_and_stars_name_shards_in_order(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, [1] * 12)
    assert list(expand_shards([f"{tmp_path}/train-{{000..011}}.tar"])) == shards
    assert list(expand_shards([f"{tmp_path}/train-*.tar"])) == shards
    assert expand_shards([f"file://{shards[3]}", shards[1]]) == (shards[3], shards[1])


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([], r"no shard is named; give at least one"),
        (["nothing-{000..002}.tar"], r"no shard matches 'nothing-000\.tar' \(in .*\); check the path"),
        (["nothing-*.tar"], r"no shard matches 'nothing-\*\.tar'"),
        (["train-{000..002.tar"], r"the braces of 'train-\{000\.\.002\.tar' do not match"),
        (
            ["ftp://x.org/a.tar"],
            r"cannot read shards from ftp://x\.org: this version opens no shards at ftp:// addresses",
        ),
        (["pipe:cat a.tar"], r"cannot read shards from pipe:\.\.\."),
    ],
)
def test_patterns_that_name_nothing_are_refused(patterns: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expand_shards(patterns)


def test_two_shards_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = write_shards(tmp_path / "a", [1])[0], write_shards(tmp_path / "b", [1])[0]
    for pair in ([one, other], [one, one]):
        with pytest.raises(ConfigError, match=r"two shards have the name 'train-000\.tar'"):
            expand_shards(pair)


def test_memory_of_an_index_is_a_mapped_file(shard: Path) -> None:
    index_shard(str(shard))
    index: ShardIndex = index_shard(str(shard))
    buffer: Any = index._contents.table.base
    while not isinstance(buffer, mmap.mmap):
        buffer = buffer.obj if isinstance(buffer, memoryview) else buffer.base


def test_the_indexes_of_many_shards_hold_few_descriptors(tmp_path: Path) -> None:
    indexes = index_shards([str(write_shard(tmp_path / f"{number}.tar", range(3))) for number in range(200)])
    keys = {index.key(row) for index in indexes for row in range(3)}
    assert len(keys) == 3
    maps = Path("/proc/self/maps").read_text().splitlines()
    assert 0 < sum(line.endswith(".idx") for line in maps) <= 16


def test_an_index_whose_file_is_gone_scans_the_shard_again(
    shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    index, again = index_shard(str(shard)), index_shard(str(shard))
    shutil.rmtree(tmp_path / "home")
    assert index.key(3) == "s00003"
    write_shard(shard, range(5))
    with pytest.raises(ShardError, match="the shard was replaced while it was in use"):
        again.key(3)


def test_a_shard_packed_anew_with_the_same_members_is_read_where_they_are_now(tmp_path: Path) -> None:
    members = [(f"s{number}.{ext}", b"1234") for number in range(3) for ext in ("jpg", "cls")]
    shard = tmp_path / "a.tar"
    write_members(shard, members)
    first = index_shard(str(shard))
    begun = first.image_span(2)
    with tarfile.open(shard, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.pax_headers = len(data), {"comment": "packed again"}
            tar.addfile(entry, io.BytesIO(data))
    again = index_shard(str(shard))
    assert again.digest == first.digest
    assert again.image_span(2) > begun
