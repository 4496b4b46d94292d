"""Pictures of kinds that no package ships: drawn here, with Pillow's own font."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def mug() -> Image.Image:
    """A product on white, with a word on it and a soft shadow."""
    shade = Image.new("L", (900, 900), 0)
    ImageDraw.Draw(shade).ellipse((240, 690, 720, 790), fill=110)
    shade = shade.filter(ImageFilter.GaussianBlur(22))
    picture = Image.composite(Image.new("RGB", shade.size, (90, 90, 95)), Image.new("RGB", shade.size, "white"), shade)
    body = np.zeros((900, 900, 3), np.uint8)
    x = np.clip((np.arange(900) - 250) / 400, 0, 1)
    level = 0.55 + 0.5 * np.exp(-(((x - 0.3) / 0.16) ** 2)) - 0.35 * x
    body[:] = (np.array([40, 110, 200]) * level[:, None]).clip(0, 255).astype(np.uint8)[None]
    mask = Image.new("L", (900, 900), 0)
    draw = ImageDraw.Draw(mask)
    draw.rectangle((250, 250, 650, 720), fill=255)
    draw.ellipse((250, 660, 650, 780), fill=255)
    picture.paste(Image.fromarray(body), mask=mask)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((250, 195, 650, 305), fill=(225, 232, 240), outline=(150, 165, 190), width=4)
    draw.ellipse((275, 212, 625, 290), fill=(70, 45, 32))
    draw.arc((590, 330, 800, 600), -80, 90, fill=(35, 95, 175), width=44)
    draw.text((450, 480), "ACME", fill="white", font=_font(110), anchor="mm")
    return picture


def word_mark() -> Image.Image:
    """A logo in two colours on white."""
    picture = Image.new("RGB", (1000, 420), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((70, 90, 310, 330), fill=(230, 60, 70))
    draw.polygon([(190, 140), (260, 270), (120, 270)], fill="white")
    draw.text((360, 210), "Northwind", fill=(30, 34, 48), font=_font(130), anchor="lm")
    return picture


def pixel_hero() -> Image.Image:
    """Pixel art, 16 x 16, eight times as large."""
    rows = (
        "................", "......hhhh......", ".....hhhhhh.....", ".....hssssh.....",
        ".....sesses.....", ".....ssssss.....", "......ssss......", "....rrrrrrrr....",
        "...rrrryyrrrr...", "...srrryyrrrs...", "...s.rrrrrr.s...", ".....bbbbbb.....",
        ".....bb..bb.....", ".....bb..bb.....", "....kkk..kkk....", "................",
    )  # fmt: skip
    colours = {
        ".": (255, 255, 255), "h": (92, 58, 30), "s": (244, 196, 152), "e": (30, 30, 60), "r": (200, 40, 50),
        "y": (250, 210, 60), "b": (50, 70, 160), "k": (40, 34, 34),
    }  # fmt: skip
    small = np.array([[colours[each] for each in row] for row in rows], np.uint8)
    return Image.fromarray(small).resize((128, 128), Image.Resampling.NEAREST)


def meme() -> Image.Image:
    """Two lines of white capitals over a picture without anything to read."""
    y, x = np.mgrid[0:700, 0:900]
    sky = np.stack([120 + 90 * (y / 700), 150 + 60 * (y / 700), 220 - 60 * (y / 700)], -1)
    hills = 430 + 60 * np.sin(x / 130) + 30 * np.sin(x / 47 + 1)
    ground = np.stack([60 + 40 * np.sin(x / 31) * np.cos(y / 23), 120 + 0 * x, 60 + 0 * x], -1)
    picture = Image.fromarray(np.where((y > hills)[..., None], ground, sky).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for text, top in (("WHEN THE TESTS", 80), ("PASS ON FRIDAY", 620)):
        draw.text((450, top), text, fill="white", font=_font(92), anchor="mm", stroke_width=6, stroke_fill="black")
    return picture


def dialog() -> Image.Image:
    """A screen with a window."""
    picture = Image.new("RGB", (1100, 700), (52, 60, 80))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((90, 70, 1010, 630), 14, fill=(246, 247, 249))
    draw.rounded_rectangle((90, 70, 1010, 122), 14, fill=(224, 227, 232))
    draw.text((550, 97), "Preferences", fill=(40, 44, 52), font=_font(26), anchor="mm")
    lines = (
        "General", "Start the service when I log in", "Ask before sending pictures to a provider",
        "Keep results for seven days", "Largest size of an upload: 50 MB", "Language: English",
    )  # fmt: skip
    for number, text in enumerate(lines):
        top = 170 + 66 * number
        if number:
            draw.rounded_rectangle((140, top - 14, 168, top + 14), 6, outline=(110, 118, 132), width=3)
        draw.text((195 if number else 140, top), text, fill=(34, 38, 46), font=_font(28), anchor="lm")
    for left, text, fill in ((700, "Cancel", (224, 227, 232)), (850, "Save", (70, 120, 230))):
        draw.rounded_rectangle((left, 566, left + 130, 610), 8, fill=fill)
        draw.text(
            (left + 65, 588), text, fill=(20, 24, 32) if text == "Cancel" else "white", font=_font(24), anchor="mm"
        )
    return picture


def receipt() -> Image.Image:
    """A narrow slip of paper with small print, photographed a little unevenly."""
    picture = Image.new("RGB", (520, 900), (238, 236, 230))
    draw = ImageDraw.Draw(picture)
    draw.text((260, 70), "CORNER BAKERY", fill=(40, 40, 44), font=_font(40), anchor="mm")
    items = (
        ("Rye bread", "3.20"),
        ("Cinnamon roll", "2.40"),
        ("Coffee, large", "3.10"),
        ("Apple cake", "2.90"),
        ("Rolls, 6", "3.60"),
        ("Butter", "2.75"),
    )
    for number, (item, price) in enumerate(items):
        top = 170 + 66 * number
        draw.text((50, top), item, fill=(50, 50, 54), font=_font(28), anchor="lm")
        draw.text((470, top), price, fill=(50, 50, 54), font=_font(28), anchor="rm")
    draw.line((50, 570, 470, 570), fill=(60, 60, 64), width=3)
    draw.text((50, 620), "Total", fill=(30, 30, 34), font=_font(36), anchor="lm")
    draw.text((470, 620), "17.95", fill=(30, 30, 34), font=_font(36), anchor="rm")
    draw.text((260, 780), "Thank you and come again", fill=(60, 60, 64), font=_font(26), anchor="mm")
    y, x = np.mgrid[0:900, 0:520]
    light = 1.02 - 0.16 * (x / 520) * (y / 900)
    return Image.fromarray((np.asarray(picture) * light[..., None]).clip(0, 255).astype(np.uint8))


DRAWINGS: dict[str, Callable[[], Image.Image]] = {
    "mug": mug,
    "word-mark": word_mark,
    "pixel-hero": pixel_hero,
    "meme": meme,
    "dialog": dialog,
    "receipt": receipt,
}
