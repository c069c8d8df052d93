"""Films: pictures one after the other, as the bytes of a GIF or an MP4."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from PIL import Image

from grownn_hpo.errors import InputError

GIF, MP4 = ".gif", ".mp4"
HELD_SECONDS = 1.5
"""How long the last picture of an episode stays."""

MOST_PER_SECOND = {GIF: 12.5, MP4: 25.0}
"""At most so many pictures of a moving scene are worth their space: a GIF takes tens of KB for each."""

_GIF_WIDTH = 384
_GIF_COLOURS = 96


class Film(Protocol):
    """Takes pictures of one size, and gives a film."""

    def add(self, picture: Image.Image, hold: bool = False) -> None:
        """Show the next picture, and hold it for a while if it is the last of an episode."""
        ...

    def finish(self) -> bytes:
        """The film; at least one picture was added."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...


def film_for(suffix: str, per_second: float, photographs: bool = False) -> Film:
    """A film of that many pictures a second; InputError for an unknown suffix, or where no MP4 can be made.

    A GIF of `photographs`, of which every pixel changes, is made smaller.
    """
    if suffix == GIF:
        return _Gif(per_second, photographs)
    if suffix == MP4:
        return _Mp4(per_second)
    raise InputError(f"--output: {suffix or 'no suffix'!r} is no film: the file's name must end in {GIF} or {MP4}")


def refuse_film(suffix: str) -> None:
    """InputError where `film_for` would raise one, before anything is played."""
    film_for(suffix, 1.0)


class _Gif:
    """256 colours at most, anywhere to be seen. Pictures are kept small meanwhile."""

    def __init__(self, per_second: float, small: bool) -> None:
        self._small = small
        self._milliseconds = 1000 / per_second
        self._pictures: list[Image.Image] = []
        self._durations: list[int] = []

    def add(self, picture: Image.Image, hold: bool = False) -> None:
        if self._small and picture.width > _GIF_WIDTH:
            height = round(picture.height * _GIF_WIDTH / picture.width)
            picture = picture.resize((_GIF_WIDTH, height), Image.Resampling.LANCZOS)
        # Undithered: noise that differs from picture to picture is most of a GIF's size.
        reduced = picture.quantize(_GIF_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        self._pictures.append(reduced)
        self._durations.append(round(1000 * HELD_SECONDS if hold else self._milliseconds))

    def finish(self) -> bytes:
        content = io.BytesIO()
        first, *others = self._pictures
        first.save(content, "GIF", save_all=True, append_images=others, duration=self._durations, loop=0)
        return content.getvalue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pictures.clear()


class _Mp4:
    """H.264, by the ffmpeg that imageio-ffmpeg brings."""

    def __init__(self, per_second: float) -> None:
        try:
            import imageio_ffmpeg
        except ImportError:
            raise InputError(
                "an MP4 needs imageio-ffmpeg, which is not installed: pip install 'grownn-hpo[video]', or write a .gif"
            ) from None
        self._write_frames, self._per_second = imageio_ffmpeg.write_frames, per_second
        self._writer: Any = None

    def add(self, picture: Image.Image, hold: bool = False) -> None:
        if self._writer is None:
            self._writer = self._write_frames(
                str(self._path), picture.size, fps=self._per_second, quality=8, macro_block_size=2
            )
            self._writer.send(None)
        for _ in range(max(1, round(HELD_SECONDS * self._per_second)) if hold else 1):
            self._writer.send(np.ascontiguousarray(picture))

    def finish(self) -> bytes:
        self._writer.close()
        return self._path.read_bytes()

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name, "film.mp4")
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()
        self._folder.cleanup()
