"""What a pipeline hands over is taken as it is, or refused with a way out."""

from typing import Any

import pytest

from kdcache.data.foreign import encoded_image, expand_urls, label_text, refuse_pipe, shard_name
from kdcache.errors import ConfigError, ShardError


def test_a_list_of_patterns_is_expanded_in_order() -> None:
    assert expand_urls(["b-{0..1}.tar", "a.tar"]) == ["b-0.tar", "b-1.tar", "a.tar"]


@pytest.mark.parametrize("url", ["/data/t.tar", "t.tar", "file:///data/t.tar", "s3://bucket/x/t.tar"])
def test_a_shard_is_known_by_its_file_name(url: str) -> None:
    assert shard_name(url) == "t.tar"


def test_the_bytes_of_the_only_image_are_taken() -> None:
    assert encoded_image({"jpg": b"1", "seg.png": b"2", "cls": b"3"}, where="here") == b"1"


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"cls": b"3"}, "here: it has no images"),
        ({"jpg": b"1", "png": b"2"}, "here: it has 2 images"),
        ({"jpg": 1}, "here: its .jpg is decoded already"),
    ],
)
def test_anything_else_is_refused(sample: dict[str, Any], message: str) -> None:
    with pytest.raises(ShardError, match=message):
        encoded_image(sample, where="here")


@pytest.mark.parametrize(
    ("label", "text"),
    [(b"0", "0"), (b"", ""), (b"000", "0"), ("+12", "12"), (b"x\xff", "x\\xff"), (-1, "-1")],
)
def test_a_label_is_compared_as_plain_digits(label: Any, text: str) -> None:
    assert label_text({"cls": label}) == text


def test_a_command_is_refused_unless_asked_for() -> None:
    refuse_pipe("pipe:cat a.tar", allowed=True)
    refuse_pipe("/data/pipe:a.tar", allowed=False)
    with pytest.raises(ConfigError, match="WDS_SECURE=1"):
        refuse_pipe("pipe:cat a.tar", allowed=False)
