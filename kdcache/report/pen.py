"""Text on pictures: one line, several lines, or as much of it as fits."""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

__all__ = ["Pen"]

Colour = tuple[int, int, int]


class Pen:
    """Writes on an image; sizes are in units of so many pixels.

    Attributes:
        image: the image.
        draw: for lines and boxes, in pixels.
    """

    def __init__(self, image: Image.Image, unit: float) -> None:
        self.image = image
        self.draw = ImageDraw.Draw(image)
        self._unit = unit

    def text(
        self,
        at: tuple[int, int],
        text: str,
        size: float,
        ink: Colour,
        *,
        width: int,
        align_right: bool = False,
    ) -> int:
        """Write one line into ``width`` pixels from ``at`` on, shortened if need be; return its width."""
        font = _font(size * self._unit)
        line = self._shortened(_writable(text), font, width)
        used = round(self.draw.textlength(line, font=font))
        left = at[0] + width - used if align_right else at[0]
        # Lines are placed by the height of capitals, so that sizes mix on one line.
        self.draw.text(
            (left, at[1] + round(0.72 * size * self._unit)), line, fill=ink, font=font, anchor="ls"
        )
        return used

    def wrapped(self, text: str, size: float, *, width: int, most: int) -> list[str]:
        """Cut a text at spaces into at most so many lines; the last one may be too long."""
        font, lines = _font(size * self._unit), list[str]()
        for word in _writable(text).split():
            longer = f"{lines[-1]} {word}" if lines else word
            if not lines or (len(lines) < most and self.draw.textlength(longer, font=font) > width):
                lines.append(word)
            else:
                lines[-1] = longer
        return lines

    def end_of(self, text: str, size: float, *, width: int) -> str:
        """Shorten a text from the left: keys differ at their end."""
        font, text = _font(size * self._unit), _writable(text)
        shown = text
        while len(text) > 1 and self.draw.textlength(shown, font=font) > width:
            text = text[1:]
            shown = f"…{text}"
        return shown

    def _shortened(self, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
        if self.draw.textlength(text, font=font) <= width:
            return text
        while text and self.draw.textlength(f"{text}…", font=font) > width:
            text = text[:-1].rstrip()
        return f"{text}…"


@lru_cache(maxsize=32)
def _font(pixels: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(6.0, pixels))


def _writable(text: str) -> str:
    """Return what the built-in font has letters for: accents go, other scripts become question marks.

    >>> _writable("crème brûlée"), _writable("猫")
    ('creme brulee', '?')
    """
    return "".join(_letters(unicodedata.normalize("NFKD", text)))


def _letters(text: str) -> Iterator[str]:
    for letter in text:
        if letter.isascii() and letter.isprintable():
            yield letter
        elif not unicodedata.combining(letter):
            yield letter if letter in "…·" else "?"
