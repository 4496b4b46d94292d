"""Painting and printing looks, by fixed recipes. Each takes and gives H x W x 3 in 0..1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.engine.arrays import FloatArray, gaussian_blur, luma, mix, resize, unit

PAPER: FloatArray = np.array([0.985, 0.975, 0.95], np.float32)
_SECTORS = 8
_SHARPNESS = 4.0
_MONOCHROME = np.array([[0.38, 0.50, 0.12]], np.float32)
_FILM_TONE = np.array([0.96, 1.0, 1.06], np.float32)


def kuwahara(image: FloatArray, radius: int) -> FloatArray:
    """Flat strokes with sharp edges: the generalised Kuwahara filter (Papari, Petkov and Campisi, "Artistic Edge and
    Corner Enhancing Smoothing", IEEE TIP 2007), eight sectors of ``radius`` pixels."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    bell = np.exp(-(x * x + y * y) / (2 * (radius * 0.5) ** 2))
    angle = np.arctan2(y, x)
    squares = image * image
    total = np.zeros_like(image)
    weights = np.zeros(image.shape[:2], np.float32)
    for sector in range(_SECTORS):
        off = np.abs((angle - sector * np.pi / 4 + np.pi) % (2 * np.pi) - np.pi)
        kernel = (bell * np.clip(1.25 - off / (np.pi / 4), 0, 1)).astype(np.float32)
        kernel[radius, radius] = bell[radius, radius] / _SECTORS
        kernel /= kernel.sum()
        mean = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT)
        spread = cv2.filter2D(squares, -1, kernel, borderType=cv2.BORDER_REFLECT) - mean * mean
        deviation = np.sqrt(np.maximum(spread, 0).sum(2))
        weight = 1 / (1 + np.power(255 * 0.6 * deviation, _SHARPNESS))
        total += mean * weight[..., None]
        weights += weight
    return np.asarray(total / weights[..., None], np.float32)


def oil(image: FloatArray, keep: FloatArray, generator: np.random.Generator, *, is_grey: bool = False) -> FloatArray:
    """An oil painting: flat strokes, richer colour, and the relief of the brush.

    Args:
        keep: H x W: where strokes must be fine, such as faces and text.
    """
    longest = max(image.shape[:2])
    fine = kuwahara(image, 2)
    painted = mix(kuwahara(image, max(3, round(longest / 88))), fine * 0.75 + image * 0.25, keep)
    grey = luma(painted)[..., None]
    painted = grey + (painted - grey) * (1.0 if is_grey else 1.30)
    painted = painted + 0.03 * np.sin(2 * np.pi * (painted - 0.5))
    relief = _brush_relief(painted.astype(np.float32), generator)
    source_grey, painted_grey = luma(image), luma(painted.astype(np.float32))
    busy = gaussian_blur(np.abs(source_grey - gaussian_blur(source_grey, longest / 60)), longest / 50)
    visible = np.clip(busy * 14, 0.10, 1) * np.clip(4 * painted_grey * (1 - painted_grey) + 0.15, 0, 1)
    painted = painted * (1 + 0.050 * np.clip(relief, -2.5, 2.5) * visible * (1 - 0.8 * keep))[..., None]
    return unit(painted)


