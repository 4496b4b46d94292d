"""The parts of a picture that a crop must keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from service.engine.focus import best_offset, cover_window, find_focus, focus_boxes
from service.engine.networks import weights

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


def off_centre(photo: Pixels) -> Pixels:
    """The astronaut's head and shoulders at the right end of a long plain wall."""
    wall = np.full((320, 1000, 3), 200, np.uint8)
    wall[:, -260:] = photo[:, 30:290]
    return wall


def test_the_window_goes_where_the_face_is(seen_by: bool, photo: Callable[[str], Pixels]) -> None:
    picture = off_centre(photo("astronaut.png"))
    window = cover_window(find_focus(picture), 1000 / 320, 1.0)
    assert window.width == pytest.approx(320 / 1000, abs=0.01)
    assert window.left + window.width > 0.9


def test_faces_come_first(photo: Callable[[str], Pixels]) -> None:
    if weights.missing():
        pytest.skip("the networks are not installed")
    face, subject = focus_boxes(photo("astronaut.png"))
    assert 0.3 < face.left < 0.45
    assert subject.area > face.area


def test_the_same_picture_gives_the_same(photo: Callable[[str], Pixels]) -> None:
    one, other = (find_focus(photo("coffee.png")) for _ in range(2))
    assert np.array_equal(one.weights, other.weights)
    assert one.subject == other.subject


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 2), (40, 40)])
def test_any_picture_has_a_window(shape: tuple[int, int]) -> None:
    focus = find_focus(np.zeros((*shape, 3), np.uint8))
    window = cover_window(focus, shape[1] / shape[0], 16 / 9)
    assert 0 <= window.left <= window.right <= 1 + 1e-6
    assert 0 <= window.top <= window.bottom <= 1 + 1e-6


def test_of_equally_good_places_the_middle_one_is_taken() -> None:
    profile = np.zeros(100)
    profile[50] = 1
    kept, place = best_offset(profile, 0.5)
    assert kept == 1.0
    assert place == pytest.approx(0.5, abs=0.03)
