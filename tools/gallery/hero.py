"""The picture at the top of the README: `python -m tools.gallery.hero` varies the two sample photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from service import engine
from service.core.values import Size

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "docs" / "images" / "variations.jpg"
ROWS = (("astronaut", 7, 6), ("coffee", 8, 4))
"""Samples, seeds, and how many variations fill the width."""

HEIGHT = 300
GAP = 8


def main() -> None:
    """Writes the picture: in each row a sample, then its variations."""
    engine.configure(ROOT / ".gateway" / "cache")
    rows = [_row(name, seed, count) for name, seed, count in ROWS]
    width = max(sum(picture.width + GAP for picture in row) - GAP for row in rows)
    sheet = Image.new("RGB", (width, len(rows) * (HEIGHT + GAP) - GAP), "white")
    for number, row in enumerate(rows):
        # Rows of narrower pictures are spread over the same width.
        free = (width - sum(picture.width for picture in row)) / (len(row) - 1)
        left = 0.0
        for picture in row:
            sheet.paste(picture, (round(left), number * (HEIGHT + GAP)))
            left += picture.width + free
    sheet.thumbnail((1600, 1600), Image.Resampling.LANCZOS)
    sheet.save(TARGET, quality=86)


def _row(name: str, seed: int, count: int) -> list[Image.Image]:
    with Image.open(ROOT / "samples" / f"{name}.jpg") as opened:
        pixels = np.asarray(opened.convert("RGB"))
    source = engine.Source.analyse(pixels)
    size = Size(pixels.shape[1], pixels.shape[0])
    made = [pixels, *(engine.vary(source, size, seed=seed, index=index) for index in range(count))]
    return [_scaled(Image.fromarray(picture)) for picture in made]


def _scaled(picture: Image.Image) -> Image.Image:
    return picture.resize((round(picture.width * HEIGHT / picture.height), HEIGHT), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
