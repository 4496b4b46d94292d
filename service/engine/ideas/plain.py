"""Ideas for figures on plain ground: products, logos, icons, drawings, and what stands on black."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from service.engine.arrays import FloatArray, gaussian_blur, luma, mix, to_grey, to_lab, unit
from service.engine.backdrops import colour, gradient, shadow, wash
from service.engine.boxes import Matrix, box_mask, moved
from service.engine.figures import figure_alpha, figure_matrix, has_dark_ink, is_white_ink, main_hue, on_ground
from service.engine.ideas.task import Result, Task
from service.engine.kinds import Kind
from service.engine.light import light
from service.engine.looks import film, watercolour
from service.engine.random_streams import Stream, random_stream
from service.engine.scene import Scene
from service.engine.warps import move, move_mask

_HUES = (28.0, 200.0, 150.0, 265.0)


@dataclass(frozen=True, slots=True)
class _Pose:
    """Size relative to what fits, place -1..1 in the free space, tilt in degrees."""

    size: float
    x: float
    y: float
    tilt: float


@dataclass(frozen=True, slots=True, eq=False)
class _Posed:
    """The figure in its pose on its own ground: picture, outline, and how it got there."""

    image: FloatArray = field(repr=False)
    alpha: FloatArray = field(repr=False)
    matrix: Matrix = field(repr=False)


_POSES = {
    "closer": _Pose(0.98, 0, 0.15, 2.5),
    "wider": _Pose(0.74, 0.55, 0.25, -4),
    "light": _Pose(0.90, -0.3, 0.1, 0),
    "mood": _Pose(0.86, -0.25, 0.1, 3),
    "paint": _Pose(0.90, 0.15, 0.1, -2),
    "aside": _Pose(0.80, -0.7, -0.2, 5),
    "film": _Pose(0.94, 0.1, 0.0, 0),
    "studio": _Pose(0.70, 0.0, 0.45, 0),
}


def make_plain(task: Task) -> Result:
    """The figure as the task's idea has it."""
    posed = _pose(task)
    if not task.relights:
        return Result(posed.image, posed.matrix)
    if task.scene.kind is Kind.DARK:
        return Result(_on_black(task, posed), posed.matrix)
    hue = _hue(task)
    makers = {
        "closer": _closer,
        "wider": _wider,
        "light": _light,
        "mood": _mood,
        "paint": _paint,
        "aside": _aside,
        "film": _film,
        "studio": _studio,
    }
    return Result(unit(makers[task.idea](task, posed, hue)), posed.matrix)


def relight_plain(task: Task, name: str) -> Result:
    """The figure in other light, its ground untouched."""
    scene = task.scene
    alpha = figure_alpha(scene)
    lit = light(scene.image, name, task.amount(1.0), side=task.side, matte=alpha, glow=False)
    return Result(mix(scene.image, lit, alpha), np.eye(2, 3, dtype=np.float32))


def _pose(task: Task) -> _Posed:
    scene = task.scene
    pose = _POSES[task.idea]
    generator = task.generator()
    jitter = generator.uniform(-0.3, 0.3, 2) * (1 if task.variant else 0.4)
    upright = scene.is_pixel_art or bool(scene.texts)
    tilt = 0.0 if upright else task.side * pose.tilt * min(1.3, task.effort) * (-1 if task.variant % 2 else 1)
    turned = task.side * (-1 if task.variant % 2 else 1)
    x, y = np.clip(turned * pose.x + jitter[0], -1, 1), np.clip(pose.y + jitter[1], -1, 1)
    if not task.reframes:
        matrix = np.eye(2, 3, dtype=np.float32)
    else:
        matrix = figure_matrix(scene, pose.size, float(x), float(y), tilt)
    alpha = figure_alpha(scene)
    if scene.is_pixel_art:
        matrix = _whole_pixels(matrix)
    return _Posed(_moved(scene, matrix), move_mask(alpha, matrix), matrix)


def _moved(scene: Scene, matrix: Matrix) -> FloatArray:
    if not scene.is_pixel_art:
        return move(scene.image, matrix, scene.ground.rgb)
    values = (*(float(value) for value in scene.ground.rgb), 0.0)
    size = (scene.width, scene.height)
    found = cv2.warpAffine(
        scene.image, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=values
    )
    return np.asarray(found, np.float32)


def _whole_pixels(matrix: Matrix) -> Matrix:
    """Shifts by whole pixels only: edges of pixel art stay sharp."""
    rounded = matrix.copy()
    rounded[:, 2] = np.rint(rounded[:, 2])
    return rounded


