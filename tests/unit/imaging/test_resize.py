"""Sizes come out exactly, and what is shown is the middle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.values import Size
from service.imaging.picture import Picture
from service.imaging.resize import Focus, cover_by_detector, crop_square, fit_within, resize, resize_cover, size_within

sides = st.integers(1, 300)


@settings(max_examples=80, deadline=None)
@given(sides, sides, sides, sides)
def test_covering_gives_exactly_the_size(width, height, to_width, to_height) -> None:
    wanted = Size(to_width, to_height)
    covered = resize_cover(Picture.from_array(np.zeros((height, width, 3), np.uint8)), wanted)
    assert (covered.size, covered.array().shape) == (wanted, (to_height, to_width, 3))


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 9_000), st.integers(1, 10**8))
def test_sizes_within_limits_are_within_them_and_never_larger(width, height, max_side, max_pixels) -> None:
    size = size_within(Size(width, height), max_side=max_side, max_pixels=max_pixels)
    assert 1 <= size.width <= min(width, max_side)
    assert 1 <= size.height <= min(height, max_side)
    assert size.pixels <= max_pixels


def test_sizes_keep_their_proportions() -> None:
    assert size_within(Size(4000, 3000), max_side=1024, max_pixels=10**9) == Size(1024, 768)
    assert size_within(Size(4000, 2000), max_side=9000, max_pixels=2_000_000) == Size(2000, 1000)
    assert size_within(Size(40, 30), max_side=1024, max_pixels=10**9) == Size(40, 30)


def test_covering_cuts_both_sides_equally_and_does_not_stretch() -> None:
    stripes = np.zeros((90, 300, 3), np.uint8)
    stripes[:, :100, 0] = stripes[:, 100:200, 1] = stripes[:, 200:, 2] = 255
    middle = resize_cover(Picture.from_array(stripes), Size(30, 30)).array()
    assert (middle[:, 5:25, 1] > 240).all()
    assert abs(int(middle[:, 0, 0].mean()) - int(middle[:, -1, 2].mean())) <= 2


def test_an_image_of_the_right_size_is_not_touched(picture) -> None:
    image = Picture.from_array(np.asarray(picture(40, 40)))
    assert resize_cover(image, Size(40, 40)) is image
    assert resize(image, Size(40, 40)) is image
    assert crop_square(image) is image
    assert fit_within(image, max_side=40, max_pixels=1600) is image


@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60), (62, 40)])
def test_the_square_of_a_picture_without_contours_is_the_middle(width, height) -> None:
    across, down = np.meshgrid(np.arange(width, dtype=np.uint8), np.arange(height, dtype=np.uint8))
    image = Picture.from_array(np.stack([across, down, down], axis=2))
    square = crop_square(image)
    assert square.size == Size(40, 40)
    left, top = (width - 40) // 2, (height - 40) // 2
    assert np.array_equal(square.array(), image.array()[top : top + 40, left : left + 40])


@pytest.mark.parametrize(("width", "height", "box"), [(60, 40, (0.0, 0.2, 0.3, 0.8)), (40, 60, (0.2, 0.7, 0.8, 1.0))])
def test_the_square_keeps_what_a_detector_finds(picture, width, height, box) -> None:
    image = Picture.from_array(np.asarray(picture(width, height)))
    square = crop_square(image, lambda view: [Focus(box)])
    left, top = (0, 0) if width > height else (0, 20)
    assert np.array_equal(square.array(), image.array()[top : top + 40, left : left + 40])


def test_a_detector_is_shown_an_opaque_reduced_picture_and_only_where_something_is_cut_off() -> None:
    views: list[tuple[int, ...]] = []

    def detector(view) -> list[Focus]:
        views.append(view.shape)
        return []

    image = Picture.from_array(np.zeros((1000, 2000, 4), np.uint8))
    cover_by_detector(image, Size(2000, 1000), detector)
    cover_by_detector(image, Size(1000, 500), detector)
    assert views == []
    cover_by_detector(image, Size(1000, 1000), detector)
    assert views == [(320, 640, 3)]


def test_transparent_colours_do_not_bleed_into_edges() -> None:
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[:, :20] = (255, 0, 0, 255)
    pixels[:, 20:] = (0, 255, 0, 0)
    shrunk = resize(Picture.from_array(pixels), Size(7, 7)).array()
    assert (shrunk[shrunk[:, :, 3] > 40][:, 1] < 10).all()
