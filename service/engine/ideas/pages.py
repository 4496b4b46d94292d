"""Ideas for pages and screens: the page is set before other grounds, and stays legible."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from service.engine.arrays import FloatArray, gaussian_blur, mix, resize, to_grey, to_lab, unit
from service.engine.backdrops import colour, gradient, shadow, wood
from service.engine.boxes import Matrix
from service.engine.ideas.task import Result, Task
from service.engine.light import light
from service.engine.looks import clouds
from service.engine.random_streams import Stream, random_stream

_HUES = (215.0, 255.0, 25.0, 165.0, 330.0)
_OVERSAMPLED = 2
_SMALL_LETTERS = 11
"""In pixels of height: smaller ones become illegible when the page shrinks."""

_LEAST_SCALE_OF_SMALL = 0.95

_LAMPS = {
    "evening": (1, 0.92, 0.80),
    "gold": (1, 0.96, 0.87),
    "morning": (0.94, 0.98, 1),
    "dusk": (0.80, 0.86, 1),
    "low": (0.86, 0.84, 0.80),
}
"""The colour of white paper under each light; any other light leaves it white."""


@dataclass(frozen=True, slots=True)
class _Pose:
    """The pose of a page in the frame.

    Attributes:
        scale: Of the largest size that fits.
        degrees: Turn.
        lean: How much its far end is narrower: perspective.
        corner: Radius of its corners as a share of the long side.
        shade: Strength of its shadow.
        x, y: Place in the free space, -1..1.
    """

    scale: float
    degrees: float = 0.0
    lean: float = 0.0
    corner: float = 0.0
    shade: float = 0.35
    x: float = 0.0
    y: float = 0.0


def make_page(task: Task) -> Result:
    """The page as the task's idea has it."""
    if not task.relights:
        ground = gradient(*_size(task), colour(0, 0, 0.93), colour(0, 0, 0.86), (task.side * 0.4, -0.5), 0.06)
        poses = (_Pose(0.90, corner=0.01), _Pose(0.94, task.side * 1.2), _Pose(0.86, -task.side * 2.0, 0.03))
        return _settled(task, ground, task.scene.image, poses[(task.index) % 3])
    makers = {
        "closer": _backdrop,
        "wider": _desk,
        "light": _lit,
        "paint": _paper,
        "aside": _stack,
        "mood": _inverted,
        "film": _photocopy,
        "studio": _backdrop,
    }
    return makers[task.idea](task)


def relight_page(task: Task, name: str) -> Result:
    """The page under a lamp: white stays white where it is brightest."""
    scene = task.scene
    lamp = np.array(_LAMPS.get(name, (1, 1, 1)), np.float32)
    side = task.side * (-1 if task.index % 2 else 1)
    x = np.linspace(-1, 1, scene.width, dtype=np.float32)[None] * side
    y = np.linspace(-1, 1, scene.height, dtype=np.float32)[:, None]
    reach = np.clip(0.5 * x + 0.5 * y + 0.3, 0, 1.3) * task.amount(0.30)
    return Result(unit(scene.image * lamp * (1 - reach)[..., None]), np.eye(2, 3, dtype=np.float32))


def _size(task: Task) -> tuple[int, int]:
    return task.scene.height, task.scene.width


def _hue(task: Task) -> float:
    return _HUES[(int(random_stream(task.seed, Stream.HUE).integers(len(_HUES))) + task.variant) % len(_HUES)]