def _hue(task: Task) -> float:
    """The hue that new grounds are derived from: the figure's own, else one by chance; another for each variant."""
    own = main_hue(task.scene)
    drawn = random_stream(task.seed, Stream.HUE).integers(len(_HUES))
    return (own if own is not None else _HUES[int(drawn)]) + 72.0 * task.variant


def _ground_size(task: Task) -> tuple[int, int]:
    return task.scene.height, task.scene.width


def _lit_figure(task: Task, posed: _Posed, name: str, amount: float, side: int) -> FloatArray:
    return light(posed.image, name, task.amount(amount), side=side, matte=posed.alpha, glow=False)


def _own_shade(scene: Scene, strength: float) -> FloatArray:
    """The ground's own colour, darker: for grounds that are not light."""
    return unit(scene.ground.rgb * np.float32(strength))


def _settled(
    task: Task, posed: _Posed, ground: FloatArray, shade: FloatArray | None, lit: FloatArray | None
) -> FloatArray:
    """The figure on another ground: multiplied where that was light, cut out where it was not."""
    scene = task.scene
    if scene.ground.is_light:
        placed = on_ground(posed.image, posed.alpha, ground, scene.ground.rgb, shade)
    else:
        soft = np.clip(gaussian_blur(cv2.dilate(posed.alpha, np.ones((3, 3), np.uint8)), 1.0), 0, 1)
        shaded = ground if shade is None else ground * (1 - shade)[..., None]
        placed = mix(shaded, posed.image, soft.astype(np.float32))
    return placed if lit is None else mix(placed, lit, posed.alpha)


def _closer(task: Task, posed: _Posed, hue: float) -> FloatArray:
    """Large, in warm light, on a ground hardly tinted."""
    scene, (height, width) = task.scene, _ground_size(task)
    lit = _lit_figure(task, posed, "gold", 0.75, task.side) if scene.kind is Kind.PRODUCT else None
    if scene.ground.is_light:
        ground = gradient(height, width, colour(hue + 30, 0.05, 1.0), colour(hue + 15, 0.14, 0.97), (0, -0.2), 0.04)
    else:
        ground = gradient(height, width, _own_shade(scene, 1.12), _own_shade(scene, 0.80), (0, -0.2), 0.2)
    return _settled(task, posed, ground, None, lit)


def _wider(task: Task, posed: _Posed, hue: float) -> FloatArray:
    """Smaller, off centre, with a shadow on a tinted ground."""
    scene, (height, width) = task.scene, _ground_size(task)
    longest, side = scene.longest, task.side
    if scene.kind is Kind.PRODUCT:
        ground = _table(task, hue + 180, 0.10, 0.95)
        shade = np.maximum(
            shadow(posed.alpha, -side * longest * 0.03, longest * 0.02, longest / 28, 0.30),
            shadow(posed.alpha, 0, longest * 0.008, longest / 110, 0.22),
        )
        lit = _lit_figure(task, posed, "natural", 0.6, side)
    else:
        if scene.ground.is_light:
            top, bottom = colour(hue + 165, 0.16, 0.97), colour(hue + 195, 0.26, 0.90)
        else:
            top, bottom = _own_shade(scene, 0.9), _own_shade(scene, 0.65)
        ground = gradient(height, width, top, bottom, (side * 0.4, -0.5), 0.08)
        shade = shadow(posed.alpha, -side * longest * 0.008, longest * 0.012, longest / 70, 0.22)
        lit = None
    return _settled(task, posed, ground, shade * (1 - posed.alpha), lit)


def _table(task: Task, hue: float, saturation: float, value: float) -> FloatArray:
    """A backdrop that runs into a table top."""
    height, width = _ground_size(task)
    backdrop = gradient(
        height,
        width,
        colour(hue, saturation, value),
        colour(hue, saturation * 1.8, value - 0.09),
        (-task.side * 0.3, -0.4),
        0.08,
    )
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    top = np.repeat(np.clip((rows - 0.70) / 0.06, 0, 1), width, 1).astype(np.float32)
    warm = np.clip(backdrop * np.array([1.06, 1.04, 1.0], np.float32), 0, 1)
    return mix(backdrop, warm, gaussian_blur(top, max(height, width) / 60))


def _light(task: Task, posed: _Posed, hue: float) -> FloatArray:  # noqa: ARG001 - the makers' signature
    """Evening light on the figure and on a warm ground."""
    scene, (height, width) = task.scene, _ground_size(task)
    if scene.ground.is_light:
        ground = gradient(height, width, colour(38, 0.14, 0.99), colour(24, 0.28, 0.93), (task.side * 0.6, -0.6), 0.06)
    else:
        ground = gradient(height, width, _own_shade(scene, 1.2), _own_shade(scene, 0.7), (task.side * 0.6, -0.6), 0.3)
    shade = shadow(posed.alpha, -task.side * scene.longest * 0.02, scene.longest * 0.015, scene.longest / 45, 0.22)
    lit = _lit_figure(task, posed, "evening", 0.6, task.side) if scene.kind is Kind.PRODUCT else None
    return _settled(task, posed, ground, shade * (1 - posed.alpha), lit)


