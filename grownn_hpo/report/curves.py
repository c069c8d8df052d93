"""A configuration's learning curve over seeds, on one axis of total env steps, and where its network grew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grownn_hpo.report.record import ArmRecord
from grownn_hpo.spec import Arm
from grownn_hpo.trial import CurvePoint, Segment, Trial


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """`S` seeds' evaluations at the same `P` points.

    `env_steps`: shape (P,), the lineage's total, never falling; `returns`: (P, S); `success_rates`: (P, S), None where
    the task has no notion of success.
    """

    env_steps: NDArray[np.int64]
    returns: NDArray[np.float64]
    success_rates: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True)
class Change:
    """At `env_steps` of a lineage's total a rung with another depth or another environment begins."""

    env_steps: int
    depth: int
    grew: bool
    env: str | None


def learning_curve(record: ArmRecord, trial: Trial) -> LearningCurve | None:
    """The configuration's curve from its first env step to the trial's last.

    Taken over the seeds that have a curve on every rung up to there, at the points that all of them share; None where
    no seed has one. Two points at the same env steps are the evaluations before and after a growth.
    """
    lineages = []
    for seed in record.arm.seeds:
        rungs = [record.curves.get(Segment(trial.config, rung, seed), ()) for rung in range(1, trial.rung + 1)]
        if all(rungs):
            lineages.append({(rung, p.env_steps): p for rung, points in enumerate(rungs, 1) for p in points})
    shared = sorted(set.intersection(*map(set, lineages))) if lineages else []
    if not shared:
        return None
    points: list[list[CurvePoint]] = [[lineage[at] for lineage in lineages] for at in shared]
    rates = [[p.success_rate for p in row] for row in points]
    return LearningCurve(
        np.array([env_steps for _, env_steps in shared], dtype=np.int64),
        np.array([[p.mean_return for p in row] for row in points], dtype=np.float64),
        None if any(rate is None for row in rates for rate in row) else np.array(rates, dtype=np.float64),
    )


def changes(arm: Arm) -> tuple[Change, ...]:
    """Where the network grows or the environment changes; the first rung is no change."""
    found = []
    for rung in range(2, len(arm.rungs) + 1):
        depth, before = arm.rungs[rung - 1].depth, arm.rungs[rung - 2].depth
        env = arm.env_of(rung) if arm.env_of(rung) != arm.env_of(rung - 1) else None
        if depth != before or env:
            found.append(Change(arm.env_steps_before(rung), depth, depth != before, env))
    return tuple(found)
