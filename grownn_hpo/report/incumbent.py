"""Who leads, and since when; returns are compared within one rung, never across rungs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean

from grownn_hpo.report.record import ArmRecord
from grownn_hpo.trial import Outcome, SegmentResult, Status, Trial, outcomes_of


@dataclass(frozen=True, slots=True)
class Standing:
    """How a completed trial did: means over seeds, and the seeds' own returns in the order of seeds."""

    trial: Trial
    mean_return: float
    success_rate: float | None
    returns: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Lead:
    """From `env_steps` on (all segments' together, in ladder order) this trial was the incumbent."""

    env_steps: int
    standing: Standing


def by_trial(record: ArmRecord) -> dict[Trial, list[SegmentResult]]:
    """The finished segments of every trial that has one, trials in ladder order, segments in the order of seeds."""
    found: defaultdict[Trial, list[SegmentResult]] = defaultdict(list)
    for result in sorted(record.results, key=lambda r: r.segment):
        found[result.segment.trial].append(result)
    return {trial: found[trial] for trial in sorted(found, key=record.ladder_key)}


def outcomes(record: ArmRecord) -> dict[Trial, Outcome]:
    """The outcome of every trial whose seeds have all finished, in ladder order."""
    found = outcomes_of({result.segment: result for result in record.results}, record.arm.seeds)
    return {trial: found[trial] for trial in sorted(found, key=record.ladder_key)}


def standings(record: ArmRecord) -> dict[Trial, Standing]:
    """Every completed trial's standing, in ladder order; those that diverged, crashed or are unfinished have none."""
    results = by_trial(record)
    return {
        trial: _standing(trial, -outcome.cost, results[trial])
        for trial, outcome in outcomes(record).items()
        if outcome.status is Status.COMPLETED and outcome.cost is not None
    }


def leaderboard(record: ArmRecord) -> tuple[Standing, ...]:
    """The highest rung that any trial has completed, best first; the earlier configuration first among equals."""
    done = standings(record)
    top = max((trial.rung for trial in done), default=0)
    return tuple(sorted((s for t, s in done.items() if t.rung == top), key=lambda s: (-s.mean_return, s.trial.config)))


def trajectory(record: ArmRecord) -> tuple[Lead, ...]:
    """Every change of the incumbent, had the segments run one after the other in ladder order.

    The first trial to complete a higher rung takes the lead even with a lower return: the rungs below no longer count.
    """
    done = standings(record)
    leads: list[Lead] = []
    spent = 0
    for trial, results in by_trial(record).items():
        spent += sum(map(record.env_steps_of, results))
        standing = done.get(trial)
        if standing and (not leads or _ahead(standing, leads[-1].standing)):
            leads.append(Lead(spent, standing))
    return tuple(leads)


def _ahead(challenger: Standing, incumbent: Standing) -> bool:
    if challenger.trial.rung != incumbent.trial.rung:
        return challenger.trial.rung > incumbent.trial.rung
    return challenger.mean_return > incumbent.mean_return


def _standing(trial: Trial, mean_return: float, results: list[SegmentResult]) -> Standing:
    rates = [r.success_rate for r in results if r.success_rate is not None]
    return Standing(
        trial,
        mean_return,
        fmean(rates) if len(rates) == len(results) else None,
        tuple(r.mean_return for r in results if r.mean_return is not None),
    )
