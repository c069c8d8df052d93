"""Arms, results and commits as a segment leaves them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from grownn_hpo.store import paths
from grownn_hpo.store.attempts import Committed, Measured, claim_attempt, commit_result
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment, SegmentResult, Status

MEASURED = Measured(
    seconds=12.5, training_seconds=10.0, evaluation_seconds=2.5, peak_memory_gib=0.4, host="n1", env_steps=750
)


def completed(
    segment: Segment, mean_return: float = 0.1, detail: str | None = None, checkpoint: bytes = b"tensors"
) -> SegmentResult:
    digest = hashlib.sha256(checkpoint).hexdigest()
    return SegmentResult(
        segment, Status.COMPLETED, mean_return, 0.5, 1000 * segment.rung, segment.rung, None, None, digest, detail
    )


def finish(
    folder: ArmFolder, segment: Segment, mean_return: float = 0.1, checkpoint: bytes = b"tensors", seconds: float = 12.5
) -> Committed:
    """One attempt at `segment`, from its claim to its commit."""
    attempt = claim_attempt(folder, segment)
    (attempt / paths.CHECKPOINT).write_bytes(checkpoint)
    (attempt / paths.CHECKPOINT_META).write_bytes(b"{}")
    (attempt / paths.PROGRESS).write_text(attempt.name)
    took = replace(MEASURED, seconds=seconds)
    return Committed(commit_result(attempt, completed(segment, mean_return, checkpoint=checkpoint), took), attempt)


def commit(attempt: Path, result: SegmentResult, terms: str | None = None) -> None:
    """Commit a result of `completed` in an attempt's folder, with the checkpoint that it tells of."""
    (attempt / paths.CHECKPOINT).write_bytes(b"tensors")
    commit_result(attempt, result, None, terms)
