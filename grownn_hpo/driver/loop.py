"""The loop: fold what is known into what is needed, submit what is not in flight, wait, store, repeat.

There is no other path. A study that starts, one that goes on after a kill and one whose budget was raised differ only
in how much is known.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from grownn_hpo.dispatch import Dispatcher
from grownn_hpo.driver.run import ArmRun
from grownn_hpo.errors import Stopped
from grownn_hpo.search.space import Plain
from grownn_hpo.search.suggest import Basis, fingerprint, suggest
from grownn_hpo.store.storage import STORAGE_ERRORS, failure
from grownn_hpo.trial import Segment

Tell = Callable[[str], None]
LATE_SECONDS = 60.0
"""So often results that come late are looked for, and at the end; in between nothing waits for them."""


@dataclass(slots=True)
class Pace:
    """What the driver itself cost: seconds from results to the next submissions, and seconds that suggestions took."""

    turnarounds: list[float] = field(default_factory=list)
    suggestions: list[float] = field(default_factory=list)

    def told(self) -> str:
        parts = []
        if self.turnarounds:
            median = statistics.median(self.turnarounds) * 1000
            parts.append(f"{median:.1f} ms from a result to the next submission (median of {len(self.turnarounds)})")
        if self.suggestions:
            median = statistics.median(self.suggestions)
            parts.append(f"{median:.1f} s for a bracket's suggestions (median of {len(self.suggestions)})")
        return "driver: " + ("; ".join(parts) or "nothing was left to do")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A bracket's configurations, the hash of what they were suggested from, and the seconds it took."""

    configurations: tuple[Plain, ...]
    suggested_from: str
    seconds: float


def drive(runs: Sequence[ArmRun], dispatcher: Dispatcher, tell: Tell, stop: threading.Event) -> Pace:
    """Drive the arms until all are complete; raises Stopped when `stop` is set, or when the storage fails."""
    try:
        return _drive(runs, dispatcher, tell, stop)
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        raise Stopped(failure(error)) from error


def _drive(runs: Sequence[ArmRun], dispatcher: Dispatcher, tell: Tell, stop: threading.Event) -> Pace:
    pace = Pace()
    in_flight: dict[str, tuple[ArmRun, Segment]] = {}
    asked: dict[tuple[str, int], tuple[ArmRun, Future[Suggestion]]] = {}
    for run in runs:
        for path in run.damaged:
            tell(_line(run, runs, f"WARNING {path}: a damaged bracket, put aside; it is suggested again, to the same"))
    compared_at = -math.inf
    # SMAC thinks on a thread of its own, so that workers never wait for it with segments at hand.
    thinker = ThreadPoolExecutor(1, thread_name_prefix="search")
    try:
        ended_at: float | None = None
        while True:
            complete = True
            for run in runs:
                now = run.plan()
                complete &= now.complete
                for segment in run.needed(now):
                    if run.key(segment) not in in_flight:
                        in_flight[run.key(segment)] = (run, segment)
                        dispatcher.submit(run.job(segment))
                bracket = now.suggest
                if bracket is not None and (run.name, bracket) not in asked:
                    asked[run.name, bracket] = (run, thinker.submit(_suggest, run.basis(bracket)))
            if ended_at is not None:
                pace.turnarounds.append(time.perf_counter() - ended_at)
            for run in runs:
                run.record()
            if complete or stop.is_set() or time.monotonic() - compared_at >= LATE_SECONDS:
                compared_at = time.monotonic()
                for run in runs:
                    for line in run.late_disagreements():
                        tell(_line(run, runs, f"WARNING {line}"))
            if complete:
                return pace
            if stop.is_set():
                under_way = len(dispatcher.running())
                raise Stopped(
                    f"stopped with {under_way} segments under way; each goes on from its last boundary, or begins anew"
                )
            endings = dispatcher.wait(0.1 if asked else 1.0)
            for line in dispatcher.news():
                tell(line)
            ended_at = time.perf_counter() if endings else None
            for key, ending in endings:
                run, segment = in_flight.pop(key)
                tell(_line(run, runs, run.settle(segment, ending)))
            for (name, number), (run, future) in list(asked.items()):
                if future.done():
                    found = future.result()
                    pace.suggestions.append(found.seconds)
                    line = run.store_bracket(number, found.configurations, found.suggested_from)
                    del asked[name, number]
                    tell(_line(run, runs, line))
    finally:
        thinker.shutdown(wait=False, cancel_futures=True)


def _suggest(basis: Basis) -> Suggestion:
    began = time.perf_counter()
    configurations = suggest(basis)
    return Suggestion(configurations, fingerprint(basis), time.perf_counter() - began)


def _line(run: ArmRun, runs: Sequence[ArmRun], line: str) -> str:
    return line if len(runs) == 1 else f"{run.name} {line}"
