"""Ideas for pictures with nothing on them: one colour, varied."""

from __future__ import annotations

import cv2
import numpy as np

from service.engine.backdrops import colour, gradient
from service.engine.ideas.task import IDEAS, Result, Task
from service.engine.looks import watercolour

_TURN = 24.0


def make_flat(task: Task) -> Result:
    """A gradient or a wash in colours near to the picture's."""
    scene = task.scene
    mean = scene.image.mean((0, 1)).astype(np.float32)
    hue, saturation, value = (float(part) for part in cv2.cvtColor(mean[None, None], cv2.COLOR_RGB2HSV)[0, 0])
    number = IDEAS.index(task.idea)
    hue += _TURN * task.variant
    pairs = (
        (colour(hue - 12, saturation * 0.8, value * 1.25), colour(hue + 10, saturation, value * 0.75)),
        (colour(hue, saturation, value * 1.1), colour(hue + 35, saturation, value * 0.9)),
        (np.clip(mean * 1.1, 0, 1), mean * np.float32(0.8)),
        (mean, mean),
    )
    top, bottom = pairs[number % len(pairs)]
    spot = (task.side * (0.3 - 0.2 * (number % 3)), -0.3)
    image = gradient(scene.height, scene.width, top, bottom, spot, task.amount(0.2) or 0.2)
    if task.idea == "paint":
        image = watercolour(image, np.zeros(image.shape[:2], np.float32), task.generator())
    return Result(image, np.eye(2, 3, dtype=np.float32))
