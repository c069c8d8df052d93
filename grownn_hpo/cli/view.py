"""Where arms stand, drawn for a terminal of any size, light or dark.

Colours are the terminal's own green, red and magenta, or its plain text made bold or dim: they can be read on any
background, and nothing is told by colour alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from grownn_hpo.cli.lines import again, environments_told, label, led_by, state, status_line
from grownn_hpo.cli.wording import printable
from grownn_hpo.report import wording
from grownn_hpo.report.status import ArmStatus, Leader, Running

WIDE, WIDEST = 100, 140
MOST_RUNNING = 16
FAILURES = 3


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What is drawn with: a bar's done and rest, levels from low to high, no return yet, what is still to come."""

    done: str
    rest: str
    levels: str
    unknown: str
    ahead: str


UNICODE = Glyphs("━", "─", "▁▂▃▄▅▆▇█", "╌", "·")
ASCII = Glyphs("#", "-", "_.-=+*%#", "~", ".")


class Detail(Enum):
    """How much of an arm is drawn."""

    FULL = auto()
    BRIEF = auto()
    LINE = auto()


class Overview:
    """Arms one below the other, as of `now`, seconds since 1970 (None: whenever it is drawn).

    `fitted`: no higher than the terminal, by whatever loses the least. `trouble` is told below them.
    """

    def __init__(
        self,
        statuses: Sequence[ArmStatus],
        fitted: bool = False,
        trouble: str | None = None,
        now: float | None = None,
    ) -> None:
        self._statuses, self._fitted, self._trouble, self._now = tuple(statuses), fitted, trouble, now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        below = () if self._trouble is None else (Text(printable(self._trouble), style="red"),)
        now = time.time() if self._now is None else self._now
        draw = _Drawing(options.max_width, ASCII if options.ascii_only else UNICODE, now)
        if not self._fitted:
            yield Group(*(draw.arm(status, Detail.FULL, MOST_RUNNING) for status in self._statuses), *below)
            return
        free = options.update(height=None)
        room = (options.height or console.size.height) - _height(console, free, below)
        for active, complete in FITTINGS:
            details = [complete if status.complete else active for status in self._statuses]
            pairs = list(zip(self._statuses, details, strict=True))
            spare = room - sum(_height(console, free, [draw.arm(*pair, 0)]) for pair in pairs)
            if spare >= 0:
                yield Group(*draw.shared(pairs, spare), *below)
                return
        yield Group(*draw.lines(self._statuses, max(1, room)), *below)


FITTINGS = (
    (Detail.FULL, Detail.FULL),
    (Detail.FULL, Detail.LINE),
    (Detail.BRIEF, Detail.LINE),
)
"""The details of arms that are not complete, and of those that are, from the most that is drawn to the least."""


