"""`make gallery`: fetches the listed pictures, varies each four times, and writes contact sheets and a report."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, ImageOps

from service import engine
from service.core.values import Size
from tools.gallery import fetch, measures

ROOT = Path(__file__).parents[2]
SHEETS = ROOT / "docs" / "images" / "gallery"
REPORT = ROOT / "docs" / "engine-gallery.md"
IMAGES = 4
SIDE = 640
CELL = 200
GAP = 6
CAPTION = 18
SEED = 7

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Row:
    """One picture and its variations."""

    name: str
    package: str
    kind: str
    seconds: float
    verdict: measures.Verdict
    pictures: list[Pixels]


def main() -> None:
    """Makes everything anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=Path, default=ROOT / ".gateway" / "gallery", help="where pictures are kept")
    parser.add_argument("--only", default="", help="one group, by the beginning of its name; the report is not written")
    options = parser.parse_args()
    fetch.fetch(options.sources)
    engine.configure(ROOT / ".gateway" / "cache")
    engine.warm_up()
    listed = fetch.load()
    SHEETS.mkdir(parents=True, exist_ok=True)
    groups: dict[str, list[Row]] = {}
    for group, sources in listed["groups"].items():
        if group.lower().startswith(options.only.lower()):
            groups[group] = list(_rows(sources, options.sources))
            _sheet(groups[group]).save(_sheet_path(group), quality=82)
    if not options.only:
        REPORT.write_text(_report(groups, listed), encoding="utf-8")


def _rows(sources: dict[str, dict[str, str]], folder: Path) -> Iterator[Row]:
    for name, source in sources.items():
        files = sorted(folder.glob(f"{name}.*"))
        if not files:
            continue
        pixels = _load(files[0])
        started = time.process_time()
        analysed = engine.Source.analyse(pixels)
        size = _size(pixels)
        made = [engine.vary(analysed, size, seed=SEED, index=index) for index in range(IMAGES)]
        seconds = time.process_time() - started
        verdict = measures.judge(pixels, made, is_document=analysed.kind == "document")
        print(f"{name}: {analysed.kind}, {seconds:.1f} s, {'; '.join(verdict.faults) or 'good'}")
        yield Row(name, source["package"], str(analysed.kind), seconds, verdict, [pixels, *made])


def _load(file: Path) -> Pixels:
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
        image = image.convert("RGBA" if image.mode in ("RGBA", "LA", "P", "PA") else "RGB")
    image.thumbnail((2048, 2048))
    return np.asarray(image)


def _size(pixels: Pixels) -> Size:
    scale = SIDE / max(pixels.shape[:2])
    return Size(max(64, round(pixels.shape[1] * scale)), max(64, round(pixels.shape[0] * scale)))


def _sheet(rows: list[Row]) -> Image.Image:
    """One row for each picture: the source, then its variations. What is transparent shows a chequered ground."""
    heights = [max(_cell(picture).height for picture in row.pictures) + CAPTION + GAP for row in rows]
    sheet = Image.new("RGB", ((IMAGES + 1) * (CELL + GAP) + GAP, sum(heights) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        caption = row.name if row.verdict.passed else f"{row.name}: {'; '.join(row.verdict.faults)}"
        draw.text((GAP, top), caption, fill=(60, 60, 60), font=ImageFont.load_default(13))
        for column, picture in enumerate(row.pictures):
            sheet.paste(_cell(picture), (GAP + column * (CELL + GAP), top + CAPTION))
        top += height
    return sheet


def _cell(picture: Pixels) -> Image.Image:
    image = Image.fromarray(picture)
    scale = min(CELL / image.width, CELL * 0.8 / image.height)
    method = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), method)
    if image.mode == "RGB":
        return image
    y, x = np.mgrid[0 : image.height, 0 : image.width]
    chequered = np.where(((y // 8 + x // 8) % 2 > 0)[..., None], 235, 205).astype(np.uint8)
    ground = Image.fromarray(np.repeat(chequered, 3, axis=2))
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _sheet_path(group: str) -> Path:
    return SHEETS / f"{group.lower().replace(' ', '-')}.jpg"


def _report(groups: dict[str, list[Row]], listed: dict[str, Any]) -> str:
    rows = [row for found in groups.values() for row in found]
    passed = sum(row.verdict.passed for row in rows)
    packages = sorted({row.package for row in rows})
    lines = [
        "# The embedded engine's gallery",
        "",
        f"`make gallery` wrote this page: {len(rows)} pictures of every kind, each varied four times by `local/vary`",
        f"(seed {SEED}, long side {SIDE} pixels). The first column is the source. The pictures come from free",
        "packages, listed below and in [sources.yaml](../tools/gallery/sources.yaml). Nothing is sorted out: failures",
        "stand here too.",
        "",
        f"**{passed} of {len(rows)} sets are without a fault** that [measures.py](../tools/gallery/measures.py) can",
        "count: faces lost or doubled, lines of text lost or invented, anything mirrored, white turned grey, alpha",
        "lost, images that are little more than a crop, or alike. It counts faces and text with the networks that the",
        "engine itself uses, on the finished pictures; it cannot see taste, and it takes blurred small print for lost.",
        "",
    ]
    for group, found in groups.items():
        lines += [f"## {group}", "", f"![{group}](images/gallery/{_sheet_path(group).name})", ""]
        faulty = [row for row in found if not row.verdict.passed]
        lines += [f"- **{row.name}**: {'; '.join(row.verdict.faults)}." for row in faulty]
        lines += [""] if faulty else []
    lines += ["## Where the pictures come from", "", "| picture | package | kind | CPU for four |", "|---|---|---|---|"]
    lines += [f"| {row.name} | {row.package} | {row.kind} | {row.seconds:.1f} s |" for row in rows]
    lines += ["", "| package | registry | licence |", "|---|---|---|"]
    lines += [
        f"| {package} | {listed['packages'][package]['registry']} | {listed['packages'][package]['licence']} |"
        for package in packages
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
