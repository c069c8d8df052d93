"""What the report is made from: everything known of one arm, as plain values.

Nothing here reads a file. A record may be of a study half done, or of one that has not finished a single trial.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import JsonValue

from grownn_hpo.errors import InputError
from grownn_hpo.spec import Arm
from grownn_hpo.store.attempts import Measured
from grownn_hpo.trial import CurvePoint, Segment, SegmentResult, Status, Trial


class Failure(NamedTuple):
    """One attempt that came to nothing, or one segment that diverged: which, why in a word, and the particulars."""

    segment: Segment
    cause: str
    detail: str


class Unfinished(NamedTuple):
    """One attempt that gave no result: it failed, was killed, or is still under way.

    `seconds` went by until it last told of progress; None where it never did. What it had trained up to a boundary is
    not lost: the next attempt went on from there.
    """

    segment: Segment
    seconds: float | None


@dataclass(frozen=True, slots=True)
class ArmRecord:
    """Everything known of one arm.

    `results` holds each finished segment once; `curves` has env steps on the lineage's total axis; `seconds` is the
    time of the attempt whose result counts, and `measured` what it went on; `unfinished` are the attempts beside it;
    `environment` names versions, CPU and git commit; `path` is where it was read from.
    """

    arm: Arm
    configurations: Mapping[int, Mapping[str, JsonValue]] = field(default_factory=dict)
    results: tuple[SegmentResult, ...] = ()
    curves: Mapping[Segment, tuple[CurvePoint, ...]] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    seconds: Mapping[Segment, float] = field(default_factory=dict)
    environment: Mapping[str, JsonValue] = field(default_factory=dict)
    measured: Mapping[Segment, Measured] = field(default_factory=dict)
    unfinished: tuple[Unfinished, ...] = ()
    path: str | None = None

    def env_steps_of(self, result: SegmentResult) -> int:
        """Env steps that the segment itself took: fewer than its rung's where it diverged or crashed early."""
        return max(0, result.env_steps - self.arm.env_steps_before(result.segment.rung))

    @property
    def env_steps_spent(self) -> int:
        """Env steps of all finished segments together."""
        return sum(map(self.env_steps_of, self.results))

    def ladder_key(self, trial: Trial) -> tuple[int, int, int]:
        """Sorts trials as the budget counts them: bracket by bracket, in each rung by rung."""
        return ((trial.config - 1) // self.arm.rungs[0].configurations, trial.rung, trial.config)

    def all_failures(self) -> tuple[Failure, ...]:
        """The failures as recorded, and the segments that ended badly without one, in the ledger's order."""
        known = {failure.segment for failure in self.failures}
        unnamed = (
            Failure(r.segment, r.status.value, r.detail or "no detail was recorded")
            for r in self.results
            if r.status is not Status.COMPLETED and r.segment not in known
        )
        return tuple(sorted((*self.failures, *unnamed), key=lambda failure: failure.segment))


def labelled(records: Sequence[ArmRecord]) -> dict[str, ArmRecord]:
    """The records by the shortest name that tells them apart: `arm`, or `study/arm` where two arms share a name.

    Raises InputError where an arm of a study stands there twice.
    """
    names = Counter(record.arm.name for record in records)
    by_label: dict[str, ArmRecord] = {}
    for record in records:
        name, full = record.arm.name, f"{record.arm.study}/{record.arm.name}"
        label = name if names[name] == 1 else full
        if label in by_label:
            raise InputError(f"{full} was given twice: a report shows an arm once; name each path once")
        by_label[label] = record
    return by_label
