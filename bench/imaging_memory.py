"""Memory and time that decoding takes: every format and mode at 50 megapixels, each in a process of its own.

    python -m bench.imaging_memory [--megapixels 50] [--only NAME ...]

For each file: the peak of the process's memory above what it held before, with the file counted, while the picture is
decoded to pixels, and while it is cover-cropped to 1024x1024 and encoded; both beside what ``decode_cost`` says of them
from the header alone. Ends with 1 where a cost is off by more than 30 %, or a peak is above 6 bytes a pixel (but for
files whose decoders need more by themselves: progressive JPEG, of which all coefficients are held, interlaced PNG,
WebP and AVIF).
"""

from __future__ import annotations

import argparse
import io
import json
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image

from service.core.values import ImageFormat, Size
from service.imaging.convert import Wish, finish
from service.imaging.decode import decode
from service.imaging.inspect import ImageLimits, decode_cost, inspect

MOST_BYTES_A_PIXEL = 6.0
COST_TOLERANCE = 0.3
# Their libraries hold the whole picture once or more before the first row comes out.
_HUNGRY = ("jpeg-RGB-progressive", "png-RGB-interlaced", "webp-", "avif-")
_COVER = Size(1024, 1024)
_LIMITS = ImageLimits(max_pixels=200_000_000)
Pixels = NDArray[np.uint8]


def _picture(width: int, height: int) -> Pixels:
    """A gradient with grain: compresses about as well as a photograph."""
    across = np.linspace(0, 255, width, dtype=np.float32)
    grain = np.random.default_rng(1).normal(0, 3, (256, width)).astype(np.float32)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, 256):
        rows = min(256, height - top)
        down = np.linspace(top, top + rows, rows, dtype=np.float32)[:, None] * (255 / height)
        for channel, plane in enumerate((across + 0 * down, down + 0 * across, 127 + 100 * np.sin(across / 30 + down))):
            pixels[top : top + rows, :, channel] = (plane + grain[:rows]).clip(0, 255)
    return pixels