def _brush_relief(image: FloatArray, generator: np.random.Generator, steps: int = 9) -> FloatArray:
    """Bristle marks along the strokes, lit from the upper left: noise smeared along the structure tensor's edges
    (line integral convolution, Cabral and Leedom, SIGGRAPH 1993)."""
    grey = luma(image)
    slope_x, slope_y = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    xx = gaussian_blur(slope_x * slope_x, 3.5) + 1e-6
    xy, yy = gaussian_blur(slope_x * slope_y, 3.5), gaussian_blur(slope_y * slope_y, 3.5)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    height, width = grey.shape
    noise = gaussian_blur(generator.random((height, width), np.float32), 0.9)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    along_x, along_y = np.cos(angle).astype(np.float32) * 1.3, np.sin(angle).astype(np.float32) * 1.3
    total = noise.copy()
    for direction in (-1, 1):
        at_x, at_y = x.copy(), y.copy()
        for _ in range(steps):
            at_x += direction * along_x
            at_y += direction * along_y
            total += cv2.remap(noise, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    total = (total - total.mean()) / (total.std() + 1e-6)
    return np.asarray(-0.5 * cv2.Sobel(total, cv2.CV_32F, 1, 0) - 0.5 * cv2.Sobel(total, cv2.CV_32F, 0, 1), np.float32)


def clouds(height: int, width: int, generator: np.random.Generator, octaves: int = 5) -> FloatArray:
    """H x W of soft noise at several scales, deviation 1."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cells = 2 ** (octave + 1) + 2
        grid = generator.normal(size=(cells, cells)).astype(np.float32)
        total += resize(grid, height, width, cv2.INTER_CUBIC) * np.float32(0.6**octave)
    return np.asarray(total / (total.std() + 1e-6), np.float32)


def watercolour(
    image: FloatArray,
    keep: FloatArray,
    generator: np.random.Generator,
    *,
    margin: bool = False,
    figure: FloatArray | None = None,
) -> FloatArray:
    """A watercolour: pigment that is denser at edges and in the paper's grain (after Bousseau et al., "Interactive
    Watercolor Rendering with Temporal Coherence and Abstraction", NPAR 2006).

    Args:
        keep: H x W: where strokes must be fine.
        margin: Whether paper shows around the picture.
        figure: H x W: if given, only this is painted.
    """
    height, width = image.shape[:2]
    longest = max(height, width)
    washed = mix(kuwahara(image, max(3, round(longest / 90))), kuwahara(image, 2) * 0.6 + image * 0.4, keep)
    grey = luma(washed)[..., None]
    washed = np.power(np.clip(grey + (washed - grey) * 1.38, 0, 1), 0.88).astype(np.float32)
    smooth = gaussian_blur(luma(washed), 1.0)
    edges = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    blotches, grain = clouds(height, width, generator), _grain(height, width, generator, 0.8)
    density = 1 + 0.16 * blotches * (1 - 0.8 * keep) + 0.9 * np.clip(edges, 0, 0.5) + 0.05 * grain
    painted = np.exp(np.log(np.clip(washed, 0.02, 1)) * np.clip(density, 0.5, 1.9)[..., None])
    if figure is not None:
        painted = mix(np.ones_like(painted) * image[0, 0], painted, np.clip(gaussian_blur(figure, 1.2), 0, 1))
    elif margin:
        x = np.minimum(np.arange(width), np.arange(width)[::-1])[None] / longest
        y = np.minimum(np.arange(height), np.arange(height)[::-1])[:, None] / longest
        inked = np.clip((np.minimum(x, y) + 0.010 * blotches - 0.018) / 0.014, 0, 1)
        inked = np.maximum(inked, np.clip(keep * 1.2, 0, 1)).astype(np.float32)
        paper = np.ones_like(painted) * PAPER * (1 + 0.012 * grain[..., None])
        painted = mix(paper.astype(np.float32), (painted * PAPER / PAPER.max()).astype(np.float32), inked)
    return unit(painted)


def film(image: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Black-and-white film: a red-sensitive mix, an S-shaped curve, grain in the midtones, a warm tone."""
    grey = np.clip(cv2.transform(image, _MONOCHROME), 0, 1)
    grey = grey + 0.32 * grey * (1 - grey) * (2 * grey - 1)
    grain = gaussian_blur(generator.normal(size=grey.shape).astype(np.float32), 0.7) * 0.028
    toned = np.power(np.clip(grey, 0, 1)[..., None], _FILM_TONE)
    return unit(toned + (grain * (4 * grey * (1 - grey)))[..., None])


def vintage(image: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Faded colour film of the seventies: warm lights, teal shadows, soft contrast, grain."""
    grey = luma(image)[..., None]
    faded = grey + (image - grey) * 0.72
    shadows, lights = np.array([0.015, 0.05, 0.065], np.float32), np.array([0.05, 0.015, -0.07], np.float32)
    weight = 4 * grey * (1 - grey)
    faded = faded + (shadows * (1 - grey) + lights * grey) * weight * 1.6
    faded = 0.06 * (1 - faded) * weight + faded
    grain = gaussian_blur(generator.normal(size=grey.shape[:2]).astype(np.float32), 0.7) * 0.022
    return unit(faded + grain[..., None] * weight)


def pencil(image: FloatArray, generator: np.random.Generator) -> FloatArray:
    """A pencil drawing: dodged lines over hatching in the shadows, on paper."""
    height, width = image.shape[:2]
    longest = max(height, width)
    grey = luma(cv2.bilateralFilter(image, 0, 0.08, max(1.0, longest / 400)))
    inverted = gaussian_blur(1 - grey, longest / 110)
    lines = np.clip(grey / np.maximum(1 - inverted, 0.04), 0, 1) ** 1.8
    hatch = _hatching(height, width, generator)
    shade = np.clip((0.72 - gaussian_blur(grey, longest / 300)) / 0.72, 0, 1)
    tone = 1 - 0.62 * shade * (0.55 + 0.45 * hatch)
    drawn = np.clip(lines * tone, 0, 1)
    grain = _grain(height, width, generator, 0.9) * 0.02
    graphite = np.array([0.17, 0.17, 0.20], np.float32)
    covered = np.clip(drawn + grain * (1 - drawn), 0, 1)
    return unit(graphite + (PAPER - graphite) * covered[..., None])


def _hatching(height: int, width: int, generator: np.random.Generator) -> FloatArray:
    """Strokes from the upper right to the lower left, 0..1."""
    side = int(np.hypot(height, width)) + 4
    noise = generator.random((side, side), np.float32)
    streaks = cv2.blur(gaussian_blur(noise, 0.7), (max(9, side // 24), 1))
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), 52, 1.0)
    turned = cv2.warpAffine(streaks, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
    top, left = (side - height) // 2, (side - width) // 2
    part = turned[top : top + height, left : left + width]
    return unit((part - part.mean()) / (part.std() + 1e-6) * 0.3 + 0.5)


def poster(image: FloatArray, keep: FloatArray) -> FloatArray:
    """A screen print: a few flat, strong tones with clean edges."""
    longest = max(image.shape[:2])
    flat = mix(kuwahara(image, max(3, round(longest / 120))), kuwahara(image, 2), keep)
    lab = cv2.cvtColor(flat, cv2.COLOR_RGB2Lab)
    steps = 5
    level = lab[..., 0] / 100 * steps
    base = np.floor(level)
    # A narrow ramp between tones instead of a step, so that edges do not crawl.
    lab[..., 0] = (base + np.clip((level - base - 0.5) * 6 + 0.5, 0, 1)) / steps * 100
    lab[..., 1:] = gaussian_blur(np.ascontiguousarray(lab[..., 1:]), longest / 250) * 1.45
    printed = np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1)
    return mix(printed, flat, np.clip(keep * 1.4, 0, 0.85))


def duotone(image: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Two inks on paper: dark blue shadows into a warm light."""
    pairs = (
        ((0.09, 0.12, 0.30), (0.99, 0.90, 0.78)),
        ((0.22, 0.06, 0.24), (1.0, 0.86, 0.62)),
        ((0.03, 0.20, 0.22), (0.97, 0.95, 0.80)),
    )
    dark, pale = (np.array(ink, np.float32) for ink in pairs[int(generator.integers(len(pairs)))])
    grey = luma(image)
    grey = np.clip(grey + 0.25 * grey * (1 - grey) * (2 * grey - 1) * 2, 0, 1)
    grain = _grain(grey.shape[0], grey.shape[1], generator, 0.8) * 0.015
    return unit(dark + (pale - dark) * np.clip(grey + grain, 0, 1)[..., None])


def _grain(height: int, width: int, generator: np.random.Generator, size: float) -> FloatArray:
    """Noise of ``size`` pixels, deviation 1."""
    noise = gaussian_blur(generator.normal(size=(height, width)).astype(np.float32), size)
    return np.asarray(noise / (noise.std() + 1e-6), np.float32)


Look = Callable[[FloatArray, FloatArray, np.random.Generator], npt.NDArray[Any]]

STYLES: dict[str, Look] = {
    "oil": oil,
    "watercolour": watercolour,
    "film": lambda image, _, generator: film(image, generator),
    "vintage": lambda image, _, generator: vintage(image, generator),
    "pencil": lambda image, _, generator: pencil(image, generator),
    "poster": lambda image, keep, _: poster(image, keep),
    "duotone": lambda image, _, generator: duotone(image, generator),
}
"""By name: of a picture, where its strokes must be fine, and a source of chance."""
