"""What a person sees while a study runs: a live view on a terminal, plain lines in a log file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

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
        stamp = time.strftime("%H:%M:%S")
        self._console.print(Text(f"{stamp} {printable(text)}"), soft_wrap=True)

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
                self._live.update(Group(*map(status_view, self._statuses())), refresh=True)
            elif time.monotonic() - logged >= LOG_SECONDS:
                logged = time.monotonic()
                for status in self._statuses():
                    self.line(status_line(status))


def status_view(status: ArmStatus) -> RenderableType:
    """An arm's status for a terminal."""
    rungs = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("rung", "depth", "env steps", "trials", "", "failed"):
        rungs.add_column(name, justify="left" if name in ("trials", "") else "right")
    for rung in status.rungs:
        rungs.add_row(
            str(rung.rung),
            str(rung.depth),
            f"{rung.env_steps:,}",
            ProgressBar(total=max(1, rung.slots), completed=rung.known, width=24),
            f"{rung.known}/{rung.slots}",
            str(rung.failed) if rung.failed else "",
        )
    parts: list[RenderableType] = [Text(status_line(status), style="bold"), rungs]
    if status.running:
        running = Table(box=None, pad_edge=False, header_style="dim")
        running.add_column("running")
        running.add_column("env steps")
        for name in ("", "env steps/s", "training return"):
            running.add_column(name, justify="right")
        for segment in status.running[:16]:
            running.add_row(
                str(segment.segment),
                ProgressBar(total=segment.of_env_steps, completed=segment.env_steps, width=24),
                f"{segment.env_steps:,}/{segment.of_env_steps:,}",
                "" if segment.env_steps_per_second is None else f"{segment.env_steps_per_second:,.0f}",
                "" if segment.mean_return is None else f"{segment.mean_return:.3f}",
            )
        parts.append(running)
        if len(status.running) > 16:
            parts.append(Text(f"and {len(status.running) - 16} more", style="dim"))
    if status.failures:
        parts.append(Text(f"latest failure: {printable(status.failures[-1])}", style="red"))
    if status.environments:
        parts.append(Text(printable(environments_told(status)), style="yellow"))
    return Group(*parts, Text())


def environments_told(status: ArmStatus) -> str:
    """How many segments were computed in which environment, a line each, and how to see which."""
    *earlier, present = status.environments
    lines = [f"environment {e.number}: {e.segments} segments; {'; '.join(e.changes) or 'as now'}" for e in earlier]
    lines.append(f"environment {present.number}, the present one: {present.segments} segments")
    return "\n".join([*lines, "which row is of which: grownn table PATH --environments"])


def status_line(status: ArmStatus) -> str:
    """An arm's status in a line."""
    parts = [f"{status.study}/{status.arm}: {status.trials_known}/{status.trials} trials"]
    if status.running:
        parts.append(f"{len(status.running)} running")
    if status.incumbent is not None:
        lead = status.incumbent
        success = "" if lead.success_rate is None else f", success {lead.success_rate:.0%}"
        parts.append(f"incumbent c{lead.config:04d} (rung {lead.rung}): mean return {lead.mean_return:.3f}{success}")
    if status.failures:
        parts.append(f"{len(status.failures)} failures")
    if status.complete:
        parts.append("complete")
    elif status.seconds_left is not None and status.driven_by:
        parts.append(f"about {timedelta(seconds=round(status.seconds_left))} left")
    elif not status.driven_by:
        parts.append("not running")
    return ", ".join(parts)
