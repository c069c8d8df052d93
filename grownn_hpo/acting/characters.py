"""NetHack's characters for the eye: which part of the map matters, and a colour for what a character stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RGB = tuple[int, int, int]

BACKGROUND: RGB = (16, 18, 24)
PLAIN: RGB = (228, 228, 228)
HERO: RGB = (255, 255, 255)
MONSTER: RGB = (244, 112, 96)
OBJECT: RGB = (112, 200, 240)

# NetHack's default symbols (Guidebook 3.6, "The map"); the observation has no colours of its own.
_COLOURS: dict[str, RGB] = {
    "@": HERO,
    **dict.fromkeys("<>", (255, 214, 64)),  # stairs
    **dict.fromkeys(".", (128, 132, 140)),  # floor
    **dict.fromkeys("|-", (176, 180, 188)),  # walls, open doors
    "#": (164, 132, 96),  # corridors, trees
    "+": (214, 148, 72),  # doors
    "^": (232, 104, 232),  # traps
    **dict.fromkeys("}{~", (88, 148, 255)),  # water
    **dict.fromkeys('$*()[!?/="%`_', OBJECT),
    **dict.fromkeys("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ&;:'", MONSTER),
}


def colour(character: str) -> RGB:
    """The colour of one of the map's characters."""
    return _COLOURS.get(character, PLAIN)


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
