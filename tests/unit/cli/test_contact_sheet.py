from __future__ import annotations

from collections.abc import Callable

import pytest

from service.cli.contact_sheet import CELL, contact_sheet
from service.core.errors import GatewayError


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (5, 3, 2), (11, 4, 3)])
def test_pictures_stand_in_rows_of_at_most_four(
    picture: Callable[..., bytes], count: int, columns: int, rows: int
) -> None:
    sheet = contact_sheet([(str(number), picture(size=(CELL, CELL))) for number in range(count)])
    assert (sheet.width // CELL, sheet.height // CELL) == (columns, rows)


def test_cells_have_the_shape_of_the_pictures(picture: Callable[..., bytes]) -> None:
    landscape = contact_sheet([(str(number), picture(size=(600, 400))) for number in range(4)])
    upright = contact_sheet([(str(number), picture(size=(400, 600))) for number in range(4)])
    square = contact_sheet([(str(number), picture(size=(600, 600))) for number in range(4)])
    assert landscape.width == square.width
    assert square.height - landscape.height == 2 * (CELL - CELL * 400 // 600)
    assert square.width - upright.width == 2 * (CELL - CELL * 400 // 600)


def test_pictures_of_any_shape_and_long_names_stay_in_their_cells(picture: Callable[..., bytes]) -> None:
    wide, tall = picture("red", "PNG", (3000, 10)), picture("red", "PNG", (10, 3000))
    plain = contact_sheet([("a", wide), ("b", tall)])
    assert contact_sheet([("long name " * 30, wide), ("b", tall)]).size == plain.size
    assert contact_sheet([("long name " * 30, tall)]).size == contact_sheet([("a", tall)]).size


def test_something_else_is_refused() -> None:
    with pytest.raises(GatewayError):
        contact_sheet([("a", b"GIF89a")])
