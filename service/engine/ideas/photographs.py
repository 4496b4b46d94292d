"""Ideas for photographs: of people, of another clear subject, of anything else."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from service.engine.arrays import ByteArray, FloatArray, gaussian_blur, luma, mix, resize, to_grey, unit
from service.engine.backdrops import colour, gradient
from service.engine.boxes import Box, Matrix, box_mask, moved
from service.engine.checks import inspect, seam_score, twin_score
from service.engine.extend import widen
from service.engine.frames import Wish, find_frames
from service.engine.ideas.task import Result, Task
from service.engine.kinds import Kind
from service.engine.light import defocus, falloff, light
from service.engine.looks import film, oil, vintage, watercolour
from service.engine.random_streams import Stream, random_stream
from service.engine.scene import Scene, Sides
from service.engine.warps import Frame, move_detailed, move_mask

_DARK = 0.10
_NIGHT = 0.28
_BRIGHTENED = 0.17
_LIT = 0.35
_WORST_SEAM = 0.55
_MOST_FORBIDDEN = 0.6
_TWIN = 0.8
_ACCEPTABLE = 1.0
_LARGE_FACE = 0.05
_SMALL_FACES = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The scene in a new framing."""

    image: FloatArray = field(repr=False)
    matrix: Matrix = field(repr=False)
    matte: FloatArray = field(repr=False)
    faces: tuple[Box, ...]
    texts: tuple[Box, ...]
    unknown: ByteArray | None = field(repr=False, default=None)

    @property
    def skin(self) -> FloatArray | None:
        """The mask of the faces; None without any."""
        if not self.faces:
            return None
        heads = [face.grown(0.15, 0.35, 0.15, 0.3) for face in self.faces]
        return gaussian_blur(box_mask(self.matte.shape, heads), max(self.matte.shape) / 50)

    @property
    def keep(self) -> FloatArray:
        """The mask of areas that a painting must keep fine: faces half, text wholly."""
        longest = max(self.matte.shape)
        heads = [face.grown(0.1, 0.2, 0.1, 0.1) for face in self.faces]
        faces = gaussian_blur(box_mask(self.matte.shape, heads), longest / 60) * 0.55
        texts = gaussian_blur(box_mask(self.matte.shape, self.texts), longest / 160) * 0.95
        return unit(faces + texts)


def make_photograph(task: Task) -> Result:
    """The photograph as the task's idea has it."""
    task = dataclasses.replace(task, scene=_brightened(task.scene)) if task.relights else task
    return _MAKERS[task.idea](task)


def _brightened(scene: Scene) -> Scene:
    """A scene too dark to vary, raised to where light can be told from dark."""
    grey = luma(scene.image)
    mean = float(grey.mean())
    if mean >= _DARK or float(np.percentile(grey, 99)) > _LIT:  # stars and lamps are light enough
        return scene
    power = np.float32(math.log(_BRIGHTENED) / math.log(max(0.004, mean)))
    image = np.power(scene.image, power)
    detail = (np.power(scene.detail.astype(np.float32) / 255, power) * 255 + 0.5).astype(np.uint8)
    return dataclasses.replace(scene, image=image, detail=detail)


def _view(scene: Scene, frame: Frame) -> View:
    matrix = frame.matrix(scene.width, scene.height)
    return View(
        image=move_detailed(scene.detail, matrix, scene.width, scene.height),
        matrix=matrix,
        matte=move_mask(scene.matte, matrix),
        faces=moved(scene.faces, matrix),
        texts=moved(scene.texts, matrix),
    )


def _framed(task: Task, wish: Wish, choice: int = 0) -> View:
    """The scene in the best framing of a kind (or in its ``choice``-th best); unchanged where there is none."""
    if not task.reframes:
        return _view(task.scene, Frame(zoom=1.02))
    frames = find_frames(task.scene, wish, task.generator())
    task.checkpoint()
    return _view(task.scene, frames[min(choice, len(frames) - 1)] if frames else Frame())


def _brightness(task: Task) -> float:
    return float(luma(task.scene.image).mean())


def _centre(task: Task, view: View) -> tuple[float, float]:
    """The centre of the important parts, in pixels of the view."""
    scene = task.scene
    weight = scene.protect if scene.has_subject else resize(scene.salience, scene.height, scene.width) ** 2
    coarse = weight[::4, ::4]
    total = float(coarse.sum()) + 1e-6
    x = float((coarse.sum(0) * np.arange(coarse.shape[1])).sum()) * 4 / total
    y = float((coarse.sum(1) * np.arange(coarse.shape[0])).sum()) * 4 / total
    moved_x, moved_y = view.matrix @ np.array([x, y, 1], np.float32)
    return float(moved_x), float(moved_y)


