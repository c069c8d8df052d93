"""The fleet of worker jobs: which to ask for and which to give up, as a pure function of what is seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from grownn_hpo.dispatch.squeue import Queued

IDLE_SECONDS = 60.0
"""A job beyond the least number is kept idle for so long: the next bracket may be about to come."""


SILENT_SECONDS = 300.0
"""A job that runs for so long without a worker that the driver hears is of no use: a frozen node, a firewall."""


class Why(StrEnum):
    """Why a job is given up."""

    ENDED = "has ended"
    SILENT = "runs, and its workers are not heard of"
    TOO_LATE = "has too little time left for any segment that waits"
    SURPLUS = "is not needed any more"


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """A worker job that was asked for, under the name that Dask knows it by.

    `seen` is what Slurm says of it: None if it has not told us of the job yet, or not any more (`known`). `workers`
    counts those that are connected, `busy` those of them at work, `idle_seconds` since when none is. `useless`: it has
    idle workers, segments wait, and none of them fits into its time. `silent_seconds`: since when it runs without one.
    """

    name: str
    known: bool
    seen: Queued | None
    workers: int
    busy: int
    idle_seconds: float
    useless: bool
    silent_seconds: float = 0.0

    @property
    def ended(self) -> bool:
        return self.known and (self.seen is None or not (self.seen.waiting or self.seen.running))


@dataclass(frozen=True, slots=True)
class Orders:
    """What to do: give up these jobs, by name and why, and ask for so many new ones."""

    give_up: Mapping[str, Why]
    ask_for: int


def orders(jobs: Sequence[WorkerJob], segments: int, per_job: int, at_least: int, at_most: int) -> Orders:
    """The orders that bring the fleet to what `segments` (under way and waiting) need, at `per_job` a job.

    A job at work is never given up. Of those not needed, jobs that wait in the queue go first, then those idle longest.
    """
    give_up = {job.name: Why.ENDED for job in jobs if job.ended}
    there = [job for job in jobs if not job.ended]
    give_up |= {job.name: Why.SILENT for job in there if not job.workers and job.silent_seconds >= SILENT_SECONDS}
    give_up |= {job.name: Why.TOO_LATE for job in there if job.useless and not job.busy}
    left = [job for job in jobs if job.name not in give_up]
    target = max(at_least, min(at_most, math.ceil(segments / per_job)))
    # One that Slurm has not told of yet may still be about to be asked for: it is left until it can be seen.
    waiting = [job for job in left if not job.workers and job.seen is not None and job.seen.waiting]
    idle = [job for job in left if job.workers and not job.busy and job.idle_seconds >= IDLE_SECONDS]
    idle.sort(key=lambda job: -job.idle_seconds)
    surplus = [*reversed(waiting), *idle][: max(0, len(left) - target)]
    give_up |= {job.name: Why.SURPLUS for job in surplus}
    return Orders(give_up, max(0, target - len(left)))
