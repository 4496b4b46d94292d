"""Small pictures four times as large: realesr-animevideov3 of Real-ESRGAN (Wang et al., 2021; BSD-3-Clause).

It is a plain chain (3 x 3 convolutions with parametric ReLUs, then a pixel shuffle added to the enlarged input), so
it is computed right here: a runtime of its own would be a hundred times as large as the network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.engine.arrays import ByteArray, FloatArray, as_bytes, as_float
from service.engine.networks import weights

FACTOR = 4
MOST_PIXELS = 160 * 160
"""Larger ones take too long: this many take nearly two seconds of one core."""

_HALF_PRECISION_TAG = 0x01306B47
_WIDTH = 64
_LAYERS = 18
_TILE = 64
_LEAST_SIDE = 16
_MARGIN = 10


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """A 3 x 3 convolution as a matrix, out x (9 places x in), its bias, and slopes for negative values."""

    kernel: FloatArray = field(repr=False)
    bias: FloatArray = field(repr=False)
    slope: FloatArray | None = field(repr=False)


def enlarge(pixels: ByteArray) -> ByteArray | None:
    """``pixels`` (H x W x 3 bytes, RGB) four times as large; None without the network or where it is too large."""
    if pixels.shape[0] * pixels.shape[1] > MOST_PIXELS or min(pixels.shape[:2]) < _LEAST_SIDE:
        return None
    layers = weights.load(weights.ENLARGER, _read)
    if layers is None:
        return None
    height, width = pixels.shape[:2]
    padded = np.pad(as_float(pixels), ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), "edge")
    result = np.empty((height * FACTOR, width * FACTOR, 3), np.uint8)
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            rows, columns = min(_TILE, height - top), min(_TILE, width - left)
            tile = padded[top : top + rows + 2 * _MARGIN, left : left + columns + 2 * _MARGIN]
            large = _run(layers, np.ascontiguousarray(tile.transpose(2, 0, 1)))
            inner = large[:, _MARGIN * FACTOR :, _MARGIN * FACTOR :][:, : rows * FACTOR, : columns * FACTOR]
            result[top * FACTOR : (top + rows) * FACTOR, left * FACTOR : (left + columns) * FACTOR] = as_bytes(
                inner.transpose(1, 2, 0)
            )
    return result


def _run(layers: tuple[_Layer, ...], planes: FloatArray) -> FloatArray:
    """Channels x H x W in 0..1 to channels x 4H x 4W."""
    _, height, width = planes.shape
    values = planes
    for layer in layers:
        values = _convolve(values, layer)
        if layer.slope is not None:
            values += np.minimum(values, 0) * (layer.slope - 1)[:, None, None]
    shuffled = values.reshape(3, FACTOR, FACTOR, height, width).transpose(0, 3, 1, 4, 2)
    detail = shuffled.reshape(3, height * FACTOR, width * FACTOR)
    return np.asarray(detail + planes.repeat(FACTOR, 1).repeat(FACTOR, 2), np.float32)


def _convolve(planes: FloatArray, layer: _Layer) -> FloatArray:
    channels, height, width = planes.shape
    stride = width + 2
    # With two columns of padding in each row, all nine neighbours are plain shifts of the flattened planes.
    flat = np.zeros((channels, (height + 2) * stride + 2), np.float32)
    flat[:, : (height + 2) * stride].reshape(channels, height + 2, stride)[:, 1:-1, 1:-1] = planes
    length = height * stride
    gathered = np.empty((9, channels, length), np.float32)
    for place in range(9):
        start = place // 3 * stride + place % 3
        gathered[place] = flat[:, start : start + length]
    total = layer.kernel @ gathered.reshape(9 * channels, length)
    total += layer.bias[:, None]
    return np.ascontiguousarray(total.reshape(-1, height, stride)[:, :, :width])


def _read(path: Path) -> tuple[_Layer, ...]:
    """The layers from a file of ncnn's: each kernel tagged and at half precision, biases and slopes at full."""
    data = path.read_bytes()
    place = 0

    def take(count: int, kind: npt.DTypeLike) -> FloatArray:
        nonlocal place
        values = np.frombuffer(data, kind, count, place)
        place += (values.nbytes + 3) // 4 * 4
        return values.astype(np.float32)

    layers = []
    for number in range(_LAYERS):
        inputs = 3 if number == 0 else _WIDTH
        last = number == _LAYERS - 1
        outputs = 3 * FACTOR * FACTOR if last else _WIDTH
        if int(np.frombuffer(data, "<u4", 1, place)[0]) != _HALF_PRECISION_TAG:
            raise OSError(f"{path.name} is not as expected")
        place += 4
        kernel = take(outputs * inputs * 9, "<f2").reshape(outputs, inputs, 9).transpose(0, 2, 1)
        bias = take(outputs, "<f4")
        kernel = np.ascontiguousarray(kernel.reshape(outputs, 9 * inputs))
        layers.append(_Layer(kernel, bias, None if last else take(_WIDTH, "<f4")))
    return tuple(layers)
