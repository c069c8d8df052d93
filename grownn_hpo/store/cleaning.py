"""Which checkpoints nothing can start from any more, and deleting them. Results stay, with the checkpoints' hashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grownn_hpo.store import paths
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment


@dataclass(frozen=True, slots=True)
class SpentCheckpoint:
    """An attempt's folder whose checkpoint can go, and how many bytes that frees."""

    folder: Path
    bytes: int


def checkpoints_of(folder: ArmFolder, segments: Sequence[Segment]) -> tuple[SpentCheckpoint, ...]:
    """What the checkpoints of these segments take, over all their attempts."""
    found = []
    for segment in segments:
        for attempt in folder.attempts(segment):
            checkpoint = attempt / paths.CHECKPOINT
            if checkpoint.is_file():
                found.append(SpentCheckpoint(attempt, checkpoint.stat().st_size))
    return tuple(found)


def delete_checkpoints(spent: Sequence[SpentCheckpoint]) -> None:
    """Delete them; what is gone already is passed over."""
    for checkpoint in spent:
        (checkpoint.folder / paths.CHECKPOINT).unlink(missing_ok=True)