def _settled(task: Task, ground: FloatArray, page: FloatArray, pose: _Pose) -> Result:
    """The page (the scene, or what became of it) before ``ground``, with its shadow."""
    scene = task.scene
    height, width = _size(task)
    matrix = _page_matrix(task, pose)
    radius = round(pose.corner * scene.longest)
    outline = np.zeros((height, width), np.float32)
    left, top = round(max(0.0, scene.page.left)), round(max(0.0, scene.page.top))
    right, bottom = round(min(width, scene.page.right)), round(min(height, scene.page.bottom))
    cv2.rectangle(outline, (left + radius, top), (right - radius - 1, bottom - 1), 1.0, -1)
    cv2.rectangle(outline, (left, top + radius), (right - 1, bottom - radius - 1), 1.0, -1)
    for x in (left + radius, right - radius - 1):
        for y in (top + radius, bottom - radius - 1):
            if radius:
                cv2.circle(outline, (x, y), radius, 1.0, -1)
    # At twice the size, then reduced: letters keep their strokes.
    larger = (np.diag([_OVERSAMPLED, _OVERSAMPLED, 1.0]) @ matrix).astype(np.float32)
    size = (width * _OVERSAMPLED, height * _OVERSAMPLED)
    moved_page = resize(cv2.warpPerspective(page, larger, size, flags=cv2.INTER_CUBIC), height, width)
    alpha = np.clip(resize(cv2.warpPerspective(outline, larger, size), height, width), 0, 1)
    longest = scene.longest
    shade = np.maximum(
        shadow(alpha, -task.side * longest * 0.012, longest * 0.022, longest / 30, pose.shade),
        shadow(alpha, 0, longest * 0.004, longest / 130, pose.shade * 0.6),
    )
    settled = mix(ground * (1 - shade)[..., None], np.clip(moved_page, 0, 1), alpha)
    return Result(unit(settled), matrix)


def _page_matrix(task: Task, pose: _Pose) -> Matrix:
    """3 x 3: the page's corners to where they lie in the frame."""
    scene = task.scene
    page, width, height = scene.page, scene.width, scene.height
    scale = pose.scale
    if any(box.height * scale < _SMALL_LETTERS * 1.6 for box in scene.texts):
        scale = max(scale, _LEAST_SCALE_OF_SMALL)
    if not task.reframes:
        scale = 1.0
    half_width, half_height = page.width / 2 * scale, page.height / 2 * scale
    corners = np.array(
        [[-half_width, -half_height], [half_width, -half_height], [half_width, half_height], [-half_width, half_height]]
    )
    corners[:2, 0] *= 1 - pose.lean
    corners[:2, 1] *= 1 - pose.lean * 0.6
    turn = math.radians(pose.degrees if task.reframes else 0.0)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    free = np.array([width - page.width * scale, height - page.height * scale]).clip(0) / 2
    corners = corners @ rotation.T + [width / 2, height / 2] + np.array([pose.x, pose.y]) * free
    start = np.array(
        [[page.left, page.top], [page.right, page.top], [page.right, page.bottom], [page.left, page.bottom]], np.float32
    )
    return np.asarray(cv2.getPerspectiveTransform(start, corners.astype(np.float32)), np.float32)


def _backdrop(task: Task) -> Result:
    """Before a gradient, with round corners, as screenshots are shown."""
    hue = _hue(task)
    ground = gradient(
        *_size(task), colour(hue, 0.24, 0.97), colour(hue + 40, 0.34, 0.86), (-task.side * 0.5, -0.6), 0.10
    )
    return _settled(task, ground, task.scene.image, _Pose(0.86, corner=0.018, shade=0.40))


def _inverted(task: Task) -> Result:
    """Light on dark (or dark on light); colourful pages in low light instead."""
    image, hue = task.scene.image, _hue(task)
    lab = to_lab(image)
    if float((lab[..., 1] ** 2 + lab[..., 2] ** 2 > 900).mean()) > 0.2:
        ground = gradient(
            *_size(task), colour(hue, 0.4, 0.30), colour(hue + 30, 0.5, 0.14), (task.side * 0.3, -0.4), 0.4
        )
        lit = light(image, "low", task.amount(0.5), side=task.side, glow=False)
        return _settled(task, ground, lit, _Pose(0.90, corner=0.012, shade=0.6))
    pale = float(np.median(lab[..., 0])) > 50
    inverted = lab.copy()
    inverted[..., 0] = (100 - lab[..., 0]) * 0.88 + 8 if pale else 100 - lab[..., 0] * 0.9
    inverted[..., 1:] *= 0.9
    page = unit(cv2.cvtColor(inverted, cv2.COLOR_Lab2RGB))
    tone = colour(hue, 0.35, 0.16) if pale else colour(hue, 0.06, 1.0)
    ground = gradient(*_size(task), np.clip(tone * 1.6, 0, 1), tone * 0.8, (task.side * 0.4, -0.4), 0.3)
    return _settled(task, ground, page, _Pose(0.93, corner=0.012, shade=0.5))


