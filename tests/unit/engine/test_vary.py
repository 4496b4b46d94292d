"""The engine's promises besides looks: which arguments give which bytes, and what it does not accept."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from variation_measures import explain

from service.core.errors import ErrorKind, GatewayError
from service.core.values import Size
from service.engine import IDEAS, MODELS, STYLES, Cancelled, Source, automatic_size, vary
from service.engine.kinds import PHOTOGRAPHS, Kind

Pixels = npt.NDArray[np.uint8]
Analysed = Callable[[str], Source]

ROOT = Path(__file__).parents[3]
SMALL = Size(160, 128)


def flat(height: int, width: int, level: int) -> Pixels:
    return np.full((height, width, 3), level, np.uint8)


def disc(side: int, ground: tuple[int, int, int]) -> Pixels:
    """An orange disc on plain ground."""
    picture = np.full((side, side, 3), ground, np.uint8)
    y, x = np.mgrid[0:side, 0:side]
    picture[np.hypot(x - side / 2, y - side / 2) < side / 3] = (230, 120, 40)
    return picture


def sticker(side: int) -> Pixels:
    """The disc, transparent around it."""
    picture = disc(side, (255, 255, 255))
    alpha = np.where((picture == 255).all(-1), 0, 255).astype(np.uint8)
    return np.dstack([picture, alpha])


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


class TestDeterminism:
    def test_the_same_arguments_give_the_same_bytes(self, analysed: Analysed) -> None:
        first, second = (vary(analysed("coffee.png"), SMALL, seed=5, index=2, strength=0.8) for _ in range(2))
        assert np.array_equal(first, second)

    def test_threads_do_not_disturb_each_other(self, photo: Callable[[str], Pixels]) -> None:
        def make(index: int) -> bytes:
            # Analysis and variation: both draw random numbers, some of them inside of OpenCV.
            return vary(Source.analyse(photo("chelsea.png")), SMALL, seed=5, index=index).tobytes()

        alone = [make(index) for index in range(4)]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(make, range(4))) == alone

    def test_another_process_gives_the_same_bytes(self) -> None:
        program = (
            "import hashlib, numpy as np\n"
            "from service.core.values import Size\n"
            "from service.engine import Source, vary\n"
            "picture = np.random.default_rng(7).integers(0, 256, (90, 120, 3), np.uint8)\n"
            "image = vary(Source.analyse(picture), Size(160, 128), seed=9, index=1, strength=0.8)\n"
            "print(hashlib.sha256(image.tobytes()).hexdigest())\n"
        )
        answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        picture = np.random.default_rng(7).integers(0, 256, (90, 120, 3), np.uint8)
        here = vary(Source.analyse(picture), Size(160, 128), seed=9, index=1, strength=0.8)
        assert answer.stdout.strip() == hashlib.sha256(here.tobytes()).hexdigest()

    def test_an_image_does_not_depend_on_those_before_it(self, analysed: Analysed) -> None:
        source = analysed("rocket.jpg")
        as_last_of_three = [vary(source, SMALL, seed=3, index=index) for index in range(3)][2]
        assert np.array_equal(as_last_of_three, vary(source, SMALL, seed=3, index=2))

    def test_another_seed_gives_another_image(self, analysed: Analysed) -> None:
        one, other = (vary(analysed("rocket.jpg"), SMALL, seed=seed, index=0).astype(int) for seed in (1, 2))
        assert np.abs(one - other).mean() > 4

    def test_bytes_and_floats_are_the_same_picture(self, photo: Callable[[str], Pixels]) -> None:
        pixels = photo("coffee.png")
        from_bytes = Source.analyse(pixels)
        from_floats = Source.analyse(pixels.astype(np.float32) / 255)
        assert np.array_equal(from_bytes.pixels, from_floats.pixels)

    def test_the_source_keeps_nothing_of_the_callers_array(self, photo: Callable[[str], Pixels]) -> None:
        pixels = photo("coffee.png").copy()
        source = Source.analyse(pixels)
        before = source.pixels.copy()
        pixels[:] = 0
        assert np.array_equal(source.pixels, before)


class TestText:
    def test_a_page_is_a_document_and_a_photo_is_not(self, page: Pixels, analysed: Analysed) -> None:
        assert Source.analyse(page).kind is Kind.DOCUMENT
        names = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
        assert all(analysed(name).kind in PHOTOGRAPHS for name in names)

    def test_text_reads_the_same_way_round_even_where_mirroring_is_allowed(self, page: Pixels) -> None:
        source = Source.analyse(page)
        for index in range(4):
            found = explain(page, vary(source, Size(384, 192), seed=1, index=index, allow_flip=True))
            assert not found.mirrored

    def test_noise_is_no_text_and_costs_no_gigabytes(self) -> None:
        assert not Source.analyse(noise(512, 512)).texts


class TestMirroring:
    def test_nothing_is_mirrored_unasked(self, analysed: Analysed, photo: Callable[[str], Pixels]) -> None:
        assert not any(self.mirrored(analysed, photo, "coffee.png", allow_flip=False))

    def test_every_second_image_is_where_that_is_allowed(
        self, analysed: Analysed, photo: Callable[[str], Pixels]
    ) -> None:
        assert sum(self.mirrored(analysed, photo, "coffee.png", allow_flip=True)) == 2

    def test_faces_never_are(self, analysed: Analysed, photo: Callable[[str], Pixels]) -> None:
        assert not any(self.mirrored(analysed, photo, "astronaut.png", allow_flip=True))

    @staticmethod
    def mirrored(analysed: Analysed, photo: Callable[[str], Pixels], name: str, *, allow_flip: bool) -> list[bool]:
        return [
            explain(
                photo(name),
                vary(analysed(name), Size(256, 256), model="recompose", seed=1, index=index, allow_flip=allow_flip),
            ).mirrored
            for index in range(4)
        ]


class TestIdeas:
    def test_images_of_a_request_take_turns_and_one_can_be_asked_for(self, analysed: Analysed) -> None:
        source = analysed("coffee.png")
        asked = vary(source, SMALL, seed=3, index=0, idea="light")
        assert not np.array_equal(asked, vary(source, SMALL, seed=3, index=0))
        assert np.array_equal(vary(source, SMALL, seed=3, index=0), vary(source, SMALL, seed=3, index=0, idea="closer"))

    def test_ten_images_are_ten(self, analysed: Analysed) -> None:
        made = {vary(analysed("coffee.png"), SMALL, seed=3, index=index).tobytes() for index in range(10)}
        assert len(made) == 10

    def test_one_idea_is_never_realised_twice_in_the_same_way(self, analysed: Analysed) -> None:
        for idea in ("closer", "paint"):
            made = [vary(analysed("coffee.png"), SMALL, seed=3, index=index, idea=idea) for index in range(2)]
            assert np.abs(made[0].astype(int) - made[1]).mean() > 1

    @pytest.mark.parametrize("idea", IDEAS)
    @pytest.mark.parametrize("kind", ["photo", "figure", "sticker", "page", "colour", "scan"])
    def test_every_kind_of_picture_has_every_idea(self, idea: str, kind: str, page: Pixels) -> None:
        picture = {
            "photo": noise(90, 120),
            "figure": disc(120, (255, 255, 255)),
            "sticker": sticker(120),
            "page": page,
            "colour": flat(90, 120, 128),
            "scan": disc(120, (0, 0, 0)),
        }[kind]
        image = vary(Source.analyse(picture), SMALL, seed=1, index=0, idea=idea)
        assert image.shape == (128, 160, 4 if kind == "sticker" else 3)


class TestStyles:
    def test_each_changes_the_picture_in_its_own_way(self, analysed: Analysed) -> None:
        made = [
            vary(analysed("coffee.png"), SMALL, model="restyle", seed=1, index=0, style=style).astype(int)
            for style in STYLES
        ]
        for one, other in itertools.combinations(made, 2):
            assert np.abs(one - other).mean() > 1.5

    def test_without_one_the_images_take_turns(self, analysed: Analysed) -> None:
        source = analysed("coffee.png")
        second = vary(source, SMALL, model="restyle", seed=1, index=1)
        assert np.array_equal(second, vary(source, SMALL, model="restyle", seed=1, index=1, style=STYLES[1]))


class TestTransparency:
    @pytest.mark.parametrize("model", MODELS)
    def test_is_kept(self, model: str) -> None:
        source = Source.analyse(sticker(200))
        for index in range(4):
            image = vary(source, Size(200, 200), model=model, seed=1, index=index)
            assert image.shape == (200, 200, 4)
            assert (image[..., 3] < 5).mean() > 0.2
            assert (image[..., 3] > 250).mean() > 0.1

    def test_a_picture_that_is_opaque_all_over_has_none(self) -> None:
        opaque = np.dstack([noise(60, 80), np.full((60, 80), 255, np.uint8)])
        assert vary(Source.analyse(opaque), SMALL, seed=1, index=0).shape == (128, 160, 3)

    def test_what_cannot_be_seen_is_of_no_consequence(self) -> None:
        one, other = sticker(100), sticker(100)
        other[other[..., 3] == 0] = (0, 255, 0, 0)
        first, second = (vary(Source.analyse(each), SMALL, seed=1, index=1) for each in (one, other))
        assert np.array_equal(first, second)


class TestAnyPicture:
    @pytest.mark.parametrize(
        "picture",
        [
            pytest.param(flat(1, 1, 200), id="one-pixel"),
            pytest.param(noise(3, 8), id="8x3"),
            pytest.param(noise(10, 2000), id="2000x10"),
            pytest.param(noise(2000, 10), id="10x2000"),
            pytest.param(noise(1, 3000), id="3000x1"),
            pytest.param(flat(150, 200, 128), id="grey"),
            pytest.param(flat(150, 200, 0), id="black"),
            pytest.param(flat(150, 200, 255), id="white"),
            pytest.param(noise(200, 200), id="noise"),
        ],
    )
    def test_gives_an_image_of_the_size_asked_for(self, picture: Pixels) -> None:
        source = Source.analyse(picture)
        for size, index in ((SMALL, 1), (automatic_size(source.size), 0)):
            image = vary(source, size, seed=1, index=index, strength=0.9)
            assert image.shape == (size.height, size.width, 3)
            assert image.dtype == np.uint8

    @pytest.mark.parametrize("size", [Size(64, 64), Size(64, 700), Size(1792, 64), Size(65, 333)], ids=str)
    def test_gives_any_size(self, analysed: Analysed, size: Size) -> None:
        assert vary(analysed("coffee.png"), size, seed=1, index=1).shape == (size.height, size.width, 3)

    @pytest.mark.parametrize("model", MODELS)
    def test_every_model_changes_the_picture(
        self, model: str, analysed: Analysed, photo: Callable[[str], Pixels], square: Size
    ) -> None:
        image = vary(analysed("coffee.png"), square, model=model, seed=1, index=0)
        assert np.abs(image.astype(int) - photo("coffee.png")).mean() > 4

    def test_a_large_photo_is_kept_small(self) -> None:
        assert Source.analyse(flat(4000, 5000, 90)).size.pixels <= 2048 * 2048

    @pytest.mark.parametrize(
        "picture",
        [
            pytest.param(np.zeros((4, 4), np.uint8), id="no-channels"),
            pytest.param(np.zeros((4, 4, 2), np.uint8), id="grey-and-alpha"),
            pytest.param(np.zeros((0, 4, 3), np.uint8), id="empty"),
            pytest.param(np.zeros((4, 4, 3), np.int64), id="wide-integers"),
        ],
    )
    def test_other_arrays_are_refused(self, picture: npt.NDArray[np.generic]) -> None:
        with pytest.raises(ValueError, match="expected"):
            Source.analyse(picture)


class TestArguments:
    @pytest.mark.parametrize(
        ("field", "changes"),
        [
            ("model", {"model": "paint"}),
            ("seed", {"seed": -1}),
            ("seed", {"seed": 2**32}),
            ("index", {"index": -1}),
            ("strength", {"strength": 1.01}),
            ("strength", {"strength": float("nan")}),
            ("idea", {"idea": "farther"}),
            ("style", {"style": "baroque"}),
        ],
    )
    def test_values_out_of_range_are_refused_by_name(
        self, field: str, changes: dict[str, object], analysed: Analysed
    ) -> None:
        arguments: dict[str, object] = {"seed": 1, "index": 0} | changes
        with pytest.raises(GatewayError) as caught:
            vary(analysed("coffee.png"), SMALL, **arguments)  # type: ignore[arg-type]
        assert caught.value.kind is ErrorKind.INVALID_REQUEST
        assert caught.value.param == field

    @pytest.mark.parametrize("size", [Size(63, 64), Size(64, 1793), Size(0, 64)], ids=str)
    def test_sizes_out_of_range_are_refused(self, size: Size, analysed: Analysed) -> None:
        with pytest.raises(GatewayError) as caught:
            vary(analysed("coffee.png"), size, seed=1, index=0)
        assert caught.value.param == "size"


class TestCancellation:
    def test_nothing_is_made_for_who_is_gone(self, analysed: Analysed) -> None:
        with pytest.raises(Cancelled):
            vary(analysed("coffee.png"), SMALL, seed=1, index=0, cancelled=lambda: True)

    def test_it_is_noticed_at_every_step(self, analysed: Analysed) -> None:
        asked = 0

        def count() -> bool:
            nonlocal asked
            asked += 1
            return False

        # The scene is composed by the first call and shared by those after it.
        vary(analysed("coffee.png"), SMALL, seed=1, index=1)
        vary(analysed("coffee.png"), SMALL, seed=1, index=1, cancelled=count)
        assert asked > 8
        for step in (2, asked // 2, asked):
            remaining = step

            def run_out() -> bool:
                nonlocal remaining
                remaining -= 1
                return remaining <= 0

            with pytest.raises(Cancelled):
                vary(analysed("coffee.png"), SMALL, seed=1, index=1, cancelled=run_out)

    def test_another_thread_can_cancel(self, analysed: Analysed) -> None:
        gone = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            gone.set()
            work = pool.submit(vary, analysed("coffee.png"), SMALL, seed=1, index=0, cancelled=gone.is_set)
            with pytest.raises(Cancelled):
                work.result()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Size(3000, 2000), Size(1024, 683)),
        (Size(2000, 3000), Size(683, 1024)),
        (Size(300, 200), Size(300, 200)),
        (Size(1, 1), Size(64, 64)),
        (Size(8, 3), Size(171, 64)),
        (Size(2000, 10), Size(1024, 64)),
        (Size(10, 2000), Size(64, 1024)),
    ],
    ids=str,
)
def test_the_automatic_size_follows_the_source(source: Size, expected: Size) -> None:
    assert automatic_size(source) == expected