def _mood(task: Task, posed: _Posed, hue: float) -> FloatArray:
    """On a dark ground; drawings in dark ink turn light."""
    scene, (height, width) = task.scene, _ground_size(task)
    product = scene.kind is Kind.PRODUCT
    spot = (task.side * 0.3, -0.2)
    dark = gradient(
        height,
        width,
        colour(hue + (190 if product else 0), 0.42, 0.30),
        colour(hue + (200 if product else 15), 0.50, 0.15),
        spot,
        0.5,
    )
    if not scene.ground.is_light:
        ground = gradient(height, width, _own_shade(scene, 1.15), _own_shade(scene, 0.62), spot, 0.3)
        return _settled(task, posed, ground, None, None)
    if product:
        return _cut_out(task, posed, dark)
    if has_dark_ink(scene):
        return _reversed(task, posed, dark)
    ground = gradient(height, width, colour(hue + 150, 0.10, 0.98), colour(hue + 210, 0.20, 0.92), spot, 0.08)
    longest = scene.longest
    shade = shadow(posed.alpha, task.side * longest * 0.012, longest * 0.018, longest / 60, 0.3)
    return _settled(task, posed, ground, shade * (1 - posed.alpha), None)


def _cut_out(task: Task, posed: _Posed, dark: FloatArray) -> FloatArray:
    """A product before a dark ground. Its old shadow on white would glow there, so it is cut out, not multiplied."""
    longest = task.scene.longest
    shade = shadow(posed.alpha, task.side * longest * 0.02, longest * 0.02, longest / 30, 0.45) * (1 - posed.alpha)
    lit = _lit_figure(task, posed, "evening", 0.6, -task.side)
    multiplied = on_ground(posed.image, posed.alpha, dark, task.scene.ground.rgb, shade)
    return mix(multiplied, lit, posed.alpha)


def _reversed(task: Task, posed: _Posed, dark: FloatArray) -> FloatArray:
    """Light ink on a dark ground; coloured ink keeps its colour."""
    lab = to_lab(posed.image)
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    inverted = lab.copy()
    inverted[..., 0] = 100 - lab[..., 0] * 0.97
    pale = np.clip(cv2.cvtColor(inverted, cv2.COLOR_Lab2RGB), 0, 1)
    ink = mix(pale, posed.image, unit((chroma - 18) / 20))
    inked = np.clip(np.linalg.norm(lab - task.scene.ground.lab, axis=2) / 60, 0, 1)
    return mix(dark, ink, inked.astype(np.float32))


def _paint(task: Task, posed: _Posed, hue: float) -> FloatArray:
    """A product in watercolour; behind a drawing, a wash."""
    scene, (height, width) = task.scene, _ground_size(task)
    generator = task.generator()
    if scene.kind is Kind.PRODUCT:
        texts = moved(scene.texts, posed.matrix)
        keep = np.clip(gaussian_blur(box_mask((height, width), texts), scene.longest / 160) * 0.95, 0, 1)
        on_own = np.where(posed.alpha[..., None] > 0.02, posed.image, scene.ground.rgb).astype(np.float32)
        grown = unit(cv2.dilate(posed.alpha, np.ones((3, 3), np.uint8)))
        painted = watercolour(on_own, keep.astype(np.float32), generator, figure=grown)
        outline = unit(gaussian_blur(posed.alpha, 1.5) * 1.5)
        if not scene.ground.is_light:
            return mix(np.broadcast_to(scene.ground.rgb, painted.shape), painted, outline)
        around = gaussian_blur(cv2.dilate(posed.alpha, np.ones((9, 9), np.uint8)), scene.longest / 16)
        ground = wash(height, width, colour(hue + 180, 0.16, 0.98), colour(hue + 60, 0.14, 0.99), around, generator)
        return mix(ground, painted, outline)
    if not scene.ground.is_light:
        return mix(posed.image, _lit_figure(task, posed, "morning", 0.8, task.side), posed.alpha)
    around = gaussian_blur(cv2.dilate(posed.alpha, np.ones((9, 9), np.uint8)), scene.longest / 22)
    ground = wash(height, width, colour(hue + 20, 0.30, 0.99), colour(hue + 140, 0.22, 0.98), around, generator)
    return on_ground(posed.image, posed.alpha, ground, scene.ground.rgb)


