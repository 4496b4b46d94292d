"""The engine works without its optional packages, and says which one is missing where it needs one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from variation_measures import explain

from service.core.values import Size
from service.engine import (
    Source,
    availability,
    fill,
    kernels_numba,
    kernels_numpy,
    limitations,
    saliency,
    vary,
    warm_up,
)
from service.engine.arrays import as_float
from service.engine.extend import widen
from service.engine.kinds import Kind
from service.engine.networks import weights
from service.engine.warps import similarity

Pixels = npt.NDArray[np.uint8]
ROOT = Path(__file__).parents[3]

ABSENT = """
import sys
for name in {names!r}:
    sys.modules[name] = None
"""


def run_without(names: tuple[str, ...], program: str) -> str:
    """What ``program`` prints in a process where importing any of ``names`` fails."""
    complete = ABSENT.format(names=names) + program
    answer = subprocess.run([sys.executable, "-c", complete], cwd=ROOT, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


MAKE_ONE = """
import numpy as np
from service.core.values import Size
from service.engine import Source, availability, limitations, vary
picture = np.random.default_rng(7).integers(0, 256, (90, 120, 3), np.uint8)
image = vary(Source.analyse(picture), Size(96, 80), seed=9, index=1, model={model!r})
print(image.shape, repr(availability()), len(limitations()))
"""


def test_with_everything_installed_there_is_nothing_to_say() -> None:
    assert availability() == ""
    assert limitations() == ()


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("numpy", "cv2", "numba", "onnxruntime")
    program = f"import sys, service.engine\nprint([name for name in {heavy!r} if name in sys.modules])"
    assert run_without((), program) == "[]"


@pytest.mark.parametrize("absent", ["numpy", "cv2"])
def test_without_numpy_or_opencv_it_names_what_to_install(absent: str) -> None:
    answer = run_without((absent,), "from service.engine import availability; print(availability())")
    assert "image-variations-gateway[engine]" in answer


def test_without_numba_it_works_on_numpy() -> None:
    assert run_without(("numba",), MAKE_ONE.format(model="vary")) == "(80, 96, 3) '' 1"


def test_without_onnxruntime_it_finds_text_by_its_shape() -> None:
    for model in ("vary", "restyle"):
        assert run_without(("onnxruntime",), MAKE_ONE.format(model=model)) == "(80, 96, 3) '' 1"


def test_onnxruntime_is_kept_from_reporting_home() -> None:
    program = (
        "import os, numpy as np\n"
        "from service.engine import Source\n"
        "Source.analyse(np.zeros((40, 40, 3), np.uint8))\n"
        "print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
    )
    assert run_without((), program) == "1"


class TestWithoutNetworks:
    """The guards hold by classical means, and the engine says what it lacks."""

    @pytest.fixture(autouse=True)
    def absent(self, tmp_path: Path) -> Iterator[None]:
        installed = weights.directory()
        weights.keep_in(tmp_path)
        yield
        weights.keep_in(installed)

    def test_it_says_what_it_lacks_and_what_to_do(self) -> None:
        (sentence,) = limitations()
        assert "image-variations engine install" in sentence
        assert "faces are not found" in sentence

    def test_pages_are_known_by_the_rows_of_their_letters(self, page: Pixels) -> None:
        source = Source.analyse(page)
        assert source.kind is Kind.DOCUMENT
        for index in (0, 2):  # the one between is light on dark
            assert explain(page, vary(source, Size(384, 192), seed=1, index=index)).inliers > 40

    def test_photographs_are_varied(self, photo: Callable[[str], Pixels]) -> None:
        source = Source.analyse(photo("astronaut.png"))
        assert not source.sees_faces
        images = [vary(source, Size(160, 160), seed=1, index=index) for index in range(4)]
        assert len({image.tobytes() for image in images}) == 4

    @pytest.mark.parametrize("size", [Size(256, 256), Size(400, 224)], ids=str)
    def test_heads_are_kept_though_nobody_finds_them(self, size: Size, photo: Callable[[str], Pixels]) -> None:
        head = photo("astronaut.png")[10:110, 110:190]
        source = Source.analyse(photo("astronaut.png"))
        for index in range(4):
            image = vary(source, size, model="recompose", seed=1, index=index)
            best = 0.0
            for scale in np.linspace(0.75, 1.5, 16):
                looked_for = cv2.resize(head, None, fx=float(scale), fy=float(scale))
                if looked_for.shape[0] < image.shape[0] and looked_for.shape[1] < image.shape[1]:
                    best = max(best, float(cv2.matchTemplate(image, looked_for, cv2.TM_CCOEFF_NORMED).max()))
            assert best > 0.8

    def test_small_pictures_are_interpolated(self) -> None:
        small = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
        assert vary(Source.analyse(small), Size(256, 256), seed=1, index=0).shape == (256, 256, 3)

    def test_a_damaged_file_is_as_good_as_none(self, tmp_path: Path, photo: Callable[[str], Pixels]) -> None:
        for file in weights.ALL:
            (tmp_path / file.name).write_bytes(b"not a network")
        assert not Source.analyse(photo("astronaut.png")).faces


def test_both_fills_are_reproducible_and_leave_the_known_part_alone(
    monkeypatch: pytest.MonkeyPatch, photo: Callable[[str], Pixels]
) -> None:
    image = as_float(photo("coffee.png")[:128, :160])
    matrix = similarity(160, 128, 0.8, 0, 0, 0)
    made = {}
    for kernels in (kernels_numba, kernels_numpy):
        monkeypatch.setattr(fill, "kernels", kernels)
        (first, unknown), (second, _) = (
            widen(image, np.zeros((128, 160), np.uint8), matrix, 5, lambda: None) for _ in range(2)
        )
        assert np.array_equal(first, second)
        made[kernels.__name__] = first
    one, other = made.values()
    assert np.abs(one - other)[unknown == 0].max() < 0.1
    assert np.abs(one - other)[unknown > 0].mean() < 0.2


def test_numpy_refines_every_second_patch_of_a_large_picture(
    monkeypatch: pytest.MonkeyPatch, photo: Callable[[str], Pixels]
) -> None:
    monkeypatch.setattr(fill, "kernels", kernels_numpy)
    image = as_float(np.asarray(Image.fromarray(photo("coffee.png")).resize((640, 200))))
    matrix = similarity(640, 200, 0.9, 0, 0, 0)
    filled, _ = widen(image, np.zeros((200, 640), np.uint8), matrix, 5, lambda: None)
    assert filled.shape == (200, 640, 3)


def test_both_barriers_agree(
    monkeypatch: pytest.MonkeyPatch, photo: Callable[[str], Pixels], analysed: Callable[[str], Source]
) -> None:
    pixels = photo("rocket.jpg").astype(np.float32) / np.float32(255)
    compiled = saliency.saliency(pixels)
    monkeypatch.setattr(saliency, "kernels", kernels_numpy)
    assert np.corrcoef(compiled.ravel(), saliency.saliency(pixels).ravel())[0, 1] > 0.97


def test_compiled_code_is_kept_where_it_is_told_to_be(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\n"
        "from service.engine import configure\n"
        f"configure(Path({str(tmp_path)!r}))\n"
        "import numpy as np\n"
        "from service.engine.kernels import kernels\n"
        "kernels.minimum_barrier(np.zeros((20, 20, 3), np.float32), 2)\n"
    )
    run_without((), program)
    assert list(tmp_path.rglob("*.nbi"))


def test_a_place_that_cannot_be_written_to_is_no_obstacle(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    program = (
        "from pathlib import Path\n"
        "from service.engine import configure\n"
        f"configure(Path({str(blocker / 'cache')!r}))\n"
        "import numpy as np\n"
        "from service.engine.kernels import kernels\n"
        "print(kernels.minimum_barrier(np.zeros((20, 20, 3), np.float32), 2).shape)\n"
    )
    assert run_without((), program) == "(20, 20)"


def test_with_no_place_to_write_to_at_all_it_compiles_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_function: Any = numba.njit

    def without_cache(**options: bool) -> object:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return compile_function(**options)

    monkeypatch.setattr(kernels_numba, "njit", without_cache)
    assert kernels_numba._compiled(_double)(21) == 42


def _double(number: int) -> int:
    return number * 2


def test_warming_up_twice_at_once_is_safe() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        for result in [pool.submit(warm_up) for _ in range(2)]:
            result.result()