def _desk(task: Task) -> Result:
    """On a wooden desk, seen a little from below."""
    height, width = _size(task)
    ground = wood(height, width, task.generator(), task.side)
    page = task.scene.image * np.array([1, 0.985, 0.955], np.float32)
    made = _settled(task, ground, page, _Pose(0.86, task.side * 2.2, 0.035, shade=0.55))
    x = np.linspace(-1, 1, width, dtype=np.float32)[None] * task.side
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    lit = made.image * (1.03 - 0.16 * np.clip(0.5 * x + 0.5 * y + 0.2, 0, 1.2))[..., None]
    return Result(unit(lit), made.matrix)


def _paper(task: Task) -> Result:
    """Printed on cream or green paper."""
    scene, generator = task.scene, task.generator()
    height, width = _size(task)
    tint = colour(38 if task.variant % 2 == 0 else 150, 0.13, 0.985)
    fibres = gaussian_blur(generator.normal(size=(height, width)).astype(np.float32), 0.9) * 1.6
    page = np.clip(
        scene.image * tint * (1 + 0.010 * clouds(height, width, generator) + 0.010 * fibres)[..., None], 0, 1
    )
    base = scene.ground.rgb if scene.ground.share > 0.6 else colour(_hue(task), 0.12, 0.93)
    ground = gradient(height, width, base * tint, base * tint * np.float32(0.90), (task.side * 0.4, -0.5), 0.05)
    ground = unit(ground * (1 + 0.008 * fibres)[..., None])
    pose = _Pose(0.90, -task.side * 1.2, shade=0.18, x=task.side * 0.5, y=-0.4)
    return _settled(task, ground, page.astype(np.float32), pose)


def _lit(task: Task) -> Result:
    """By a window: warm light falls across the page."""
    scene = task.scene
    height, width = _size(task)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None] * task.side
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    stripe = 1 / (1 + np.exp(-(np.sin((x * 1.1 + y * 0.8) * 4.2 + 0.7) - 0.1) * 9))
    beam = gaussian_blur((stripe * np.clip(0.9 - 0.35 * (x + y), 0.2, 1)).astype(np.float32), scene.longest / 60)
    ground = gradient(height, width, colour(34, 0.18, 0.90), colour(26, 0.26, 0.80))
    made = _settled(task, ground, scene.image, _Pose(0.90, task.side * 1.0, shade=0.3))
    warm, cool = np.array([1.0, 0.97, 0.90], np.float32), np.array([0.82, 0.83, 0.88], np.float32)
    lit = made.image * mix(np.broadcast_to(cool, made.image.shape), np.broadcast_to(warm, made.image.shape), beam)
    return Result(unit(lit), made.matrix)


def _stack(task: Task) -> Result:
    """The topmost of a few sheets."""
    hue, scene = _hue(task), task.scene
    ground = gradient(
        *_size(task), colour(hue + 180, 0.16, 0.80), colour(hue + 200, 0.24, 0.66), (-task.side * 0.4, -0.5), 0.1
    )
    blank = np.broadcast_to(np.clip(scene.ground.rgb, 0.15, 0.96) * np.float32(0.97), scene.image.shape).astype(
        np.float32
    )
    for degrees in (4.0, -3.0):
        ground = _settled(task, ground, blank, _Pose(0.86, task.side * degrees, shade=0.25)).image
    return _settled(task, ground, scene.image, _Pose(0.88, -task.side * 1.0, shade=0.35))


def _photocopy(task: Task) -> Result:
    """Without colours and with hard contrast, as a copying machine would."""
    grey = to_grey(task.scene.image)
    copied = np.clip((grey - 0.5) * 1.35 + 0.53, 0, 1)
    noise = task.generator().normal(size=grey.shape[:2]).astype(np.float32) * 0.012
    ground = gradient(*_size(task), colour(0, 0, 0.80), colour(0, 0, 0.70), (task.side * 0.3, -0.5), 0.1)
    return _settled(task, ground, unit(copied + noise[..., None]), _Pose(0.93, task.side * 0.8))
