"""The contact sheet: samples down, augmentation seeds across, and what the teacher thinks of each view."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdcache.report.pen import Pen

__all__ = ["Guess", "SheetRow", "SheetView", "contact_sheet"]

_INK, _SOFT, _FAINT, _PAPER = (22, 26, 34), (98, 106, 120), (226, 230, 236), (255, 255, 255)
_ALARM = (206, 48, 48)
_BARS = {"label": (24, 116, 205), "partner": (232, 154, 32), "other": (164, 172, 184)}

# Lengths are in units of 1/160 of a cell, so that text keeps its proportion to the pictures.
_CELL = 160
_MARGIN, _GUTTER, _LABEL_WIDTH, _ROW_GAP = 30, 10, 126, 26
_TITLE, _SUBTITLE, _SEED, _LABEL, _KEY, _SMALL = 21, 12, 11.5, 15, 10.5, 11
_GUESS_HEIGHT, _CAPTION_HEIGHT, _BAR_HEIGHT = 22, 18, 3
_CELL_PIXELS, _LARGEST_CELL = 448, 512


@dataclass(frozen=True, slots=True)
class Guess:
    """One of the teacher's classes for a view: the sample's label, its partner's, or another one."""

    name: str
    prob: float
    role: Literal["label", "partner", "other"] = "other"


