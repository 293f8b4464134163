"""Members become samples as WebDataset groups them; what it would lose or blend is refused."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext, group_by_keys

from kdcache.data.samples import IMAGE_EXTS, SampleGrouper, split_name
from kdcache.data.tar import Member
from kdcache.errors import ShardError


def grouped(names: Sequence[str]) -> SampleGrouper:
    grouper = SampleGrouper(where="train-000.tar")
    grouper.add_all(Member(name, 512 * number, 5) for number, name in enumerate(names))
    return grouper


@given(name=st.text("ab./_A", min_size=1, max_size=12))
def test_keys_are_webdatasets_own(name: str) -> None:
    key, ext = base_plus_ext(name)
    if key is not None and ext is not None:
        assert split_name(name) == (key, ext.lower())


def test_samples_are_those_that_webdataset_sees() -> None:
    names = [
        "x/1.jpg",
        "x/1.cls",
        "x/1.json",
        "._x.jpg",
        "__meta__/y.jpg",
        "y/1.seg.png",
        "y/1.PNG",
        "z.webp",
    ]
    files = [{"fname": name, "data": b"", "__url__": ""} for name in names if not name.startswith("__")]
    assert grouped(names).keys == [sample["__key__"] for sample in group_by_keys(files)]


def test_an_index_has_image_and_label_of_each_sample() -> None:
    table = grouped(["1.json", "1.jpg", "1.cls", "2.txt", "2.PGM"]).table()
    assert table["image_offset"].tolist() == [512, 2048]
    assert table["label_size"].tolist() == [5, -1]
    assert [IMAGE_EXTS[ext] for ext in table["ext"]] == ["jpg", "pgm"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.jpg", "2.txt"], r"sample '2' has no images \(it has \.txt\); expected exactly one of jpg, jpeg"),
        (["README"], r"sample 'README' has no images"),
        (["1.jpg", "1.png"], r"sample '1' has 2 images \(it has \.jpg, \.png\)"),
        (["1.jpg", "1.JPG"], r"sample '1' has two members of type \.jpg; keys must be unique"),
        (["1.jpg", "2.jpg", "1.cls"], r"key '1' comes again at '1\.cls', after other samples"),
        (["1.jpg", "2.jpg", "1.jpg"], r"key '1' comes again"),
    ],
)
def test_what_is_no_sample_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(ShardError, match=rf"train-000\.tar: {message}"):
        grouped(names)


def test_an_error_says_how_many_samples_are_complete() -> None:
    with pytest.raises(ShardError, match=r"\(2 complete samples come before it, the last one '2'\)"):
        grouped(["1.jpg", "2.jpg", "3.txt", "4.jpg"])


def test_a_shard_without_samples_is_refused() -> None:
    with pytest.raises(ShardError, match=r"holds no sample; a sample is an image \(jpg, jpeg.* \.cls file"):
        grouped([]).table()


def test_a_label_that_is_a_book_is_refused() -> None:
    grouper = SampleGrouper(where="t.tar")
    with pytest.raises(ShardError, match=r"label '1\.cls' has 9000 bytes; expected one integer"):
        grouper.add_all([Member("1.jpg", 0, 5), Member("1.cls", 512, 9000)])
