"""Standard streams that outlive whoever reads them: `grownn run | head -1`, a closed window, a `tee` that died."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO, cast


class Outlet:
    """A text stream; from the first write on that fails with one of `forgiven`, everything goes to /dev/null.

    A study must not end because nobody listens: what it says is in its files too.
    """

    def __init__(self, stream: TextIO, forgiven: type[OSError]) -> None:
        self._stream, self._forgiven = stream, forgiven

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except self._forgiven:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except self._forgiven:
            self._give_up()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # also for what is in its buffer, and for processes that inherit it
        os.close(nowhere)


def outlive_readers() -> None:
    """Have this process's output and error streams do without a reader.

    Data that cannot be written, to a full disk for one, is an error still; words for people never are.
    """
    sys.stdout = cast("TextIO", Outlet(sys.stdout, BrokenPipeError))
    sys.stderr = cast("TextIO", Outlet(sys.stderr, OSError))
