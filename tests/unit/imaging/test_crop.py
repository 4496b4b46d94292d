"""A crop keeps what matters in the picture, and a contained picture keeps all of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.values import Size
from service.imaging.picture import Picture
from service.imaging.resize import Focus, contain, contour_map, cover_by_content, cover_window, resize_cover

WIDE, TALL = Size(1792, 1024), Size(1024, 1792)
unit = st.floats(0, 1, allow_nan=False)


def box(*sides: float) -> Focus:
    return Focus(sides)  # type: ignore[arg-type]


class TestWindow:
    @settings(max_examples=200, deadline=None)
    @given(
        *[st.integers(1, 5000)] * 4,
        st.lists(st.tuples(unit, unit, unit, unit, st.floats(0.01, 10)), max_size=5),
    )
    def test_it_lies_within_the_picture_and_has_the_shape(self, width, height, to_width, to_height, boxes) -> None:
        focus = [Focus((min(a, c), min(b, d), max(a, c), max(b, d)), weight) for a, b, c, d, weight in boxes]
        size, wanted = Size(width, height), Size(to_width, to_height)
        left, top, right, bottom = cover_window(size, wanted, focus)
        assert -1e-6 <= left < right <= width + 1e-6
        assert -1e-6 <= top < bottom <= height + 1e-6
        assert (right - left) / (bottom - top) == pytest.approx(wanted.aspect, rel=1e-6)
        assert right - left == pytest.approx(width) or bottom - top == pytest.approx(height)
        assert cover_window(size, wanted, focus) == (left, top, right, bottom)

    @pytest.mark.parametrize("face", [(0.4, 0.02, 0.6, 0.2), (0.3, 0.7, 0.7, 0.95), (0.1, 0.3, 0.4, 0.5)])
    def test_a_face_on_a_portrait_is_kept_whole_in_a_landscape(self, face) -> None:
        _, top, _, bottom = cover_window(Size(800, 1200), WIDE, [box(*face)])
        assert top <= face[1] * 1200 + 1e-6
        assert bottom >= face[3] * 1200 - 1e-6

    def test_a_group_that_fits_is_kept_together(self) -> None:
        faces = [box(x, 0.3, x + 0.08, 0.45) for x in (0.02, 0.14, 0.26, 0.36)]
        left, _, right, _ = cover_window(Size(1600, 900), Size(1024, 1024), faces)
        assert left <= 0.02 * 1600
        assert right >= 0.44 * 1600

    def test_where_not_all_fit_the_heavier_ones_stay(self) -> None:
        light, heavy = Focus((0.0, 0.2, 0.2, 0.6), 1.0), Focus((0.8, 0.2, 1.0, 0.6), 3.0)
        left, _, right, _ = cover_window(Size(2000, 1000), TALL, [light, heavy])
        assert (left, right) == pytest.approx((2000 - 1000 * 1024 / 1792, 2000), abs=130)
        assert right >= 1990

    def test_a_subject_larger_than_the_window_is_shown_from_its_middle(self) -> None:
        left, _, right, _ = cover_window(Size(2000, 1000), TALL, [box(0.3, 0.0, 0.9, 1.0)])
        assert (left + right) / 2 == pytest.approx(0.6 * 2000, abs=1)

    def test_a_box_without_extent_pulls_and_does_not_break(self) -> None:
        left, _, right, _ = cover_window(Size(2000, 1000), TALL, [box(0.9, 0.5, 0.9, 0.5)])
        assert left <= 1800 <= right

    def test_without_anything_to_go_by_it_is_the_middle(self) -> None:
        assert cover_window(Size(300, 100), Size(100, 100)) == (100, 0, 200, 100)
        assert cover_window(Size(100, 300), Size(100, 100)) == (0, 100, 100, 200)


def scene(at: float, width: int = 600, height: int = 200) -> Picture:
    """An even ground with a striped square, its middle at a share of the width."""
    pixels = np.full((height, width, 3), 180, np.uint8)
    left = round(at * width) - 40
    pixels[60:140, left : left + 80] = np.where(np.arange(80) // 8 % 2, 20, 240)[None, :, None]
    return Picture.from_array(pixels)


class TestContent:
    @pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7, 0.9])
    def test_the_window_goes_where_the_contours_are(self, at) -> None:
        cropped = cover_by_content(scene(at), Size(200, 200)).array()
        # All ten stripes are in it.
        row = cropped[100, :, 0].astype(int)
        assert (np.abs(np.diff(row)) > 100).sum() >= 9

    def test_an_even_picture_is_cropped_in_the_middle(self) -> None:
        for pixels in (np.full((90, 300, 3), 77, np.uint8), np.full((300, 90, 4), 9, np.uint8)):
            picture = Picture.from_array(pixels)
            assert cover_by_content(picture, Size(60, 60)).window == resize_cover(picture, Size(60, 60)).window

    def test_grain_is_no_content(self) -> None:
        noise = np.random.default_rng(1).normal(128, 2, (200, 600, 3)).clip(0, 255).astype(np.uint8)
        picture = Picture.from_array(noise)
        assert contour_map(picture).sum() == 0
        assert cover_by_content(picture, Size(200, 200)).window == pytest.approx((200, 0, 400, 200))

    def test_focus_goes_before_contours(self) -> None:
        cropped = cover_by_content(scene(0.9), Size(200, 200), [box(0.0, 0.0, 0.1, 1.0)])
        assert cropped.window[0] == 0

    def test_it_is_deterministic_and_exact_in_size(self, picture) -> None:
        source = Picture.from_array(np.asarray(picture(321, 200)))
        first, second = (cover_by_content(source, Size(64, 96)).array() for _ in range(2))
        assert np.array_equal(first, second)
        assert first.shape == (96, 64, 3)


class TestContain:
    @settings(max_examples=60, deadline=None)
    @given(*[st.integers(1, 200)] * 4, st.sampled_from([None, (1, 2, 3)]), st.sampled_from([3, 4]))
    def test_the_size_is_exact(self, width, height, to_width, to_height, ground, channels) -> None:
        source = Picture.from_array(np.full((height, width, channels), 200, np.uint8))
        assert contain(source, Size(to_width, to_height), ground).array().shape[:2] == (to_height, to_width)

    def test_the_whole_picture_is_in_the_middle_of_the_ground(self, picture) -> None:
        shown = contain(Picture.from_array(np.asarray(picture(100, 50))), Size(100, 100), (10, 200, 30)).array()
        assert np.array_equal(shown[25:75], np.asarray(picture(100, 50)))
        assert (shown[:25] == (10, 200, 30)).all()
        assert (shown[75:] == (10, 200, 30)).all()

    def test_a_blurred_ground_has_the_pictures_colours_and_no_detail(self, picture) -> None:
        shown = contain(Picture.from_array(np.asarray(picture(300, 150))), Size(300, 300)).array().astype(int)
        ground = shown[:70]
        assert np.abs(np.diff(ground, axis=1)).max() <= 6
        assert np.abs(ground.mean((0, 1)) - np.asarray(picture(300, 150), int)[:35].mean((0, 1))).max() < 60

    def test_transparent_parts_show_the_ground(self) -> None:
        pixels = np.zeros((50, 100, 4), np.uint8)
        pixels[:, :50] = (255, 0, 0, 255)
        shown = contain(Picture.from_array(pixels), Size(100, 100), (0, 0, 255)).array()
        assert shown[50, 10].tolist() == [255, 0, 0]
        assert shown[50, 90].tolist() == [0, 0, 255]