def _aside(task: Task, posed: _Posed, hue: float) -> FloatArray:
    """Far to one side, half of the ground in another tone."""
    scene, (height, width) = task.scene, _ground_size(task)
    if scene.ground.is_light:
        one, other = colour(hue + 40, 0.08, 0.99), colour(hue + 200, 0.20, 0.93)
    else:
        one, other = _own_shade(scene, 1.15), _own_shade(scene, 0.75)
    across = np.linspace(-1, 1, width, dtype=np.float32)[None] * task.side
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    half = 1 / (1 + np.exp(-(across * 1.0 + down * 0.35) * 60))
    ground = mix(gradient(height, width, one, one), gradient(height, width, other, other), half.astype(np.float32))
    longest = scene.longest
    shade = shadow(posed.alpha, task.side * longest * 0.010, longest * 0.014, longest / 60, 0.25)
    return _settled(task, posed, ground, shade * (1 - posed.alpha), None)


def _film(task: Task, posed: _Posed, hue: float) -> FloatArray:  # noqa: ARG001 - the makers' signature
    """Without colours, on grey paper."""
    scene, (height, width) = task.scene, _ground_size(task)
    grey = film(posed.image, task.generator()) if scene.kind is Kind.PRODUCT else to_grey(posed.image)
    base = luma(np.ascontiguousarray(scene.ground.rgb[None, None]))[0, 0]
    pale = np.full(3, 0.90 if scene.ground.is_light else base * 0.7, np.float32)
    ground = gradient(height, width, pale, pale * np.float32(0.88), (task.side * 0.3, -0.4), 0.08)
    plain = to_grey(posed.image)
    settled = (
        on_ground(plain, posed.alpha, ground, np.full(3, max(base, 0.02), np.float32))
        if scene.ground.is_light
        else None
    )
    if settled is None:
        return mix(ground, grey, unit(posed.alpha * 1.2))
    return mix(settled, grey, posed.alpha)


def _studio(task: Task, posed: _Posed, hue: float) -> FloatArray:
    """On a table, before a neutral backdrop."""
    scene = task.scene
    longest = scene.longest
    if not scene.ground.is_light:
        ground = gradient(*_ground_size(task), _own_shade(scene, 1.3), _own_shade(scene, 0.8), (0, 0.3), 0.3)
        return _settled(task, posed, ground, None, None)
    ground = _table(task, hue + 30, 0.05, 0.93)
    shade = np.maximum(
        shadow(posed.alpha, task.side * longest * 0.02, longest * 0.03, longest / 24, 0.28),
        shadow(posed.alpha, 0, longest * 0.008, longest / 110, 0.25),
    )
    lit = _lit_figure(task, posed, "high", 0.4, task.side) if scene.kind is Kind.PRODUCT else None
    return _settled(task, posed, ground, shade * (1 - posed.alpha), lit)


def _on_black(task: Task, posed: _Posed) -> FloatArray:
    """Pictures on black (scans, stars, logos): the content gets another light, and black stays black."""
    if is_white_ink(task.scene):
        return _white_on_black(task, posed)
    names = {"closer": "natural", "wider": "gold", "light": "evening", "mood": "high"}
    name = names.get(task.idea, "morning")
    lit = light(posed.image, name, task.amount(0.7), side=task.side, matte=posed.alpha, glow=False)
    if task.scene.is_grey:
        lit = mix(to_grey(lit), lit, 0.3)
    if task.idea == "film":
        lit = to_grey(lit)
    return mix(posed.image, lit, posed.alpha)


def _white_on_black(task: Task, posed: _Posed) -> FloatArray:
    """A logo in white: as it is, in a colour, on coloured ground, or in dark ink on paper."""
    height, width = _ground_size(task)
    hue = _hue(task)
    ink = luma(posed.image)
    spot = (task.side * 0.3, -0.3)
    if task.idea in ("closer", "film"):
        return posed.image
    if task.idea in ("wider", "aside"):
        ground = gradient(height, width, colour(hue, 0.55, 0.42), colour(hue + 25, 0.62, 0.22), spot, 0.3)
        return mix(ground, np.ones_like(ground), ink)
    if task.idea in ("light", "mood"):
        tone = gradient(height, width, colour(44, 0.25, 1.0), colour(32, 0.70, 0.92), spot, 0.1)
        return mix(posed.image, tone, ink)
    ground = gradient(height, width, colour(hue, 0.05, 0.98), colour(hue, 0.10, 0.92), spot, 0.06)
    return mix(ground, np.broadcast_to(colour(hue, 0.5, 0.18), ground.shape), ink)
