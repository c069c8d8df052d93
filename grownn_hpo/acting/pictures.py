"""Moments as pictures: a map's characters in colour, or what an environment draws, with a caption below."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from grownn_hpo.acting import characters
from grownn_hpo.acting.watching import Ending, Moment

CAPTION_SIZE = 14
MARGIN = 12
WIDTH = 480
"""What maps are drawn to fill, and captions to fit in, in pixels."""

_DIM = (150, 154, 162)
_ENDINGS = {Ending.SUCCESS: (104, 220, 120), Ending.FAILURE: (244, 112, 96)}


def draw(moment: Moment, title: tuple[str, str], part: tuple[slice, slice] | None) -> Image.Image:
    """The moment above its caption, RGB; `part` is the part of a map to be drawn, None where there is a picture."""
    if part is not None:
        scene = _map(moment.observation, part)
    else:
        assert moment.picture is not None
        scene = Image.fromarray(moment.picture)
    told = [(line, _DIM) for line in title] + [(caption(moment), characters.PLAIN.rgb)]
    if moment.ending is not None:
        told.append((moment.ending, _ENDINGS.get(moment.ending, characters.PLAIN.rgb)))
    font = _font(CAPTION_SIZE)
    height = sum(font.getmetrics())
    width = max(scene.width, WIDTH)
    # Even sizes: most video players want no others. All of a film's pictures have room for an ending.
    size = (width + width % 2, (scene.height + 4 * height + 2 * MARGIN + 1) // 2 * 2)
    picture = Image.new("RGB", size, characters.BACKGROUND)
    picture.paste(scene, ((width - scene.width) // 2, 0))
    pen = ImageDraw.Draw(picture)
    for line, (text, shade) in enumerate(told):
        pen.text((MARGIN, scene.height + MARGIN + line * height), text, shade, font)
    return picture


def caption(moment: Moment) -> str:
    """What happened in the moment, but for an ending: `step 7  south-east  return -0.01`."""
    parts = [f"step {moment.step:<3}"]
    if moment.action is not None:
        name = f"action {moment.action}" if moment.action.isdecimal() else moment.action
        parts.append(f"{name:<10}")
    return "  ".join([*parts, f"reward {moment.reward:.2f}", f"return {moment.total:.2f}"])


def _map(screen: NDArray[np.uint8], part: tuple[slice, slice]) -> Image.Image:
    text = characters.lines(screen, *part)
    # A cell is about 0.6 as wide as the font is high; square cells would tear words apart.
    size = int(min(36, max(10, (WIDTH - 2 * MARGIN) / (0.6 * len(text[0])))))
    font = _font(size)
    width, height = round(font.getlength("M")), sum(font.getmetrics())
    picture = Image.new(
        "RGB", (len(text[0]) * width + 2 * MARGIN, len(text) * height + 2 * MARGIN), characters.BACKGROUND
    )
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(text):
        for column, character in enumerate(line):
            if character != " ":
                place = (MARGIN + column * width, MARGIN + row * height)
                pen.text(place, character, characters.shade(character).rgb, font)
    return picture


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """A monospaced font, in pixels: the one that comes with matplotlib."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSansMono.ttf")), size)
