"""From what rollouts took to the figures of the cases: pure functions, and the table that they are shown in."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

STEPS = "env steps/s"


@dataclass(frozen=True, slots=True)
class Rollout:
    """What one rollout with its update took; seconds of this process's computing but for `wall_seconds`.

    Of the limits, `env` is the environments alone, `update` all matrix products alone. `rewards` is None where nobody
    asked.
    """

    env_steps: int
    seconds: float
    wall_seconds: float
    env: float
    forward: float
    update: float
    memory_mib: float
    peak_mib: float
    rewards: float | None = None

    @property
    def rate(self) -> float:
        """Env steps per second."""
        return self.env_steps / self.seconds


@dataclass(frozen=True, slots=True)
class Figure:
    """A case's figure: `ratio` of ours to theirs, or as `unit` says, with the spread of the pairs' own ratios.

    `notes` are the further columns of the table, by their headings. A ratio below `target` is a miss.
    """

    name: str
    ratio: float | None
    low: float | None
    high: float | None
    ours: float
    theirs: float
    unit: str
    target: float | None = None
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """None where nothing is asked."""
        return None if self.target is None or self.ratio is None else self.ratio >= self.target

    @property
    def record(self) -> dict[str, Any]:
        """As the last line has it."""
        return {"ratio": self.ratio, "ours": self.ours, "theirs": self.theirs, "unit": self.unit}


def compared(name: str, target: float | None, ours: Sequence[Rollout], theirs: Sequence[Rollout]) -> Figure:
    """Training against training: rollouts in pairs, in the order in which they took turns."""
    ratios = [mine.rate / other.rate for mine, other in zip(ours, theirs, strict=True)]
    return Figure(
        name,
        *_spread(ratios),
        statistics.median(r.rate for r in ours),
        statistics.median(r.rate for r in theirs),
        STEPS,
        target,
        {
            "env/forward/update": f"{shares(ours)}, theirs {shares(theirs)}",
            "peak MiB": f"{ours[-1].peak_mib:,.0f}, theirs {theirs[-1].peak_mib:,.0f}",
            "env steps a rollout": f"{ours[0].env_steps:,}, theirs {theirs[0].env_steps:,}",
        },
    )


def shares(rollouts: Sequence[Rollout]) -> str:
    """Percentages of the time in environments, in acting with all that is left, and in updates."""
    whole = sum(r.seconds for r in rollouts)
    parts = (sum(getattr(r, part) for r in rollouts) / whole for part in ("env", "forward", "update"))
    return "/".join(f"{100 * part:.0f}" for part in parts) + "%"


def of_limits(ours: Sequence[Rollout], limits: Sequence[Rollout]) -> tuple[list[float], list[float]]:
    """By rollout: training's speed as a part of the environments' alone, and of theirs with the matrix products."""
    env = [limit.env / mine.seconds for mine, limit in zip(ours, limits, strict=True)]
    both = [(limit.env + limit.update) / mine.seconds for mine, limit in zip(ours, limits, strict=True)]
    return env, both


def against_env(name: str, target: float | None, ours: Sequence[Rollout], limits: Sequence[Rollout]) -> Figure:
    """Training against its environments alone."""
    alone = [limit.env_steps / limit.env for limit in limits]
    return Figure(
        name,
        *_spread(of_limits(ours, limits)[0]),
        statistics.median(r.rate for r in ours),
        statistics.median(alone),
        f"{STEPS}, beside env alone",
        target,
    )


def cost(rollouts: Sequence[Rollout]) -> float:
    """Seconds for an env step, where one training is compared with itself: the least, since a neighbour only adds."""
    return min(1 / r.rate for r in rollouts)


def depth_growth(name: str, costs: dict[int, tuple[float, float]]) -> Figure:
    """What an env step costs at depth 8 over what depths 1 and 4 let expect, from the `cost` (ours, theirs) of each.

    1 where a layer costs the same wherever it is added; more where cost grows faster than linearly.
    """
    own, other = (
        at_8 / (at_1 + (at_4 - at_1) * 7 / 3)
        for at_1, at_4, at_8 in zip(*(costs[depth] for depth in (1, 4, 8)), strict=True)
    )
    return Figure(name, None, None, None, own, other, "cost at depth 8 over what depths 1 and 4 let expect")


def over_a_segment(name: str, ours: Sequence[Rollout], theirs: Sequence[Rollout]) -> list[Figure]:
    """What changes from the first to the second half of a training: the cost of an env step, and memory."""
    long = {"over env steps": f"{sum(r.env_steps for r in ours):,}, theirs {sum(r.env_steps for r in theirs):,}"}
    own, other = _halves(ours), _halves(theirs)
    slower = Figure(f"{name}-cost", None, None, None, own, other, "cost of an env step, 2nd half over 1st", notes=long)
    own, other = _memory_growth(ours), _memory_growth(theirs)
    larger = Figure(
        f"{name}-memory", None, None, None, own, other, "MiB of growth per 100,000 env steps, 2nd half", notes=long
    )
    return [slower, larger]


def table(figures: Sequence[Figure]) -> list[list[str]]:
    """Rows of cells, the headings first."""
    further = list(dict.fromkeys(heading for figure in figures for heading in figure.notes))
    rows = [["case", "target", "ratio", "pairs from - to", "ours", "theirs", "unit", *further]]
    for figure in figures:
        asked = "" if figure.target is None else f"{figure.target:g}" + (" missed" if figure.met is False else "")
        spread = "" if figure.low is None else f"{figure.low:.2f} - {figure.high:.2f}"
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        its = [figure.name, asked, ratio, spread, _number(figure.ours), _number(figure.theirs), figure.unit]
        rows.append(its + [figure.notes.get(heading, "") for heading in further])
    return rows


def plain(rows: list[list[str]]) -> str:
    """For a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def markdown(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def _spread(ratios: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(ratios), min(ratios), max(ratios)


def _halves(rollouts: Sequence[Rollout]) -> float:
    half = len(rollouts) // 2
    return cost(rollouts[-half:]) / cost(rollouts[:half])


def _memory_growth(rollouts: Sequence[Rollout]) -> float:
    later = rollouts[len(rollouts) // 2 :]
    env_steps = sum(r.env_steps for r in later[1:])
    return (later[-1].memory_mib - later[0].memory_mib) / env_steps * 1e5


def _number(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2f}"