def _solid(view: View) -> FloatArray | None:
    return view.matte if view.matte.any() else None


def _closer(task: Task) -> Result:
    """A crop; the ground out of focus where the subject's outline is known, else light that falls off around it."""
    scene, bright = task.scene, _brightness(task)
    neutral = (1.30, 1.18, 1.42)[task.variant % 3]
    view = _framed(task, Wish(1.02, 1.6, zoom=task.zoom(neutral)))
    if not task.relights:
        return Result(view.image, view.matrix)
    if scene.is_soft:
        return Result(_softened(task, view, bright), view.matrix)
    name = ("punch" if bright > 0.22 else "high", "low" if bright > 0.45 else "natural", "morning")[task.variant % 3]
    lit = light(view.image, name, task.amount(1.0), side=task.side, skin=view.skin)
    strength = task.amount(0.62 if bright > 0.15 else 0.35)
    return Result(falloff(lit, _centre(task, view), strength), view.matrix)


def _softened(task: Task, view: View, bright: float) -> FloatArray:
    longest = task.scene.longest
    radius = max(2, round(longest / (60 if task.scene.texts else 46) * min(1.2, max(0.5, task.effort))))
    ground = defocus(view.image, view.matte, radius)
    if view.texts:
        ground = mix(ground, view.image, gaussian_blur(box_mask(view.matte.shape, view.texts), longest / 120))
    if bright > 0.25:
        ground = np.power(ground, np.float32(1 + task.amount(0.28)))
    ground = mix(ground, to_grey(ground), task.amount(0.12))
    lit = light(view.image, "natural", task.amount(0.8), side=task.side, matte=view.matte, skin=view.skin)
    return mix(ground, lit, view.matte)


def _wider(task: Task) -> Result:
    """More of the scene, made up from its own patches, in morning light; where that fails, a studio or a pan."""
    scene = task.scene
    best: tuple[float, View] | None = None
    if task.reframes and not scene.is_careful and float(scene.forbid.mean()) < _MOST_FORBIDDEN:
        scene = _held_where_forbidden(scene)
        hard = float(np.mean(scene.difficulty)) >= 0.55
        wanted = task.zoom((0.87 if hard else 0.80) if task.variant % 2 == 0 else 0.90)
        frames = find_frames(scene, Wish(0.72, 0.95, zoom=wanted, covers=False, turn=0.5), task.generator())
        chosen = [frames[number] for number in (0, 8) if number < len(frames)]
        chosen += [frame for frame in frames if frame.zoom > 0.88][:1]
        for frame in chosen:
            task.checkpoint()
            cost, view = _widened(task, frame)
            if cost < _WORST_SEAM and (best is None or cost - 0.2 * frame.score < best[0]):
                best = (cost - 0.2 * frame.score, view)
                if cost < 0.25:
                    break  # no seam that anyone would see: no need to try the others
    if best is None:
        if scene.is_soft and scene.kind is Kind.PEOPLE and task.relights:
            # Another backdrop than the one that "studio" itself would take in the same request.
            return _studio(dataclasses.replace(task, variant=task.variant + 1))
        return _aside(task)
    view = best[1]
    if not task.relights:
        return Result(view.image, view.matrix)
    name = "morning" if _brightness(task) > 0.2 and not scene.is_grey else "natural"
    lit = light(view.image, name, task.amount(0.7), side=-task.side, skin=view.skin)
    return Result(lit, view.matrix)


