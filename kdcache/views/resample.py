"""Resizing by one pass for each axis, in an order that we choose.

Both passes round to bytes, so their order shows in the pixels. Pillow up to 12 always went horizontally
first, Pillow 13 goes vertically first for tall images. Named passes give equal pixels under all of them;
the order is Pillow 13's, so a view is also what timm and torchvision make of the image there.
"""

from PIL import Image

__all__ = ["resize"]


def resize(
    image: Image.Image,
    size: tuple[int, int],
    resampling: Image.Resampling,
    *,
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """Return ``image``, or the ``box`` of it, resized to (width, height).

    An image that has that size already is returned as it is. With a box, the filter sees pixels around it.
    """
    left, top, right, bottom = box or (0, 0, *image.size)
    if _goes_vertically_first(image.size, size):
        image = _pass(image, (image.size[0], size[1]), resampling, (0, top, image.size[0], bottom))
        return _pass(image, size, resampling, (left, 0, right, size[1]))
    image = _pass(image, (size[0], image.size[1]), resampling, (left, 0, right, image.size[1]))
    return _pass(image, size, resampling, (0, top, size[0], bottom))


def _goes_vertically_first(old: tuple[int, int], new: tuple[int, int]) -> bool:
    fewer_rows = old[1] - new[1]
    return fewer_rows > 0 and fewer_rows > 2 * (old[0] - new[0])


def _pass(
    image: Image.Image,
    size: tuple[int, int],
    resampling: Image.Resampling,
    box: tuple[float, float, float, float],
) -> Image.Image:
    whole = (0.0, 0.0, float(size[0]), float(size[1]))
    if image.size == size and box == whole:
        return image
    return image.resize(size, resampling, box=box)
