"""The two files that grow while a segment trains: its learning curve, and its progress with the time it took.

Both are appended to a line at a time. A process killed in mid-line leaves a torn tail, which readers drop.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

from pydantic import TypeAdapter

from grownn_hpo.spec.values import LARGEST
from grownn_hpo.store.commit import append, read_if_there
from grownn_hpo.store.paths import CURVE, PROGRESS
from grownn_hpo.trial import CurvePoint

_COLUMNS = tuple(field.name for field in fields(CurvePoint))


@dataclass(frozen=True, slots=True)
class Tick:
    """Where an attempt stood after an update: the lineage's env steps, the attempt's seconds, how it learns.

    `mean_return` is that of the recent training episodes; None before the first has finished. The others are means over
    the update's minibatches: the parts of PPO's loss (entropy and `approx_kl` in nats) and the share of clipped
    transitions; None where an earlier version wrote the line.
    """

    env_steps: int
    seconds: float
    mean_return: float | None
    policy_loss: float | None = None
    value_loss: float | None = None
    entropy: float | None = None
    approx_kl: float | None = None
    clip_fraction: float | None = None


_TICK = TypeAdapter(Tick)


def append_point(attempt: Path, point: CurvePoint) -> None:
    """Add an evaluation round to the attempt's curve; floats are written so that they read back exactly."""
    path = attempt / CURVE
    header = "" if path.exists() else ",".join(_COLUMNS) + "\n"
    row = ",".join("" if value is None else repr(value) for value in astuple(point))  # numbers alone: nothing to quote
    append(path, f"{header}{row}\n")


def append_tick(attempt: Path, tick: Tick) -> None:
    """Add a line to the attempt's progress."""
    append(attempt / PROGRESS, json.dumps(asdict(tick)) + "\n")


def read_curve(attempt: Path) -> tuple[CurvePoint, ...]:
    """The attempt's curve; empty if there is none yet."""
    points = []
    for line in _whole_lines(attempt / CURVE)[1:]:
        try:
            steps, mean, std, length, success, episodes = line.split(",")
            rate = float(success) if success else None
            point = CurvePoint(int(steps), float(mean), float(std), float(length), rate, int(episodes))
            if not (0 <= point.env_steps <= LARGEST and 0 <= point.episodes <= LARGEST):
                raise ValueError(line)
            points.append(point)
        except ValueError:  # a block that a power cut left unwritten; a commit's digest tells what training wrote
            continue
    return tuple(points)


def curve_text(attempt: Path) -> str:
    """The attempt's curve as it stands in its file; empty if there is none yet."""
    return read_if_there(attempt / CURVE).decode()


def begin_curve(attempt: Path, text: str) -> None:
    """Begin the attempt's curve with what an earlier attempt's `curve_text` was, byte for byte."""
    if text:  # no file before the first point
        append(attempt / CURVE, text)


def read_ticks(attempt: Path) -> tuple[Tick, ...]:
    """The attempt's progress; empty if there is none yet."""
    ticks = []
    for line in _whole_lines(attempt / PROGRESS):
        try:
            tick = _TICK.validate_json(line, strict=True)
        except ValueError:  # pydantic's ValidationError is one
            continue
        if 0 <= tick.env_steps <= LARGEST and math.isfinite(tick.seconds):
            ticks.append(tick)
    return tuple(ticks)


def _whole_lines(path: Path) -> list[str]:
    text = read_if_there(path).decode(errors="replace")
    return text.split("\n")[:-1]  # what follows the last line end is torn
