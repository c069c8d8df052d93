"""`grownn status`: once, or until all is complete: on a terminal a view that fills it, in a file a line for a change.

Nothing is driven here, so that Ctrl-C is no failure: it ends the watching, with exit code 0.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import NamedTuple, TextIO

from rich.console import Console
from rich.live import Live

from grownn_hpo.cli.lines import news
from grownn_hpo.cli.live import REFRESH_SECONDS, log_line
from grownn_hpo.cli.view import Overview
from grownn_hpo.errors import GrowNNError
from grownn_hpo.report.read import arms_at
from grownn_hpo.report.status import ArmStatus, arm_status, read_status
from grownn_hpo.store.known import Known, read_known
from grownn_hpo.store.paths import ArmFolder

IDLE_SHARE = 9
"""After reading all results, so many times as long as that took only what is under way is looked at."""


def status(path: Path, watch: bool, as_json: bool) -> None:
    """Show where the arms at `path` stand, once or until all are complete."""
    console = Console(stderr=True, highlight=False, markup=False)
    if not watch:
        statuses = [read_status(folder) for folder in arms_at(path)]
        if as_json:
            print(json.dumps([asdict(each) for each in statuses]))
        else:
            console.print(Overview(statuses))
        return
    with quitting() as over:
        if as_json:
            _print_changes(looks(path, over, sys.stdout))
        elif console.is_terminal and sys.stderr.isatty() and not console.is_dumb_terminal:
            _fill_the_screen(looks(path, over, sys.stderr), console)
        else:
            _tell_news(looks(path, over, sys.stderr), console)


class Look(NamedTuple):
    """What was seen last, and why it could not be seen again just now."""

    statuses: tuple[ArmStatus, ...]
    trouble: str | None = None


def looks(path: Path, over: threading.Event, reader: TextIO) -> Iterator[Look]:
    """The arms at `path` as they stand, about once a second, until they are complete, `over`, or nobody reads.

    What goes wrong at the first look is raised. Later it may pass: somebody resumes, cleans or restores the study.
    """
    sight = Sight(path)
    look = Look(sight.look())
    while True:
        yield look
        if look.trouble is None and all(each.complete for each in look.statuses):
            return
        if over.wait(REFRESH_SECONDS) or nobody_reads(reader):
            return
        try:
            look = Look(sight.look())
        except (GrowNNError, OSError) as error:
            look = Look(look.statuses, f"cannot be read just now: {error}")


class Sight:
    """Arms that are looked at again and again: their results now and then, what is under way each time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[Path, tuple[Known, float]] = {}

    def look(self) -> tuple[ArmStatus, ...]:
        """Where the arms stand; raises as `read_status` does."""
        return tuple(map(self._status, arms_at(self._path)))

    def _status(self, folder: ArmFolder) -> ArmStatus:
        began = time.monotonic()
        known, due = self._known.get(folder.root, (None, 0.0))
        if known is None or began >= due:
            known = read_known(folder)
            now = time.monotonic()
            self._known[folder.root] = (known, now + IDLE_SHARE * (now - began))
        return arm_status(folder, known.arm, known.ledger, known.brackets, known.outcomes)


def _fill_the_screen(seen: Iterator[Look], console: Console) -> None:
    look = None
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for look in seen:
            live.update(Overview(look.statuses, fitted=True, trouble=look.trouble), refresh=True)
    if look is not None:
        console.print(Overview(look.statuses, trouble=look.trouble))


def _tell_news(seen: Iterator[Look], console: Console) -> None:
    before: dict[str, ArmStatus] = {}
    trouble = None
    for look in seen:
        for each in look.statuses:
            for line in news(before.get(each.folder), each):
                log_line(console, line)
            before[each.folder] = each
        if look.trouble is not None and look.trouble != trouble:
            log_line(console, look.trouble)
        trouble = look.trouble


def _print_changes(seen: Iterator[Look]) -> None:
    before = None
    for look in seen:
        line = json.dumps([asdict(each) for each in look.statuses])
        if line != before:
            print(line, flush=True)
        before = line


@contextlib.contextmanager
def quitting() -> Iterator[threading.Event]:
    """Set on SIGINT, SIGTERM or SIGHUP, so that the terminal is left as it was found."""
    over = threading.Event()

    def asked(number: int, frame: FrameType | None) -> None:
        over.set()

    heeded = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, asked) for number in heeded if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield over
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def nobody_reads(stream: TextIO) -> bool:
    """Whether the pipe or terminal behind a stream has lost its other end: `grownn status --watch --json | head -1`."""
    try:
        descriptor = stream.fileno()
    except OSError:  # no stream of the system's: a program's own
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))
