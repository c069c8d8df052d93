"""Compiling each MiniHack level once in a process: the compiler is a shell script that takes longer than all else.

MiniHack runs it in every constructor, for the same few kilobytes each time, and has no other door than its method.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_compiled: dict[str, bytes] = {}
"""From a level's description to NetHack's data file with the level in it."""


@contextmanager
def compiled_once() -> Iterator[None]:
    """While it lasts, games take levels that this process has compiled before from memory, byte for byte the same."""
    from minihack import MiniHack  # loaded by now, and without the warning that importing it gives

    compile_level = MiniHack._patch_nhdat

    def patch(game: Any, description: str) -> None:
        data = Path(game.nethack._vardir, "nhdat")
        if description in _compiled:
            data.unlink()  # a link to the data file that all games share
            data.write_bytes(_compiled[description])
            return
        compile_level(game, description)
        if not description.endswith(".des"):  # else it names a file, which may change
            _compiled[description] = data.read_bytes()

    MiniHack._patch_nhdat = patch
    try:
        yield
    finally:
        MiniHack._patch_nhdat = compile_level
