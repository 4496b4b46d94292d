"""The parts of a picture that a crop must keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from service.composition.crops import detector
from service.core.values import Size
from service.engine.compose import best_offset
from service.engine.focus import find_focus
from service.engine.networks import weights
from service.imaging.resize import cover_window

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(params=[True, False], ids=["networks", "contrast-alone"])
def seen_by(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[bool]:
    installed = weights.directory()
    if not request.param:
        weights.keep_in(tmp_path)
    elif weights.missing():
        pytest.skip("the networks are not installed")
    yield request.param
    weights.keep_in(installed)


def window_of(picture: Pixels, wanted: Size) -> tuple[float, float, float, float]:
    """The crop of a picture to another shape: left, top, right, bottom in shares of its sides."""
    find = detector()
    assert find is not None
    height, width = picture.shape[:2]
    left, top, right, bottom = cover_window(Size(width, height), wanted, find(picture))
    return left / width, top / height, right / width, bottom / height


def off_centre(photo: Pixels) -> Pixels:
    """The astronaut's head and shoulders at the right end of a long plain wall."""
    wall = np.full((320, 1000, 3), 200, np.uint8)
    wall[:, -260:] = photo[:, 30:290]
    return wall


def test_the_window_goes_where_the_face_is(seen_by: bool, photo: Callable[[str], Pixels]) -> None:
    picture = off_centre(photo("astronaut.png"))
    left, _, right, _ = window_of(picture, Size(100, 100))
    assert right - left == pytest.approx(320 / 1000, abs=0.01)
    assert right > 0.9


def test_faces_come_first(photo: Callable[[str], Pixels]) -> None:
    if weights.missing():
        pytest.skip("the networks are not installed")
    found = find_focus(photo("astronaut.png"))
    (face,), subject = found.faces, found.subject
    assert subject is not None
    assert 0.3 < face.left < 0.45
    assert subject.area > face.area


def test_the_same_picture_gives_the_same(photo: Callable[[str], Pixels]) -> None:
    one, other = (find_focus(photo("coffee.png")) for _ in range(2))
    assert one == other
    assert window_of(photo("coffee.png"), Size(9, 16)) == window_of(photo("coffee.png"), Size(9, 16))


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 2), (40, 40)])
def test_any_picture_has_a_window(shape: tuple[int, int]) -> None:
    left, top, right, bottom = window_of(np.zeros((*shape, 3), np.uint8), Size(1600, 900))
    assert 0 <= left <= right <= 1 + 1e-6
    assert 0 <= top <= bottom <= 1 + 1e-6


def test_of_equally_good_places_the_middle_one_is_taken() -> None:
    profile = np.zeros(100)
    profile[50] = 1
    kept, place = best_offset(profile, 0.5)
    assert kept == 1.0
    assert place == pytest.approx(0.5, abs=0.03)
