"""What the segments of an arm that has run took: the best there is to tell what the others will take."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from grownn_hpo.spec import Arm
from grownn_hpo.store.attempts import read_commit
from grownn_hpo.store.ledger import Ledger
from grownn_hpo.store.paths import CHECKPOINT, ArmFolder
from grownn_hpo.trial import Segment, Status

MOST = 400
"""So many segments of a rung are looked at, spread over all: enough for an average."""


@dataclass(frozen=True, slots=True)
class RungRates:
    """Whole segments of one rung: seconds by configuration (mean over its seeds), bytes on disk, peak memory.

    `segment_bytes` is None where every checkpoint was cleaned away.
    """

    seconds: Mapping[int, float]
    segment_bytes: float | None
    memory_gib: float


def read_rates(folder: ArmFolder, arm: Arm, ledger: Ledger) -> dict[int, RungRates]:
    """The rates of every rung (from 1) that has a completed segment.

    An attempt that began at a boundary trained a part of its segment only: its time counts in proportion.
    """
    done: dict[int, list[Segment]] = {}
    for segment in sorted(ledger.entries):
        if ledger.entries[segment].result.status is Status.COMPLETED:
            done.setdefault(segment.rung, []).append(segment)
    rates = {rung: _rung_rates(folder, arm, ledger, segments) for rung, segments in sorted(done.items())}
    return {rung: found for rung, found in rates.items() if found is not None}


def _rung_rates(folder: ArmFolder, arm: Arm, ledger: Ledger, segments: list[Segment]) -> RungRates | None:
    seconds: dict[int, list[float]] = {}
    sizes, memory = [], 0.0
    for segment in segments[:: -(-len(segments) // MOST)]:
        attempt = folder.segment(segment) / ledger.entries[segment].attempt
        commit = read_commit(attempt, segment)
        if commit is None or commit.measured is None:
            continue
        whole = arm.rungs[segment.rung - 1].env_steps
        trained = commit.measured.env_steps or whole
        seconds.setdefault(segment.config, []).append(commit.measured.seconds * whole / trained)
        memory = max(memory, commit.measured.peak_memory_gib)
        if (attempt / CHECKPOINT).exists():
            sizes.append(sum(path.stat().st_size for path in attempt.iterdir()))
    if not seconds:
        return None
    means = {config: statistics.fmean(found) for config, found in seconds.items()}
    return RungRates(means, statistics.fmean(sizes) if sizes else None, memory)