class _Drawing:
    """Draws for one width, with one set of glyphs, at one time."""

    def __init__(self, width: int, glyphs: Glyphs, now: float) -> None:
        self._width, self._glyphs, self._now = width, glyphs, now

    def arm(self, status: ArmStatus, detail: Detail, rows: int) -> RenderableType:
        """An arm with so many of its running segments."""
        if detail is Detail.LINE:
            return Text(status_line(status), no_wrap=True, overflow="ellipsis")
        parts: list[RenderableType] = [self._title(status), self._rungs(status)]
        if status.incumbent is not None:
            parts += _incumbent(status.incumbent, detail)
        if rows and status.running:
            parts.append(self._running(status.running[:rows]))
            if len(status.running) > rows:
                parts.append(Text(f"and {len(status.running) - rows} more", style="dim"))
        parts += self._trouble(status, FAILURES if detail is Detail.FULL else 1)
        return Group(*parts, Text())

    def shared(self, arms: Sequence[tuple[ArmStatus, Detail]], spare: int) -> Iterator[RenderableType]:
        """The arms, with as many running segments each as there is room for in `spare` lines."""
        for left, (status, detail) in zip(range(len(arms), 0, -1), arms, strict=True):
            # Beside them a heading and, where some are left out, how many.
            share = spare // left - 1
            rows = len(status.running) if len(status.running) <= share else max(0, share - 1)
            rows = 0 if detail is Detail.LINE else rows
            spare -= (rows + 1 + (rows < len(status.running))) if rows else 0
            yield self.arm(status, detail, rows)

    def lines(self, statuses: Sequence[ArmStatus], most: int) -> list[Text]:
        """A line for each arm, those that are not complete first, and how many there are beyond `most`."""
        ordered = sorted(statuses, key=lambda status: status.complete)
        lines = [Text(status_line(each), no_wrap=True, overflow="ellipsis") for each in ordered]
        if len(lines) > most:
            lines[most - 1 :] = [Text(f"and {len(lines) - most + 1} more", style="dim")]
        return lines

    def _title(self, status: ArmStatus) -> Text:
        runs, *left = state(status, self._now)
        style = {"complete": "green", "not running": "magenta"}.get(runs, "")
        counts = f"{status.trials_known}/{status.trials} trials"
        return Text.assemble((label(status), "bold"), f"  {counts}, ", (runs, style), *(f", {part}" for part in left))

    def _rungs(self, status: ArmStatus) -> Table:
        brackets = max((p.bracket for p in status.brackets), default=0)
        bar = 24 if self._width >= WIDE else 14
        shown = range(0)
        if brackets > 1:
            shown = _window(brackets, max(8, self._width - bar - 48), _first_open(status))
        several = (
            f"brackets {shown[0]}-{shown[-1]}" + (f" of {brackets}" if len(shown) < brackets else "") if shown else ""
        )
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("rung", "depth", "env steps"):
            table.add_column(name, justify="right", no_wrap=True)
        for name in ("trials", "", *([several] if shown else [])):
            table.add_column(name, no_wrap=True)
        table.add_column("failed", justify="right", style="red", no_wrap=True)
        cells = {(p.bracket, p.rung): p for p in status.brackets}
        for rung in status.rungs:
            filled = Text()
            for bracket in shown:
                p = cells.get((bracket, rung.rung))
                filled += Text(" ") if p is None else self._cell(p.known, p.slots - p.void)
            table.add_row(
                str(rung.rung),
                str(rung.depth),
                f"{rung.env_steps:,}",
                self._bar(rung.known, rung.slots, bar),
                f"{rung.known}/{rung.slots}",
                *([filled] if shown else []),
                str(rung.failed) if rung.failed else "",
            )
        return table

    def _cell(self, known: int, slots: int) -> Text:
        """One rung of one bracket: to come, or how far it is filled."""
        if slots == 0:
            return Text(" ")
        if known == 0:
            return Text(self._glyphs.ahead, style="dim")
        levels = self._glyphs.levels
        return Text(levels[-1] if known >= slots else levels[(len(levels) - 2) * known // slots], style="green")

    def _bar(self, known: int, of: int, width: int) -> Text:
        done = width * known // of if of else width
        return Text.assemble((self._glyphs.done * done, "green"), (self._glyphs.rest * (width - done), "dim"))

    def _running(self, running: Sequence[Running]) -> Table:
        cells = 48 if self._width >= WIDEST else 24 if self._width >= WIDE else 16
        returns = [value for each in running for value in each.learning if value is not None]
        low, high = (min(returns), max(returns)) if returns else (0.0, 0.0)
        scale = f" {wording.number(low, [high])} to {wording.number(high, [low])}" if returns else ""
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("running", no_wrap=True)
        table.add_column(f"learning{scale}", no_wrap=True)
        for name in ("done", *(["env steps"] if self._width >= WIDE else []), "env steps/s", "training return"):
            table.add_column(name, justify="right", no_wrap=True)
        for each in running:
            share = each.env_steps / each.of_env_steps
            table.add_row(
                f"{each.segment}" + (f" a{each.attempt}" if each.attempt > 1 else ""),
                self._learning(each, cells, low, high),
                wording.percent(min(1.0, max(0.0, share))),
                *([f"{each.env_steps:,}/{each.of_env_steps:,}"] if self._width >= WIDE else []),
                "" if each.env_steps_per_second is None else f"{each.env_steps_per_second:,.0f}",
                "" if each.mean_return is None else wording.number(each.mean_return, [low, high]),
            )
        return table

    def _learning(self, running: Running, cells: int, low: float, high: float) -> Text:
        """The training return along the segment, as far as it has come: bar and curve in one."""
        glyphs, parts = self._glyphs, len(running.learning) // cells or 1
        reached = -(-running.env_steps * cells // running.of_env_steps)
        text = Text()
        for cell in range(cells):
            known = [v for v in running.learning[cell * parts : (cell + 1) * parts] if v is not None]
            if known:
                height = (
                    (sum(v / len(known) for v in known) - low) / (high - low) if 0 < high - low < float("inf") else 0.5
                )
                text.append(glyphs.levels[round(height * (len(glyphs.levels) - 1))], style="green")
            else:
                text.append(glyphs.unknown if cell < reached else glyphs.ahead, style="dim")
        return text

    def _trouble(self, status: ArmStatus, most: int) -> Iterable[RenderableType]:
        if status.failures:
            several = f", the latest {most}" if len(status.failures) > most else ""
            yield Text(f"{wording.count(len(status.failures), 'failure')}{several}", style="red")
        for failure in status.failures[-most:]:
            ago = "" if failure.at is None else f"{wording.duration(max(0.0, self._now - failure.at))} ago"
            cause = printable(f"{failure.segment}: {failure.cause}").replace("\n", " ")
            yield Text(f"{ago:>10}  {cause}", no_wrap=True, overflow="ellipsis")
        if repeated := again(status):
            yield Text(repeated, style="dim")
        if status.disagreements:
            more = len(status.disagreements) - 1
            told = f"WARNING {status.disagreements[-1]}" + (f" (and {more} more)" if more else "")
            yield Text(printable(told), style="bold red")
        if status.environments:
            yield Text(printable(environments_told(status)), style="magenta")


def _incumbent(leader: Leader, detail: Detail) -> Iterable[Text]:
    seeds = leader.returns if detail is Detail.FULL else ()
    spread = f"; seeds {wording.number(min(seeds), seeds)} to {wording.number(max(seeds), seeds)}" if seeds else ""
    yield Text(f"{led_by(leader)}{spread}")
    if leader.configuration and detail is Detail.FULL:
        told = ", ".join(f"{name} {_short(value)}" for name, value in leader.configuration.items() if value is not None)
        yield Text(printable(f"  {told}"), style="dim")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _first_open(status: ArmStatus) -> int:
    return min((p.bracket for p in status.brackets if p.known < p.slots - p.void), default=1)


def _window(count: int, most: int, around: int) -> range:
    """At most `most` of the numbers 1 to `count`, with `around` in the middle."""
    first = max(1, min(around - most // 2, count - most + 1))
    return range(first, min(count, first + most - 1) + 1)


def _height(console: Console, options: ConsoleOptions, parts: Iterable[RenderableType]) -> int:
    return sum(len(console.render_lines(part, options, pad=False)) for part in parts)
