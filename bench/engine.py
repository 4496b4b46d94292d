"""The embedded engine: images a second on one core, by model and size."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bench.systems import REPOSITORY
from service import engine
from service.catalog import catalog
from service.core.values import ImageFormat, Size
from service.imaging.encode import encode_array

SIZES = (Size(256, 256), Size(512, 512), Size(1024, 1024))
_SAMPLE = REPOSITORY / "samples" / "coffee.jpg"
_RUNS = 5


@dataclass(frozen=True, slots=True)
class Rate:
    """Finished PNG files for a second of one core's time, the source being analysed already."""

    model: str
    size: Size
    per_core_second: float


def rates(cache: Path) -> list[Rate]:
    """The rate of every model of the engine at every size; empty where the engine is not installed."""
    if engine.availability():
        return []
    engine.configure(cache)
    engine.warm_up()
    source = engine.Source.analyse(np.asarray(Image.open(_SAMPLE).convert("RGB")))
    found = []
    for model in catalog.load()["local"].models:
        for size in SIZES:
            times = []
            for index in range(_RUNS + 1):
                begun = time.process_time()
                pixels = engine.vary(source, size, model=model, seed=1, index=index, strength=0.5)
                encode_array(pixels, ImageFormat.PNG)
                times.append(time.process_time() - begun)
            # The first may still have loaded something.
            found.append(Rate(model, size, 1 / statistics.median(times[1:])))
    return found