@dataclass(frozen=True, slots=True)
class SheetView:
    """One cell of the sheet.

    Attributes:
        view_3HW: uint8.
        caption: how it is mixed, if it is.
        guesses: the teacher's best classes, best first; empty without a cache.
        alarm: what is wrong with the view; it is then framed.
    """

    view_3HW: NDArray[np.uint8]
    caption: str = ""
    guesses: Sequence[Guess] = ()
    alarm: str = ""


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One sample: its key, its class name or number (or nothing), and a view for each column."""

    key: str
    label: str
    views: Sequence[SheetView]


def contact_sheet(
    rows: Sequence[SheetRow],
    *,
    aug_seeds: Sequence[int],
    title: str,
    subtitle: str = "",
    footer: str = "",
) -> Image.Image:
    """Draw the sheet as an RGB image.

    Views are enlarged by a whole number to cells of about 448 pixels, which is sharp on a projector; those of
    more than 512 pixels are reduced.
    """
    layout = _Layout.of(rows, num_columns=len(aug_seeds), has_footer=bool(footer))
    pen = Pen(Image.new("RGB", layout.size, _PAPER), layout.unit)
    _draw_head(pen, layout, title, subtitle, aug_seeds)
    for number, row in enumerate(rows):
        _draw_row(pen, layout, row, top=layout.first_row + number * layout.row_height)
    if footer:
        bottom = layout.size[1] - layout.px(_MARGIN) - layout.px(_SMALL)
        pen.text((layout.px(_MARGIN), bottom), footer, _SMALL, _SOFT, width=layout.inner_width)
    return pen.image


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are, in pixels."""

    unit: float
    cell: tuple[int, int]
    num_rows: int
    num_columns: int
    caption_height: int
    guesses_height: int
    footer_height: int

    @classmethod
    def of(cls, rows: Sequence[SheetRow], *, num_columns: int, has_footer: bool) -> Self:
        views = [view for row in rows for view in row.views]
        height, width = views[0].view_3HW.shape[1:] if views else (_CELL_PIXELS, _CELL_PIXELS)
        scale = _scale(max(height, width))
        cell = max(1, round(width * scale)), max(1, round(height * scale))
        unit = cell[0] / _CELL
        has_caption = any(view.caption or view.alarm for view in views)
        num_guesses = max((len(view.guesses) for view in views), default=0)
        return cls(
            unit=unit,
            cell=cell,
            num_rows=len(rows),
            num_columns=num_columns,
            caption_height=round(unit * _CAPTION_HEIGHT) if has_caption else 0,
            guesses_height=round(unit * (_GUESS_HEIGHT * num_guesses + 2)) if num_guesses else 0,
            footer_height=round(unit * 2.8 * _SMALL) if has_footer else 0,
        )

    def px(self, units: float) -> int:
        """Return a length in pixels."""
        return round(units * self.unit)

    def column(self, number: int) -> int:
        """Return the left edge of a column of views."""
        return self.px(_MARGIN + _LABEL_WIDTH) + number * (self.cell[0] + self.px(_GUTTER))

    @property
    def first_row(self) -> int:
        """The top of the first row of views."""
        return self.px(_MARGIN + _TITLE + 1.9 * _SUBTITLE + 36)

    @property
    def row_height(self) -> int:
        """From the top of one row to the top of the next."""
        return self.cell[1] + self.caption_height + self.guesses_height + self.px(_ROW_GAP)

    @property
    def inner_width(self) -> int:
        """The width between the margins."""
        return self.size[0] - 2 * self.px(_MARGIN)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the sheet."""
        width = self.column(self.num_columns) - self.px(_GUTTER) + self.px(_MARGIN)
        rows = self.num_rows * self.row_height - self.px(_ROW_GAP)
        return width, self.first_row + rows + self.footer_height + self.px(_MARGIN)


def _scale(side: int) -> float:
    """Return by how much views are enlarged: by a whole number, so that their pixels stay square.

    >>> _scale(224), _scale(28), _scale(384), _scale(1024)
    (2, 16, 1, 0.5)
    """
    return max(1, round(_CELL_PIXELS / side)) if side <= _LARGEST_CELL else _LARGEST_CELL / side


def _draw_head(pen: Pen, layout: _Layout, title: str, subtitle: str, aug_seeds: Sequence[int]) -> None:
    left, top, width = layout.px(_MARGIN), layout.px(_MARGIN), layout.inner_width
    pen.text((left, top), title, _TITLE, _INK, width=width)
    pen.text((left, top + layout.px(_TITLE + 5)), subtitle, _SUBTITLE, _SOFT, width=width)
    line = layout.first_row - layout.px(12)
    for number, aug_seed in enumerate(aug_seeds):
        at = layout.column(number), line - layout.px(7 + 0.72 * _SEED)
        pen.text(at, f"aug_seed {aug_seed}", _SEED, _SOFT, width=layout.cell[0])
    _rule(pen, layout, line)


def _draw_row(pen: Pen, layout: _Layout, row: SheetRow, *, top: int) -> None:
    left, width, y = layout.px(_MARGIN), layout.px(_LABEL_WIDTH - 14), top
    for line in pen.wrapped(row.label, _LABEL, width=width, most=3):
        pen.text((left, y), line, _LABEL, _INK, width=width)
        y += layout.px(1.3 * _LABEL)
    pen.text((left, y + layout.px(3)), pen.end_of(row.key, _KEY, width=width), _KEY, _SOFT, width=width)
    for number, view in enumerate(row.views):
        _draw_view(pen, layout, view, left=layout.column(number), top=top)


def _draw_view(pen: Pen, layout: _Layout, view: SheetView, *, left: int, top: int) -> None:
    cell = layout.cell
    pen.image.paste(_scaled(view.view_3HW, cell), (left, top))
    if view.alarm:
        frame = (left - 1, top - 1, left + cell[0], top + cell[1])
        pen.draw.rectangle(frame, outline=_ALARM, width=layout.px(3))
    y = top + cell[1] + layout.px(6)
    if view.alarm or view.caption:
        ink = _ALARM if view.alarm else _SOFT
        pen.text((left, y), view.alarm or view.caption, _SMALL, ink, width=cell[0])
    y += layout.caption_height
    for guess in view.guesses:
        _draw_guess(pen, layout, guess, left=left, top=y)
        y += layout.px(_GUESS_HEIGHT)


def _draw_guess(pen: Pen, layout: _Layout, guess: Guess, *, left: int, top: int) -> None:
    """Write name and percentage over a bar as long as the probability."""
    width = layout.cell[0]
    ink = _SOFT if guess.role == "other" else _INK
    used = pen.text((left, top), _percent(guess.prob), _SMALL, ink, width=width, align_right=True)
    pen.text((left, top), guess.name, _SMALL, ink, width=width - used - layout.px(8))
    bar = top + layout.px(0.72 * _SMALL + 4)
    bottom = bar + max(1, layout.px(_BAR_HEIGHT)) - 1
    pen.draw.rectangle((left, bar, left + width - 1, bottom), fill=_FAINT)
    length = round(width * guess.prob)
    if length:
        pen.draw.rectangle((left, bar, left + length - 1, bottom), fill=_BARS[guess.role])


def _rule(pen: Pen, layout: _Layout, y: int) -> None:
    ends = (layout.px(_MARGIN), y, layout.size[0] - layout.px(_MARGIN), y)
    pen.draw.line(ends, fill=_FAINT, width=max(1, layout.px(1)))


def _percent(prob: float) -> str:
    """Return a probability as people read it.

    >>> _percent(0.9999), _percent(0.004)
    ('100%', '<1%')
    """
    return "<1%" if 0.0 < prob < 0.005 else f"{100 * prob:.0f}%"


def _scaled(view_3HW: NDArray[np.uint8], cell: tuple[int, int]) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(view_3HW.transpose(1, 2, 0)))
    enlarge = Image.Resampling.NEAREST if cell[0] >= picture.width else Image.Resampling.LANCZOS
    return picture.resize(cell, enlarge)
