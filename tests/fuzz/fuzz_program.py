"""The program as the fuzzers run it: in this process, by its own `main`, within bounds of time and memory."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import signal
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from unittest.mock import patch

from grownn_hpo.cli import main

SECONDS = 100.0
MEMORY = 4 * 2**30


@dataclass(frozen=True)
class Ended:
    """What a command left."""

    code: int
    out: str
    err: str


class HangError(BaseException):
    """Nothing in the program catches this one."""


@contextlib.contextmanager
def bounded(seconds: float = SECONDS) -> Iterator[None]:
    """Raises where the block takes more of the processor's time, or much more memory: a bomb becomes a failure.

    What waits for ever takes no such time, and is ended by pytest's own limit.
    """

    def hang(number: int, frame: FrameType | None) -> None:
        raise HangError(f"took more than {seconds} s of the processor's time")

    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGPROF, hang)
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def run(*args: object) -> Ended:
    """`grownn args…`; any exception but those that `main` turns into a message comes through."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    words = ["grownn", *map(str, args)]
    with bounded(), patch.object(sys, "argv", words), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
    return Ended(code, out.getvalue(), err.getvalue())


def snapshot(folder: Path) -> dict[str, object]:
    """Every name below `folder` with what it is: the bytes of small files, where links lead."""
    found: dict[str, object] = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent) / name
            status = path.lstat()
            what: object = stat.S_IFMT(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                what = path.readlink()
            elif stat.S_ISREG(status.st_mode):
                what = path.read_bytes() if status.st_size < 2**22 else status.st_size
            found[str(path.relative_to(folder))] = what
    return found
