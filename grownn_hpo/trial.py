"""What is trained and what came of it: segments, trials and their outcomes.

Configurations, brackets and rungs are counted from 1. A *segment* is one seed's share of a *trial*, the training of one
configuration between two rungs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a segment or a trial ended."""

    COMPLETED = "completed"
    DIVERGED = "diverged"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True, order=True)
class Trial:
    """One configuration at one rung, over all seeds."""

    config: int
    rung: int


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One seed's training of one configuration between two rungs; ordered as the ledger is."""

    config: int
    rung: int
    seed: int

    @property
    def trial(self) -> Trial:
        return Trial(self.config, self.rung)

    @property
    def parent(self) -> Segment | None:
        """The segment of the same lineage on the rung below, whose checkpoint this one starts from."""
        return Segment(self.config, self.rung - 1, self.seed) if self.rung > 1 else None

    def __str__(self) -> str:
        return f"c{self.config:04d}/s{self.seed}/r{self.rung}"


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """What a finished segment tells; no field depends on time, machine or the number of attempts.

    `mean_return`, `success_rate` (None where the task has no notion of success) are those of the last evaluation;
    `env_steps` is the lineage's total at the segment's end, `growth_difference` the largest absolute difference that
    growing made to logits and values (None where nothing grew). `detail` says why a segment diverged or crashed.
    """

    segment: Segment
    status: Status
    mean_return: float | None
    success_rate: float | None
    env_steps: int
    depth: int
    growth_difference: float | None
    parent_sha256: str | None
    checkpoint_sha256: str | None
    detail: str | None = None

    def __post_init__(self) -> None:
        finite = self.mean_return is not None and math.isfinite(self.mean_return)
        if self.status is Status.COMPLETED and not finite:
            # JSON has no NaN: it would be stored as none at all, and a trial without a return has no cost.
            raise ValueError(
                f"{self.segment}: completed with mean_return {self.mean_return!r}; it must be a finite number"
            )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial tells the search: a cost, minus the mean return over seeds, and a status."""

    status: Status
    cost: float | None

    @classmethod
    def of(cls, results: list[SegmentResult]) -> Outcome:
        """The outcome of a trial from the results of all its seeds (any order; at least one)."""
        worst = {r.status for r in results}
        for status in (Status.CRASHED, Status.DIVERGED):
            if status in worst:
                return cls(status, None)
        # Summed in the order of seeds, so that the same results give the same bits.
        returns = [r.mean_return for r in sorted(results, key=lambda r: r.segment) if r.mean_return is not None]
        return cls(Status.COMPLETED, -sum(returns) / len(returns))


def outcomes_of(results: Mapping[Segment, SegmentResult], seeds: Collection[int]) -> dict[Trial, Outcome]:
    """The outcome of every trial that has a result for each of `seeds`."""
    by_trial: dict[Trial, list[SegmentResult]] = {}
    for segment, result in results.items():
        if segment.seed in seeds:
            by_trial.setdefault(segment.trial, []).append(result)
    return {trial: Outcome.of(found) for trial, found in by_trial.items() if len(found) == len(seeds)}


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One evaluation round: where on the lineage's axis of env steps, and what the deterministic policy did there."""

    env_steps: int
    mean_return: float
    std_return: float
    mean_length: float
    success_rate: float | None
    episodes: int
