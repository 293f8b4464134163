import io
import time
from importlib import resources

import pytest
from PIL import Image
from PIL import __version__ as pillow_version

from kdcache.views import fingerprint
from kdcache.views.fingerprint import PROBES, decoder_fingerprint, drifted_probes

EXPECTED = {
    "probe:baseline.jpg": "ce725be81197d4a9",
    "probe:progressive.jpg": "ebb4736af3bd1444",
    "probe:cmyk.jpg": "2228fc5df33533e3",
    "probe:rotated.jpg": "3985f865b1fffce4",
    "probe:grey16.png": "4584b8cdfeca006a",
    "probe:lossy.webp": "64b21d497212ad50",
    "probe:ops": "96e8a5cf1e21b8cb",
}


def probe(name: str) -> Image.Image:
    return Image.open(io.BytesIO(resources.files("kdcache.views.probes").joinpath(name).read_bytes()))


def test_the_fingerprint_names_what_decodes() -> None:
    found = decoder_fingerprint()
    assert found["pillow"] == pillow_version
    assert {"libjpeg_turbo", "zlib", "webp"} < set(found)
    assert all(isinstance(value, str) and value for value in found.values())


def test_the_probes_come_out_as_they_did_where_the_golden_views_were_made() -> None:
    assert {name: value for name, value in decoder_fingerprint().items() if ":" in name} == EXPECTED


def test_the_probes_are_of_the_kinds_that_decoders_disagree_on() -> None:
    assert probe("progressive.jpg").info["progressive"]
    assert "progressive" not in probe("baseline.jpg").info
    assert probe("cmyk.jpg").mode == "CMYK"
    assert probe("rotated.jpg").getexif()[0x0112] == 6
    assert probe("grey16.png").mode == "I;16"
    assert probe("lossy.webp").format == "WEBP"
    assert {f"probe:{name}" for name in PROBES} < set(EXPECTED)


def test_the_fingerprint_takes_milliseconds() -> None:
    fingerprint._probe_digests.cache_clear()
    started = time.process_time()
    decoder_fingerprint()
    assert time.process_time() - started < 0.05


@pytest.mark.parametrize(
    ("changes", "drifted"),
    [
        ({}, ()),
        ({"pillow": "0.1"}, ()),
        ({"probe:cmyk.jpg": "0"}, ("probe:cmyk.jpg",)),
        ({"probe:new.avif": "0"}, ("probe:new.avif",)),
    ],
)
def test_drift_is_told_from_pixels_not_from_versions(
    changes: dict[str, str], drifted: tuple[str, ...]
) -> None:
    found = decoder_fingerprint()
    assert drifted_probes({**found, **changes}, found) == drifted
    assert drifted_probes(found, {**found, **changes}) == drifted
