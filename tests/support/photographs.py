"""Real photographs, as they lie in the wheels of scikit-image and scikit-learn: read where they are, not copied.

Nothing is fetched: scikit-image's own loaders would download what its wheel lacks.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tests.support.shards import write_members

__all__ = ["Photograph", "photographs", "write_photographs"]

_SCIKIT_IMAGE = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
_SCIKIT_LEARN = ("china.jpg", "flower.jpg")

_LABELS = {
    "camera": 872,  # a camera on a tripod, and the man behind it
    "coffee": 967,  # an espresso in its cup
    "china": 698,  # the tower of the Summer Palace in Beijing
}
"""ImageNet classes, by looking at the pictures, where no other class would do as well: the cat is as much a
tabby as a tiger cat, and there is no class for motorcycles or dahlias."""


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph.

    Attributes:
        name: file name without suffix; its sample key.
        suffix: ``jpg`` or ``png``.
        encoded: the file's bytes.
        label: its ImageNet-1k class, where that is beyond doubt.
    """

    name: str
    suffix: str
    encoded: bytes
    label: int | None


def photographs() -> tuple[Photograph, ...]:
    """Return the 19 photographs, 9 of them grey, from 384 x 191 to 1411 x 1411 pixels."""
    folders = (
        (files("skimage") / "data", _SCIKIT_IMAGE),
        (files("sklearn.datasets") / "images", _SCIKIT_LEARN),
    )
    found = []
    for folder, names in folders:
        for file_name in names:
            name, _, suffix = file_name.partition(".")
            encoded = (folder / file_name).read_bytes()
            found.append(Photograph(name, suffix, encoded, _LABELS.get(name)))
    return tuple(found)


def write_photographs(path: Path) -> Path:
    """Write them to a WebDataset shard, in order, with the labels that there are."""
    members = []
    for photograph in photographs():
        members.append((f"{photograph.name}.{photograph.suffix}", photograph.encoded))
        if photograph.label is not None:
            members.append((f"{photograph.name}.cls", str(photograph.label).encode()))
    return write_members(path, members)
