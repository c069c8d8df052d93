"""Where the workers' time went, that of attempts without a result included."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from grownn_hpo.report import wording
from grownn_hpo.report.record import ArmRecord
from grownn_hpo.report.summary import Table
from grownn_hpo.report.wording import count, number, percent
from grownn_hpo.trial import Segment


def time(record: ArmRecord) -> Table:
    """Where the workers' time went, by rung; the speed is the median over segments of env steps per training second."""
    heading = ("rung", "depth", "segments", "all", "share", "env steps/s")
    parts = ("training", "evaluation", "the rest", "no result")
    done, steps = set(record.seconds), {result.segment: record.env_steps_of(result) for result in record.results}
    wasted: defaultdict[int, float] = defaultdict(float)
    for attempt in record.unfinished:
        wasted[attempt.segment.rung] += attempt.seconds or 0.0
    total = sum(record.seconds.values()) + sum(wasted.values())
    rows = []
    for rung in sorted({segment.rung for segment in done} | {rung for rung in wasted if wasted[rung]}):
        here = sorted(segment for segment in done if segment.rung == rung)
        seconds = sum(record.seconds[segment] for segment in here)
        known = [record.measured[segment] for segment in here if segment in record.measured]
        speeds = [speed for segment in here if (speed := _speed(record, segment, steps.get(segment, 0))) is not None]
        trained, evaluated = (sum(m.training_seconds for m in known), sum(m.evaluation_seconds for m in known))
        split = [trained, evaluated, sum(m.seconds for m in known) - trained - evaluated] if known else [None] * 3
        rows.append(
            (
                f"{rung}",
                f"{record.arm.rungs[rung - 1].depth}",
                f"{len(here):,}",
                wording.duration(seconds + wasted[rung]),
                percent((seconds + wasted[rung]) / total if total else None),
                number(median(speeds)) if speeds else number(None),
                *(number(None) if part is None else wording.duration(part) for part in (*split, wasted[rung])),
            )
        )
    return Table((*heading, *parts), tuple(rows))


def unfinished(record: ArmRecord) -> str:
    """What attempts without a result took; empty where there were none."""
    if not record.unfinished:
        return ""
    took = [attempt.seconds for attempt in record.unfinished]
    known = sum(seconds for seconds in took if seconds is not None)
    total = known + sum(record.seconds.values())
    silent = f"; {took.count(None):,} of them never told of progress" if None in took else ""
    return (
        f"{count(len(took), 'attempt')} gave no result (failed, killed, or still under way) and took at least"
        f" {wording.duration(known)}, {percent(known / total if total else 0.0)} of all{silent}."
        " What lay before a boundary was not lost: the next attempt went on from there."
    )


def _speed(record: ArmRecord, segment: Segment, env_steps: int) -> float | None:
    """Env steps per second of training; of the whole attempt, in ledgers that have not measured that."""
    measured = record.measured.get(segment)
    if measured is not None and measured.env_steps is not None:
        seconds, env_steps = measured.training_seconds, measured.env_steps  # of this attempt, not of those before it
    else:
        seconds = record.seconds[segment]
    return env_steps / seconds if seconds > 0 and env_steps else None
