"""NetHack's characters for the eye: which part of the map matters, and a colour for what a character stands for."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RGB = tuple[int, int, int]

BACKGROUND: RGB = (16, 18, 24)


@dataclass(frozen=True, slots=True)
class Shade:
    """A colour in pictures, on `BACKGROUND`, and one in a terminal, by a name that its own theme gives a colour."""

    rgb: RGB
    terminal: str


PLAIN = Shade((228, 228, 228), "")
HERO = Shade((255, 255, 255), "bold")
STAIRS = Shade((255, 214, 64), "bold yellow")
FLOOR = Shade((128, 132, 140), "dim")
WALL = Shade((176, 180, 188), "")
CORRIDOR = Shade((164, 132, 96), "yellow")
DOOR = Shade((214, 148, 72), "yellow")
TRAP = Shade((232, 104, 232), "magenta")
WATER = Shade((88, 148, 255), "blue")
OBJECT = Shade((112, 200, 240), "cyan")
MONSTER = Shade((244, 112, 96), "red")

# NetHack's default symbols (Guidebook 3.6, "The map"); the observation has no colours of its own.
_SHADES: dict[str, Shade] = {
    "@": HERO,
    "<": STAIRS,
    ">": STAIRS,
    ".": FLOOR,
    "|": WALL,  # or an open door
    "-": WALL,
    "#": CORRIDOR,  # or a tree
    "+": DOOR,
    "^": TRAP,
    **dict.fromkeys("}{~", WATER),
    **dict.fromkeys('$*()[!?/="%`_', OBJECT),
    **dict.fromkeys(string.ascii_letters + "&;:'", MONSTER),
}


def shade(character: str) -> Shade:
    """The shade of one of the map's characters."""
    return _SHADES.get(character, PLAIN)


def lines(screen: NDArray[Any], rows: slice, columns: slice) -> tuple[str, ...]:
    """A part of the map [rows, columns] as text; what is no printable ASCII is left blank."""
    return tuple("".join(chr(c) if 32 < c < 127 else " " for c in row) for row in screen[rows, columns])


def extent(screens: Iterable[NDArray[Any]]) -> tuple[slice, slice]:
    """The rows and columns in which any of these maps shows something; at least one of each."""
    shown: Sequence[NDArray[np.bool_]] = [(screen > 32) & (screen < 127) for screen in screens]
    anywhere = np.logical_or.reduce(shown)
    found = []
    for axis in (1, 0):
        (where,) = np.nonzero(anywhere.any(axis))
        found.append(slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 1))
    return found[0], found[1]
