"""How long an arm will take from here, by what its segments have taken so far."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from grownn_hpo.search.ladder import RungProgress
from grownn_hpo.spec import Arm
from grownn_hpo.store.ledger import Entry
from grownn_hpo.trial import Segment, Status, Trial

if TYPE_CHECKING:
    from grownn_hpo.report.status import Running

LONGEST = 1e9
"""Seconds, thirty years: what seems to take longer is a clock or a file gone wrong."""


def seconds_left(
    arm: Arm,
    entries: Mapping[Segment, Entry],
    known: Mapping[Trial, object],
    progress: Sequence[RungProgress],
    running: Sequence[Running],
) -> float | None:
    """What is left of the budget, over as many slots as are in use now; None while nothing runs, or none has a pace.

    Never less than the longest chain of segments that have to wait for one another. `known` are the trials that have
    an outcome, `progress` is every rung of every bracket.
    """
    pace = paces(arm, entries, running)
    if pace is None or not running:
        return None
    # Of trials that are still open some seeds are done.
    done = Counter(segment.rung for segment in entries if segment.trial not in known)
    open_slots: Counter[int] = Counter()
    for p in progress:
        open_slots[p.rung] += p.slots - p.void - p.known
    work = sum(
        (open_slots[rung] * len(arm.seeds) - done[rung]) * pace[rung] * arm.rungs[rung - 1].env_steps for rung in pace
    )
    work -= sum(each.env_steps * pace[each.segment.rung] for each in running)
    left = max(0.0, work / len(running), *_chains(arm, pace, progress, running))
    return left if left < LONGEST else None


def paces(arm: Arm, entries: Mapping[Segment, Entry], running: Sequence[Running]) -> dict[int, float] | None:
    """Seconds for an env step on every rung (from 1): of its finished segments, else of those under way there.

    A rung that has neither has that of the nearest rung below, or above. An attempt that began at a boundary counts
    with the env steps that it trained itself. None where no rung has any.
    """
    seconds: defaultdict[int, float] = defaultdict(float)
    steps: Counter[int] = Counter()
    for segment, entry in entries.items():
        if entry.result.status is Status.COMPLETED and entry.seconds > 0:
            seconds[segment.rung] += entry.seconds
            steps[segment.rung] += entry.env_steps or arm.rungs[segment.rung - 1].env_steps
    found = {rung: seconds[rung] / steps[rung] for rung in steps}
    speeds: defaultdict[int, list[float]] = defaultdict(list)
    for each in running:
        speed = each.env_steps_per_second
        if speed is not None and speed > 0 and each.segment.rung not in found:
            speeds[each.segment.rung].append(speed)
    found |= {rung: len(known) / sum(known) for rung, known in speeds.items()}
    if not found:
        return None
    # By distance, and of two equally far the lower.
    return {
        rung: found[min(found, key=lambda other: (other > rung, abs(other - rung)))]
        for rung in range(1, len(arm.rungs) + 1)
    }


def _chains(
    arm: Arm, pace: Mapping[int, float], progress: Sequence[RungProgress], running: Sequence[Running]
) -> list[float]:
    """What each of the segments under way, and the brackets after them, take at least one after the other."""
    whole = {rung: arm.rungs[rung - 1].env_steps * pace[rung] for rung in pace}
    reached = {(p.bracket, p.rung) for p in progress if p.slots - p.void}
    chains, per_bracket = [], arm.rungs[0].configurations
    for each in running:
        bracket, rung = (each.segment.config - 1) // per_bracket + 1, each.segment.rung
        above = sum(whole[higher] for higher in whole if higher > rung and (bracket, higher) in reached)
        chains.append((each.of_env_steps - each.env_steps) * pace[rung] + above)
    return chains
