"""Variations of a picture made right here: no key, no network, nothing fetched.

Each image follows an idea of its own (closer, wider, in other light, painted ...), realised as suits the kind of
picture: photographs are reframed, extended from their own patches and relit, figures get other ground, pages other
settings. Importing this module is cheap; the first call loads the rest.
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
from service.engine.networks import weights

if TYPE_CHECKING:
    from service.engine.analysis import Source
    from service.engine.arrays import ByteArray
    from service.engine.scene import Scene

MODELS = ("vary", "recompose", "relight", "restyle")
"""vary: an idea for each image. recompose: framing only. relight: light only. restyle: painted or drawn."""

IDEAS = ("closer", "wider", "light", "paint", "aside", "mood", "film", "studio")
"""The ideas for a variation: ``idea`` of ``vary``. Without one, the images of a request take turns."""

STYLES = ("oil", "watercolour", "film", "vintage", "pencil", "poster", "duotone")
"""``style`` of ``restyle``. Without one, the images of a request take turns."""

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
    if not _found("onnxruntime"):
        found.append("onnxruntime is not installed: only whole lines of small text are found, by their shape.")
    absent = weights.missing()
    if absent:
        purposes = dict.fromkeys(file.purpose for file in absent)
        found.append(
            "Some small networks are not installed (`image-variations engine install` fetches them): "
            + "; ".join(purposes)
            + "."
        )
    return tuple(found)


def configure(cache_directory: Path, networks_directory: Path | None = None) -> None:
    """Sets the directories for compiled code, which outlives the process, and for weight files.

    Call it before anything else. Weight files are part of the Python installation unless told otherwise.
    Without a cache directory, or when it cannot be written to, numba looks for a place of its own; where it finds none,
    every process compiles anew (about three seconds).
    """
    compilation.keep_in(cache_directory)
    if networks_directory is not None:
        weights.keep_in(networks_directory)


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
    allow_flip: bool = False,
    idea: str | None = None,
    style: str | None = None,
    cancelled: Callable[[], bool] = never,
) -> ByteArray:
    """Variation ``index`` of a picture: H x W x 3 bytes, RGB; of a transparent one H x W x 4, RGBA.

    The same arguments give the same bytes in any process and on any number of threads, on one machine with one
    set of versions; ``index`` means the same however many images are made.

    Args:
        size: Sides from 64 to 1792 pixels.
        model: One of ``MODELS``.
        seed: 0 to 2**32 - 1; says which variations there are.
        index: 0 and up; says which of them this is.
        strength: 0 (subtle) to 1 (bold).
        allow_flip: Whether half of the images may be mirrored. What shows text or faces never is.
        idea: One of ``IDEAS`` for all images of ``vary``; by default each image has another.
        style: One of ``STYLES`` for all images of ``restyle``; by default each image has another.
        cancelled: Asked between steps: tens of milliseconds apart, a few hundred where the picture is large.

    Raises:
        Cancelled: ``cancelled()`` was true.
        GatewayError: INVALID_REQUEST when an argument is outside its range.
    """
    _check(size, model, seed, index, strength, idea, style)

    from service.engine.arrays import as_bytes
    from service.engine.ideas import choice
    from service.engine.ideas.task import Task
    from service.engine.scene import scene_of

    def checkpoint() -> None:
        if cancelled():
            raise Cancelled

    checkpoint()
    scene = scene_of(source, size, checkpoint)
    if allow_flip and _is_mirrored(scene, seed, index):
        scene = scene.mirrored()
    chosen, variant = choice.idea_and_variant(scene.kind, index, idea, framing_only=model == "recompose")
    task = Task(
        scene=scene,
        idea=chosen,
        variant=variant,
        strength=strength,
        seed=seed,
        index=index,
        reframes=model != "relight",
        relights=model != "recompose",
        checkpoint=checkpoint,
    )
    checkpoint()
    if model == "relight":
        made = choice.relight(task)
    elif model == "restyle":
        made = choice.restyle(task, style)
    else:
        made = choice.make(task)
    checkpoint()
    return _finished(as_bytes(made.image), None if made.alpha is None else as_bytes(made.alpha))


def _is_mirrored(scene: Scene, seed: int, index: int) -> bool:
    """Every second image of those that may be. Text would not be legible, and people notice their own faces."""
    from service.engine.random_streams import Stream, random_stream

    first = int(random_stream(seed, Stream.FLIP).integers(2))
    return not scene.texts and not scene.faces and (index + first) % 2 == 0


def _finished(pixels: ByteArray, alpha: ByteArray | None) -> ByteArray:
    if alpha is None:
        return pixels
    import numpy as np

    return np.dstack([pixels, alpha])


def _check(size: Size, model: str, seed: int, index: int, strength: float, idea: str | None, style: str | None) -> None:
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
    if idea is not None and idea not in IDEAS:
        raise invalid("idea", f"The embedded engine has no idea {idea!r}; it has {', '.join(IDEAS)}.")
    if style is not None and style not in STYLES:
        raise invalid("style", f"The embedded engine has no style {style!r}; it has {', '.join(STYLES)}.")


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # a module that is marked as absent
        return False