def _held_where_forbidden(scene: Scene) -> Scene:
    """The scene with sides pinned that something reaches of which there is nothing to copy from."""
    depth = max(2, scene.longest // 60)
    strips = (scene.forbid[:, :depth], scene.forbid[:, -depth:], scene.forbid[:depth], scene.forbid[-depth:])
    held = (pinned or float(strip.mean()) > 0.4 for pinned, strip in zip(scene.pinned, strips, strict=True))
    return dataclasses.replace(scene, pinned=Sides(*held))


def _widened(task: Task, frame: Frame) -> tuple[float, View]:
    """A wider view and what is wrong with it: seams, twins, lost or second faces and texts."""
    scene = task.scene
    matrix = frame.matrix(scene.width, scene.height)
    seed = int(random_stream(task.seed, Stream.IDEA, task.index, 1).integers(1 << 30))
    image, unknown = widen(scene.image, scene.forbid, matrix, seed, task.checkpoint)
    cost = seam_score(image, unknown) + 3 * max(0.0, twin_score(scene, image, unknown, matrix) - _TWIN)
    if cost < _WORST_SEAM:
        cost += inspect(scene, image, matrix).badness
    view = View(
        image=image,
        matrix=matrix,
        matte=move_mask(scene.matte, matrix),
        faces=moved(scene.faces, matrix),
        texts=moved(scene.texts, matrix),
        unknown=unknown,
    )
    return cost, view


def _light(task: Task) -> Result:
    """Evening, golden or low light, in nearly the same framing; full on the ground, gentler on the subject."""
    scene, bright = task.scene, _brightness(task)
    names: tuple[str, ...]
    if scene.is_grey:
        names = ("low", "high", "punch") if bright > 0.45 else ("high", "natural", "low")
    elif bright > 0.5:
        names = ("evening", "gold", "low", "morning")
    elif bright < _NIGHT:
        names = ("moon", "evening", "high", "gold")
    else:
        names = ("evening", "gold", "morning", "dusk")
    view = _framed(task, Wish(1.0, 1.24, zoom=task.zoom(1.12), turn=1.4))
    if not task.relights:
        return Result(view.image, view.matrix)
    return Result(_relit(task, view, names[task.variant % len(names)]), view.matrix)


def _relit(task: Task, view: View, name: str) -> FloatArray:
    lit = light(view.image, name, task.amount(1.0), side=task.side, matte=_solid(view), skin=view.skin)
    if not task.scene.is_soft:
        # Without an outline to treat apart, light that falls off is what tells the subject from the rest.
        return falloff(lit, _centre(task, view), task.amount(0.30))
    return mix(light(view.image, name, task.amount(1.25), side=task.side), lit, view.matte)


def _mood(task: Task) -> Result:
    """Blue hour or a low key, light left around the subject only."""
    scene, bright = task.scene, _brightness(task)
    view = _framed(task, Wish(1.0, 1.3, zoom=task.zoom(1.18)))
    if not task.relights:
        return Result(view.image, view.matrix)
    if bright < 0.2:
        name = ("high", "gold")[task.variant % 2]
    else:
        name = ("dusk", "low")[task.variant % 2] if not scene.is_grey else "low"
    matte = _solid(view)
    lit = light(view.image, name, task.amount(1.0), side=-task.side, matte=matte, skin=view.skin)
    strength = task.amount(0.7 if bright > 0.2 else 0.3)
    return Result(falloff(lit, _centre(task, view), strength, matte if scene.is_soft else None), view.matrix)


def _aside(task: Task) -> Result:
    """Another part of the scene: a crop that moves the subject out of the middle, in light from the other side."""
    bright = _brightness(task)
    view = _framed(task, Wish(1.0, 1.4, zoom=task.zoom(1.16 + 0.08 * (task.variant % 2)), turn=0.5, aside=3.0))
    if not task.relights:
        return Result(view.image, view.matrix)
    name = "high" if task.scene.is_grey or bright <= 0.3 else ("morning", "high")[task.variant % 2]
    lit = light(view.image, name, task.amount(1.35), side=-task.side, skin=view.skin)
    return Result(falloff(lit, _centre(task, view), task.amount(0.40)), view.matrix)


def _studio(task: Task) -> Result:
    """People before a painted backdrop; anything else in the light of a soft box."""
    scene = task.scene
    if not (scene.is_soft and scene.kind is Kind.PEOPLE and float(scene.matte.mean()) < 0.8 and task.relights):
        view = _framed(task, Wish(1.0, 1.2, zoom=task.zoom(1.06)), choice=3)
        lit = light(view.image, "high", task.amount(0.9), side=task.side, skin=view.skin)
        return Result(falloff(lit, _centre(task, view), task.amount(0.35)), view.matrix)
    view = _framed(task, Wish(1.0, 1.3, zoom=task.zoom(1.04), turn=0.5, aside=3.0))
    longest = scene.longest
    ground = gaussian_blur(defocus(view.image, view.matte, max(3, round(longest / 24))), longest / 30)
    hues = (212, 168, 262, 30)
    hue = hues[(int(random_stream(task.seed, Stream.HUE).integers(4)) + task.variant) % 4]
    painted = gradient(
        scene.height, scene.width, colour(hue, 0.42, 0.62), colour(hue + 25, 0.50, 0.22), (task.side * 0.5, -0.3), 0.7
    )
    tone = luma(ground)[..., None]
    if scene.is_grey:
        backdrop = np.clip(to_grey(painted) * (0.5 + 0.9 * tone), 0, 1)
    else:
        backdrop = np.clip((0.18 * ground + 0.82 * painted) * (0.92 + 0.22 * tone), 0, 1)
    lit = light(view.image, "natural", task.amount(0.7), side=task.side, matte=view.matte, skin=view.skin)
    wrap = np.clip(gaussian_blur(1 - view.matte, longest / 70) * view.matte * 0.5, 0, 0.35).astype(np.float32)
    wrapped = mix(lit, (1 - (1 - lit) * (1 - 0.6 * backdrop)).astype(np.float32), wrap)
    outline = unit(view.matte * 1.15 - 0.1)
    return Result(mix(backdrop.astype(np.float32), wrapped, outline), view.matrix)


def _paint(task: Task) -> Result:
    """An oil painting or a watercolour, whichever suits the picture's tones and keeps faces and text."""
    scene, bright = task.scene, _brightness(task)
    people = scene.kind is Kind.PEOPLE
    view = _framed(task, Wish(1.0, 1.28, zoom=task.zoom(1.10 if people else 1.05), turn=0.8))
    if not task.relights:
        return Result(view.image, view.matrix)
    keep, generator = view.keep, task.generator()
    margin = bool(random_stream(task.seed, Stream.LOOK, 1).integers(2)) and bright > 0.55 and not people
    first = "natural" if not people else "gold"

    def oil_painting(name: str, amount: float) -> FloatArray:
        lit = light(view.image, "high" if scene.is_grey else name, task.amount(amount), side=task.side, skin=view.skin)
        return oil(lit, keep, generator, is_grey=scene.is_grey)

    makers: list[Callable[[], FloatArray]] = [lambda: oil_painting(first, 0.5 if people else 0.9)]
    faces = sum(face.area for face in scene.faces) / (scene.width * scene.height)
    if len(scene.texts) <= 3:
        if bright > 0.42 or (people and faces < _SMALL_FACES):
            makers.append(lambda: watercolour(view.image, keep, generator, margin=margin))
        else:
            makers.append(lambda: oil_painting("gold" if bright > _NIGHT else "moon", 0.9))
    start = int(random_stream(task.seed, Stream.LOOK).integers(2)) + task.variant
    return _best_look(task, view, [makers[(start + number) % len(makers)] for number in range(len(makers))])


def _best_look(task: Task, view: View, makers: list[Callable[[], FloatArray]]) -> Result:
    """The first look that keeps faces and text; if none does, the best of them."""
    best: tuple[float, FloatArray] | None = None
    for maker in makers:
        task.checkpoint()
        painted = mix(view.image, maker(), min(1.0, 0.4 + 0.6 * task.effort))
        if not (task.scene.faces or task.scene.texts):
            return Result(painted, view.matrix)
        badness = inspect(task.scene, painted, view.matrix).badness
        if badness < _ACCEPTABLE:
            return Result(painted, view.matrix)
        if best is None or badness < best[0]:
            best = (badness, painted)
    assert best is not None  # there is at least one maker
    return Result(best[1], view.matrix)


def _film(task: Task) -> Result:
    """Black-and-white film, light falling off; of a picture without colours, or the second time, faded colour film."""
    scene = task.scene
    view = _framed(task, Wish(1.0, 1.28, zoom=task.zoom(1.16), turn=0.8))
    if not task.relights:
        return Result(view.image, view.matrix)
    image = view.image
    if scene.is_soft:
        image = mix(defocus(image, view.matte, max(2, round(scene.longest / 80))), image, view.matte)
    dark = _brightness(task) < 0.25
    lit = light(
        image,
        "high" if dark else "low",
        task.amount(0.45),
        side=task.side,
        matte=view.matte,
        skin=view.skin,
        glow=False,
    )
    shaded = falloff(lit, _centre(task, view), task.amount(0.3 if dark else 0.75), view.matte)
    generator = task.generator()
    developed = vintage(shaded, generator) if task.variant % 2 and not scene.is_grey else film(shaded, generator)
    return Result(mix(shaded, developed, min(1.0, 0.4 + 0.6 * task.effort)), view.matrix)


def relight_photograph(task: Task, name: str) -> Result:
    """The same framing in the light ``name``."""
    view = _view(task.scene, Frame(zoom=1.02))
    return Result(_relit(task, view, name), view.matrix)


def restyle_photograph(task: Task, look: Callable[[FloatArray, FloatArray, np.random.Generator], FloatArray]) -> Result:
    """Nearly the same framing, drawn, painted or printed."""
    view = _framed(task, Wish(1.0, 1.12, zoom=1.0 + 0.03 * (task.variant % 3), turn=0.4))
    styled = look(view.image, view.keep, task.generator())
    return Result(mix(view.image, styled, min(1.0, 0.4 + 0.6 * task.effort)), view.matrix)


_MAKERS: dict[str, Callable[[Task], Result]] = {
    "closer": _closer,
    "wider": _wider,
    "light": _light,
    "paint": _paint,
    "aside": _aside,
    "mood": _mood,
    "film": _film,
    "studio": _studio,
}
