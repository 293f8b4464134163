import pytest

from kdcache.views.params import MatchStream, MixStream, Stream, ViewParams


def test_stream_numbers_are_part_of_format_1() -> None:
    assert {stream.name: int(stream) for stream in Stream} == {
        "CROP": 0,
        "FLIP": 1,
        "RAND_AUGMENT": 2,
        "THREE_AUGMENT": 3,
        "COLOUR_JITTER": 4,
        "ERASING": 5,
        "ERASING_NOISE": 6,
    }
    assert [int(stream) for stream in MixStream] == [0, 1, 2]
    assert [int(stream) for stream in MatchStream] == [0]


def test_parameters_cannot_be_changed_and_can_be_compared() -> None:
    params = ViewParams((0, 0, 4, 4), (4, 4), (0, 0, 4, 4))
    assert params == ViewParams((0, 0, 4, 4), (4, 4), (0, 0, 4, 4))
    assert len({params, ViewParams((0, 0, 4, 4), (4, 4), (0, 0, 4, 4))}) == 1
    with pytest.raises(AttributeError):
        params.flip = True  # type: ignore[misc]
