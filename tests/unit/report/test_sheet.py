"""The contact sheet is a picture whose parts are where they should be."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from kdcache.report.sheet import Guess, SheetRow, SheetView, contact_sheet

BLUE, AMBER, RED = (24, 116, 205), (232, 154, 32), (206, 48, 48)
MARGIN = 84


def plain(value: int = 0, *, size: tuple[int, int] = (28, 28)) -> NDArray[np.uint8]:
    return np.full((3, *size), value, dtype=np.uint8)


def sheet(*views: SheetView, rows: int = 1, **texts: str) -> Image.Image:
    return contact_sheet(
        [SheetRow(f"s{n}", "ankle boot", views) for n in range(rows)],
        aug_seeds=range(len(views)),
        title="View policy light",
        **texts,
    )


def pixels_of(image: Image.Image, colour: Sequence[int]) -> int:
    return int((np.asarray(image) == np.array(colour, dtype=np.uint8)).all(axis=2).sum())


def test_small_views_are_enlarged_without_blur() -> None:
    view_3HW = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    image = np.asarray(sheet(SheetView(view_3HW)))
    enlarged = view_3HW.repeat(16, axis=1).repeat(16, axis=2).transpose(1, 2, 0)
    right = image.shape[1] - MARGIN
    rows = range(len(image) - 447)
    assert any(np.array_equal(image[y : y + 448, right - 448 : right], enlarged) for y in rows)


@pytest.mark.parametrize(("size", "cell"), [((224, 224), 448), ((384, 384), 384), ((1024, 1024), 512)])
def test_cells_are_about_as_large_whatever_the_views_are(size: tuple[int, int], cell: int) -> None:
    image = sheet(SheetView(plain(1, size=size)))
    assert pixels_of(image, (1, 1, 1)) == cell * cell


def test_views_need_not_be_square() -> None:
    image = sheet(SheetView(plain(1, size=(64, 32))))
    assert pixels_of(image, (1, 1, 1)) == (64 * 7) * (32 * 7)


def test_every_row_and_column_adds_as_much() -> None:
    one = sheet(SheetView(plain()))
    wider, taller = sheet(SheetView(plain()), SheetView(plain())), sheet(SheetView(plain()), rows=2)
    assert (wider.width - one.width, wider.height) == (448 + 28, one.height)
    assert (taller.width, taller.height - one.height) == (one.width, 448 + 73)


def test_a_bar_is_as_long_as_the_probability() -> None:
    views = [SheetView(plain(), guesses=[Guess("boot", prob, "label")]) for prob in (0.25, 0.5)]
    half, quarter = pixels_of(sheet(views[1]), BLUE), pixels_of(sheet(views[0]), BLUE)
    assert half == 2 * quarter > 0


def test_the_partners_class_has_a_colour_of_its_own() -> None:
    assert pixels_of(sheet(SheetView(plain(), guesses=[Guess("bag", 0.5, "partner")])), AMBER) > 0


def test_an_alarm_frames_the_view() -> None:
    assert pixels_of(sheet(SheetView(plain())), RED) == 0
    assert pixels_of(sheet(SheetView(plain(), alarm="not the cached view")), RED) > 4 * 448


def test_long_and_foreign_texts_fit() -> None:
    guess = Guess("a very long name of a class that nobody could read in so little space", 0.001)
    view = SheetView(plain(), caption="50% own + 50% 猫 of a breed whose name is long", guesses=[guess])
    row = SheetRow("folder/with/a/very/long/key/that/ends/in/00000293", "crème brûlée " * 12, [view])
    texts = {"title": "t" * 500, "subtitle": "s" * 900, "footer": "f" * 900}
    image = contact_sheet([row], aug_seeds=[0], **texts)
    margin = np.asarray(image)[:, 2 - MARGIN :]
    assert (margin == 255).all()


def test_a_sheet_without_rows_is_a_title() -> None:
    assert contact_sheet([], aug_seeds=[0], title="nothing").size[1] > 0
