"""What a person sees while a study runs: a live view on a terminal, plain lines in a log file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from grownn_hpo.cli.lines import status_line
from grownn_hpo.cli.view import Overview
from grownn_hpo.cli.wording import printable
from grownn_hpo.report.status import ArmStatus

REFRESH_SECONDS = 1.0
LOG_SECONDS = 60.0


class Display:
    """Shows lines as they come and, between them, where the arms stand: redrawn in place, or once a minute in a log."""

    def __init__(self, console: Console, statuses: Callable[[], Sequence[ArmStatus]]) -> None:
        self._console, self._statuses = console, statuses
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="display", daemon=True)

    def line(self, text: str) -> None:
        """Show one line above the view."""
        log_line(self._console, text)

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        if self._live is not None:
            self._live.stop()

    def _refresh(self) -> None:
        logged = time.monotonic()
        while not self._done.wait(REFRESH_SECONDS):
            if self._live is not None:
                self._live.update(Overview(self._statuses(), fitted=True), refresh=True)
            elif time.monotonic() - logged >= LOG_SECONDS:
                logged = time.monotonic()
                for status in self._statuses():
                    self.line(status_line(status))


def log_line(console: Console, text: str) -> None:
    """A line with the time of day before it."""
    stamp = time.strftime("%H:%M:%S")
    console.print(Text(f"{stamp} {printable(text)}"), soft_wrap=True)