def _saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def _png16(pixels: Pixels, channels: tuple[int, ...], colour: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write in colour."""
    height, width, _ = pixels.shape
    packer = zlib.compressobj(1)
    packed = []
    for row in pixels:
        wide = row[:, channels].astype(">u2") * np.uint16(257)
        packed.append(packer.compress(b"\0" + wide.astype(">u2").tobytes()))
    packed.append(packer.flush())
    header = struct.pack(">LLBBBBB", width, height, 16, colour, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", b"".join(packed)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _interlaced(pixels: Pixels) -> bytes:
    image = pyvips.Image.new_from_array(pixels)
    return bytes(image.pngsave_buffer(interlace=True, compression=1))


def _with_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def _sideways() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _files(pixels: Pixels) -> Mapping[str, Callable[[], bytes]]:
    """By name, how to make each file."""
    rgb = Image.fromarray(pixels)
    quick = {"compress_level": 1}
    few = partial(rgb.quantize, 64, method=Image.Quantize.FASTOCTREE)
    return {
        "png-1": lambda: _saved(rgb.convert("1"), "PNG", **quick),
        "png-L": lambda: _saved(rgb.convert("L"), "PNG", **quick),
        "png-LA": lambda: _saved(_with_alpha(rgb.convert("L")), "PNG", **quick),
        "png-P": lambda: _saved(few(), "PNG", **quick),
        "png-RGB": lambda: _saved(rgb, "PNG", **quick),
        "png-RGBA": lambda: _saved(_with_alpha(rgb), "PNG", **quick),
        "png-L-16": lambda: _png16(pixels, (0,), 0),
        "png-LA-16": lambda: _png16(pixels, (0, 1), 4),
        "png-RGB-16": lambda: _png16(pixels, (0, 1, 2), 2),
        "png-RGB-interlaced": lambda: _interlaced(pixels),
        "png-RGBA-16": lambda: _png16(pixels, (0, 1, 2, 0), 6),
        "jpeg-L": lambda: _saved(rgb.convert("L"), "JPEG", quality=90),
        "jpeg-RGB": lambda: _saved(rgb, "JPEG", quality=90),
        "jpeg-RGB-sideways": lambda: _saved(rgb, "JPEG", quality=90, exif=_sideways()),
        "jpeg-RGB-progressive": lambda: _saved(rgb, "JPEG", quality=90, progressive=True),
        "jpeg-CMYK": lambda: _saved(rgb.convert("CMYK"), "JPEG", quality=90),
        "webp-RGB": lambda: _saved(rgb, "WEBP", quality=90, method=0),
        "webp-RGBA": lambda: _saved(_with_alpha(rgb), "WEBP", quality=90, method=0),
        "webp-RGB-lossless": lambda: _saved(rgb, "WEBP", lossless=True, quality=0, method=0),
        "gif-P": lambda: _saved(few(), "GIF"),
        "avif-RGB": lambda: _saved(rgb, "AVIF", quality=60, speed=10),
        "tiff-RGB": lambda: _saved(rgb, "TIFF", compression="tiff_lzw"),
        "tiff-CMYK": lambda: _saved(rgb.convert("CMYK"), "TIFF", compression="packbits"),
        "bmp-P": lambda: _saved(few(), "BMP"),
        "bmp-RGB": lambda: _saved(rgb, "BMP"),
    }


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _measure(path: Path, task: str) -> dict[str, float]:
    """In a process of its own: the peak in bytes above the start, seconds of processor time, and the cost foretold."""
    # Libraries loaded at the first use do not count.
    small = _saved(Image.new("RGB", (64, 64)), "PNG")
    finish(small, Wish(Size(32, 32), ImageFormat.PNG), limits=_LIMITS)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    data = path.read_bytes()
    facts = inspect(data, limits=_LIMITS)
    started = time.process_time()
    if task == "decode":
        result: Any = decode(data, limits=_LIMITS).array()
        cost = decode_cost(facts, len(data))
    else:
        result = finish(data, Wish(_COVER, ImageFormat.PNG), limits=_LIMITS)
        cost = decode_cost(facts, len(data), output=_COVER)
    seconds = time.process_time() - started
    peak = _memory("VmHWM") - before
    assert result is not None
    return {"peak": peak, "seconds": seconds, "cost": cost, "file": len(data), "pixels": facts.size.pixels}


def _in_a_process(path: Path, task: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.imaging_memory", "--measure", task, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=50.0)
    parser.add_argument("--only", nargs="*", default=[], help="names, or files of one's own")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(_measure(Path(options.measure[1]), options.measure[0])))
        return 0
    width = round((options.megapixels * 1e6 * 4 / 3) ** 0.5)
    files = _files(_picture(width, round(options.megapixels * 1e6 / width)))
    files = {**files, **{name: Path(name).read_bytes for name in options.only if name not in files}}
    bad = 0
    print(f"{'file':22}{'MB':>6} | decode: B/px  MB  foretold      s | cover:   MB  foretold      s")
    with tempfile.TemporaryDirectory() as directory:
        for name, make in files.items():
            if options.only and name not in options.only:
                continue
            path = Path(directory) / "picture"
            path.write_bytes(make())
            bad += _report(name, _in_a_process(path, "decode"), _in_a_process(path, "cover"))
    return 1 if bad else 0


def _report(name: str, whole: Mapping[str, float], cover: Mapping[str, float]) -> bool:
    # The file is the caller's, and in memory already: the decoder's share is what is above it.
    a_pixel = (whole["peak"] - whole["file"]) / whole["pixels"]
    off = [each["cost"] / each["peak"] - 1 for each in (whole, cover)]
    bad = (a_pixel > MOST_BYTES_A_PIXEL and not name.startswith(_HUNGRY)) or max(
        abs(each) for each in off
    ) > COST_TOLERANCE
    print(
        f"{Path(name).name:22}{whole['file'] / 1e6:6.1f} | {a_pixel:12.1f} {whole['peak'] / 1e6:4.0f} "
        f"{whole['cost'] / 1e6:5.0f} {off[0]:+4.0%} {whole['seconds']:6.2f} | {cover['peak'] / 1e6:11.0f} "
        f"{cover['cost'] / 1e6:5.0f} {off[1]:+4.0%} {cover['seconds']:6.2f}{'  <-' if bad else ''}",
        flush=True,
    )
    return bad


if __name__ == "__main__":
    sys.exit(main())
