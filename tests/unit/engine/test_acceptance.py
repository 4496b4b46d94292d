"""A variation that a stranger would accept shows the same scene, whole, legible, once; four show four ideas."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from statistics import median

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import skimage
from PIL import Image
from variation_measures import Explanation, colour_change, explain, pair_distance

from service.core.values import Size
from service.engine import Source, vary
from service.engine.kinds import PHOTOGRAPHS, Kind
from service.engine.networks import weights
from service.engine.networks.faces import find_faces
from service.engine.networks.text import find_text, is_readable

Pixels = npt.NDArray[np.uint8]

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
IMAGES = 4
SIDE = 320

MOST_EXPLAINED = 0.97
MOST_EXPLAINED_MEDIAN = 0.88
LEAST_INLIERS = 40
LEAST_PAIR_BITS = 30
LEAST_PAIR_COLOUR = 6.0
WHITE, NO_LONGER_WHITE, BLACK = 253, 240, 2

needs_networks = pytest.mark.skipif(
    bool(weights.missing()), reason="the networks are not installed (image-variations engine install)"
)


_EXPLANATIONS: dict[str, list[Explanation]] = {}


@cache
def variations(source: Source, size: Size) -> list[Pixels]:
    return [vary(source, size, seed=1, index=index) for index in range(IMAGES)]


@cache
def shipped(name: str) -> Pixels:
    """A picture of the scikit-image package, its long side reduced to 320."""
    with Image.open(f"{skimage.__path__[0]}/data/{name}") as image:
        picture = image.convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)


@cache
def set_of_four(name: str) -> tuple[Source, list[Pixels]]:
    pixels = shipped(name)
    source = Source.analyse(pixels)
    return source, variations(source, Size(pixels.shape[1], pixels.shape[0]))


@pytest.fixture(params=PHOTOS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def made(name: str, analysed: Callable[[str], Source], square: Size) -> list[Pixels]:
    return variations(analysed(name), square)


@pytest.fixture
def explanations(name: str, photo: Callable[[str], Pixels], made: list[Pixels]) -> list[Explanation]:
    """The transformation that explains each variation best; found once, since it takes a while."""
    if name not in _EXPLANATIONS:
        _EXPLANATIONS[name] = [explain(photo(name), image) for image in made]
    return _EXPLANATIONS[name]


def explained(source: Pixels, other: Pixels) -> float:
    """The share of pixels that a crop, a turn, a mirror and one colour matrix account for."""
    return explain(source, other).share


class TestPhotographs:
    def test_every_variation_is_more_than_a_crop_or_a_filter(self, explanations: list[Explanation]) -> None:
        shares = [each.share for each in explanations]
        assert max(shares) <= MOST_EXPLAINED
        assert median(shares) <= MOST_EXPLAINED_MEDIAN

    def test_the_scene_is_still_the_same(self, explanations: list[Explanation]) -> None:
        assert min(each.inliers for each in explanations) >= LEAST_INLIERS

    def test_nothing_is_mirrored(self, explanations: list[Explanation]) -> None:
        assert not any(each.mirrored for each in explanations)

    def test_the_variations_of_one_request_differ(self, made: list[Pixels]) -> None:
        for a, b in itertools.combinations(made, 2):
            bits, colour = pair_distance(a, b)
            assert bits >= LEAST_PAIR_BITS or colour >= LEAST_PAIR_COLOUR


@needs_networks
class TestFaces:
    @pytest.mark.parametrize("size", [Size(320, 320), Size(512, 288), Size(288, 512)], ids=str)
    def test_the_face_is_there_once_whole_and_upright(self, size: Size, analysed: Callable[[str], Source]) -> None:
        for image in variations(analysed("astronaut.png"), size):
            (face,) = find_faces(image) or ()
            assert face.left > 0
            assert face.top - 0.3 * face.height > 0  # the hair too
            assert face.right < size.width


@needs_networks
class TestText:
    def test_lines_of_a_page_stay_legible_and_none_is_invented(self, page: Pixels) -> None:
        source = Source.analyse(page)
        size = Size(page.shape[1], page.shape[0])
        before = sum(is_readable(page, line) for line in find_text(page) or ())
        for image in variations(source, size):
            after = sum(is_readable(image, line) for line in find_text(image) or ())
            assert before * 0.8 <= after <= before + 1


class TestPlainGround:
    @pytest.mark.parametrize("name", ["horse.png", "logo.png"])
    def test_white_stays_white_or_becomes_clearly_another_ground(self, name: str) -> None:
        source, images = set_of_four(name)
        assert source.kind is Kind.GRAPHIC
        for image in images:
            corner = np.concatenate([image[:3, :3].reshape(-1, 3), image[-3:, -3:].reshape(-1, 3)]).min(1)
            assert np.median(corner) >= WHITE or np.median(corner) < NO_LONGER_WHITE or np.ptp(image[0, 0]) > 6

    @pytest.mark.parametrize("name", ["horse.png", "logo.png"])
    def test_the_figure_is_whole(self, name: str) -> None:
        pixels = shipped(name)
        for image in set_of_four(name)[1][:2]:
            assert not explain(pixels, image).mirrored
            edges = cv2.Canny(image, 60, 160)
            assert max(edges[:2].mean(), edges[-2:].mean(), edges[:, :2].mean(), edges[:, -2:].mean()) < 4

    def test_black_stays_black(self) -> None:
        source, images = set_of_four("phantom.png")
        assert source.kind is Kind.DARK
        for image in images:
            assert image[:4].max() <= BLACK


class TestKinds:
    @pytest.mark.parametrize(
        ("name", "kinds"),
        [
            ("page.png", {Kind.DOCUMENT}),
            ("horse.png", {Kind.GRAPHIC}),
            ("phantom.png", {Kind.DARK}),
            ("coffee.png", PHOTOGRAPHS),
            ("rocket.jpg", PHOTOGRAPHS),
            ("brick.png", PHOTOGRAPHS),
        ],
    )
    def test_each_picture_goes_its_own_way(self, name: str, kinds: frozenset[Kind]) -> None:
        assert Source.analyse(shipped(name)).kind in kinds

    @needs_networks
    def test_people_are_known_by_their_faces(self, analysed: Callable[[str], Source]) -> None:
        assert analysed("astronaut.png").kind is Kind.PEOPLE
        assert analysed("astronaut.png").is_soft


class TestLight:
    def test_relight_keeps_white_and_black(self) -> None:
        picture = np.zeros((128, 128, 3), np.uint8)
        picture[:, 43:] = (120, 90, 60)
        picture[:, 86:] = 255
        source = Source.analyse(picture)
        for index in range(8):
            image = vary(source, Size(128, 128), model="relight", seed=1, index=index)
            assert image[:, 5:30].max() <= 24
            assert image[:, 100:-5].min() >= 225

    @needs_networks
    def test_relight_keeps_skin(self, analysed: Callable[[str], Source], photo: Callable[[str], Pixels]) -> None:
        source = photo("astronaut.png")
        (face,) = find_faces(source) or ()
        for index in range(8):
            image = vary(analysed("astronaut.png"), Size(SIDE, SIDE), model="relight", seed=1, index=index)
            before, after = (
                cv2.cvtColor(each[face.window(each)].astype(np.float32) / 255, cv2.COLOR_RGB2Lab).mean((0, 1))
                for each in (source, image)
            )
            assert abs(after[0] - before[0]) < 18
            assert np.hypot(*(after[1:] - before[1:])) < 16


def sepia(image: Pixels) -> Pixels:
    matrix = np.array([[0.39, 0.35, 0.27], [0.77, 0.69, 0.53], [0.19, 0.17, 0.13]])
    return np.clip(image @ matrix * 0.75, 0, 255).astype(np.uint8)


def turned_and_cropped(image: Pixels) -> Pixels:
    side = image.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), 5, 1.2)
    return np.asarray(cv2.warpAffine(image, matrix, (side, side)), np.uint8)


@pytest.mark.parametrize(
    "trivial",
    [
        pytest.param(lambda image: image, id="identity"),
        pytest.param(lambda image: image[:, ::-1], id="mirror"),
        pytest.param(sepia, id="sepia"),
        pytest.param(lambda image: np.clip(image * 1.2, 0, 255).astype(np.uint8), id="brightness"),
        pytest.param(turned_and_cropped, id="turn-and-crop"),
    ],
)
def test_what_any_editor_does_is_no_variation(
    name: str, trivial: Callable[[Pixels], Pixels], photo: Callable[[str], Pixels]
) -> None:
    assert explained(photo(name), trivial(photo(name))) > MOST_EXPLAINED_MEDIAN


def test_another_photo_is_not_the_same_scene(photo: Callable[[str], Pixels]) -> None:
    assert explain(photo("astronaut.png"), photo("coffee.png")).inliers < LEAST_INLIERS


def test_more_strength_changes_more(analysed: Callable[[str], Source], photo: Callable[[str], Pixels]) -> None:
    def change(strength: float) -> float:
        return median(
            colour_change(photo(name), vary(analysed(name), Size(192, 192), seed=1, index=index, strength=strength))
            for name in PHOTOS[:2]
            for index in (0, 2)
        )

    changes = [change(strength) for strength in (0.05, 0.35, 0.8)]
    assert changes == sorted(changes)
    assert changes[2] > 1.5 * changes[0]
