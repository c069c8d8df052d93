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

CPU_SECONDS = 30.0
WAITING_SECONDS = 240.0
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
def bounded() -> Iterator[None]:
    """Raises where the block computes or waits for too long, or takes much memory: hangs and bombs become failures."""

    def hang(number: int, frame: FrameType | None) -> None:
        raise HangError(f"computed for {CPU_SECONDS} s, or waited for {WAITING_SECONDS} s")

    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, CPU_SECONDS),
        signal.SIGALRM: (signal.ITIMER_REAL, WAITING_SECONDS),  # a FIFO's reader computes nothing
    }
    before = {number: signal.signal(number, hang) for number in timers}
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, hard))
    try:
        for timer, seconds in timers.values():
            signal.setitimer(timer, seconds)
        yield
    finally:
        for timer, _ in timers.values():
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
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
