"""Which idea falls to which image, and who realises it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from service.engine.arrays import FloatArray, gaussian_blur, mix
from service.engine.boxes import box_mask
from service.engine.figures import figure_alpha
from service.engine.ideas.flat import make_flat
from service.engine.ideas.pages import make_page, relight_page
from service.engine.ideas.photographs import make_photograph, relight_photograph, restyle_photograph
from service.engine.ideas.plain import make_plain, relight_plain
from service.engine.ideas.task import Result, Task
from service.engine.ideas.transparent import make_transparent, relight_transparent
from service.engine.kinds import FIGURES, PHOTOGRAPHS, Kind
from service.engine.looks import STYLES

_ORDER = ("closer", "wider", "light", "paint", "aside", "mood", "film", "studio")
_ORDER_BY_KIND: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        Kind.PEOPLE: ("closer", "wider", "light", "film", "aside", "studio", "mood", "paint"),
        Kind.PRODUCT: ("closer", "wider", "mood", "paint", "light", "aside", "studio", "film"),
        Kind.GRAPHIC: ("closer", "wider", "mood", "paint", "light", "aside", "studio", "film"),
        Kind.TRANSPARENT: ("closer", "wider", "mood", "paint", "light", "studio", "film", "aside"),
        Kind.DOCUMENT: ("closer", "mood", "wider", "paint", "light", "aside", "film", "studio"),
    }
)
"""The first four are the most different from each other: they are what a set of four shows."""

_FRAMINGS = ("closer", "wider", "aside")
_LIGHTS = ("evening", "morning", "low", "high", "gold", "dusk", "natural", "punch")
_LIGHTS_OF_GREY = ("low", "high", "punch", "natural")


def order_of(kind: Kind) -> tuple[str, ...]:
    """All ideas, in the order in which the images of a request take them."""
    return _ORDER_BY_KIND.get(kind, _ORDER)


def idea_and_variant(kind: Kind, index: int, idea: str | None, *, framing_only: bool) -> tuple[str, int]:
    """The idea of image ``index``, and how many earlier images took the same one."""
    if idea is not None:
        return idea, index
    order = _FRAMINGS if framing_only else order_of(kind)
    return order[index % len(order)], index // len(order)


def make(task: Task) -> Result:
    """The variation that the task describes."""
    kind = task.scene.kind
    if kind in PHOTOGRAPHS:
        return make_photograph(task)
    makers: Mapping[Kind, Callable[[Task], Result]] = {
        Kind.TRANSPARENT: make_transparent,
        Kind.DOCUMENT: make_page,
        Kind.FLAT: make_flat,
    }
    return makers.get(kind, make_plain)(task)


def relight(task: Task) -> Result:
    """The same framing, light ``index`` of the list; skin, white and black are kept."""
    scene = task.scene
    names = _LIGHTS_OF_GREY if scene.is_grey and scene.kind is not Kind.DOCUMENT else _LIGHTS
    name = names[task.index % len(names)]
    if scene.kind in PHOTOGRAPHS or scene.kind is Kind.FLAT:
        return relight_photograph(task, name)
    if scene.kind is Kind.TRANSPARENT:
        return relight_transparent(task, name)
    if scene.kind is Kind.DOCUMENT:
        return relight_page(task, name)
    return relight_plain(task, name)


def restyle(task: Task, style: str | None) -> Result:
    """Nearly the same framing in a style: the one that is named, else style ``index`` of the list."""
    names = tuple(STYLES)
    look = STYLES[style if style is not None else names[task.index % len(names)]]
    scene = task.scene
    if scene.kind in PHOTOGRAPHS or scene.kind is Kind.FLAT:
        return restyle_photograph(task, look)
    keep = np.clip(gaussian_blur(box_mask(scene.image.shape, scene.texts), scene.longest / 160) * 0.95, 0, 1)
    styled = look(scene.image, keep.astype(np.float32), task.generator())
    share: FloatArray | float = min(1.0, 0.4 + 0.6 * task.effort)
    if scene.kind in FIGURES and not scene.ground.is_light:
        share = figure_alpha(scene) * np.float32(share)  # black and coloured grounds stay as they are
    return Result(mix(scene.image, styled, share), np.eye(2, 3, dtype=np.float32), scene.alpha)
