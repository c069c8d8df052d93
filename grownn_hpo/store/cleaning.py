"""What nothing can start from any more, and deleting it. Results stay, with the checkpoints' hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from grownn_hpo.store import paths
from grownn_hpo.store.attempts import committed
from grownn_hpo.store.commit import remove
from grownn_hpo.store.paths import TEMPORARY, ArmFolder
from grownn_hpo.trial import Segment


@dataclass(frozen=True, slots=True)
class SpentCheckpoint:
    """A file of a checkpoint, or of a boundary, that can go, and how many bytes that frees."""

    path: Path
    bytes: int


def checkpoints_of(folder: ArmFolder, segments: Sequence[Segment]) -> tuple[SpentCheckpoint, ...]:
    """The checkpoints of these segments, over all their attempts; and what kills left beside committed results.

    The latter are boundaries, and files half written, in any attempt at a segment that has its result.
    """
    checkpoints = (attempt / paths.CHECKPOINT for segment in segments for attempt in folder.attempts(segment))
    found = [path for path in checkpoints if path.is_file()]
    found += _left_behind(folder)
    return tuple(SpentCheckpoint(path, path.stat().st_size) for path in found)


def delete_checkpoints(spent: Sequence[SpentCheckpoint]) -> None:
    """Delete them; what is gone already is passed over."""
    for checkpoint in spent:
        remove(checkpoint.path)


def _left_behind(folder: ArmFolder) -> Iterator[Path]:
    for segment, attempt, names in folder.all_attempts():
        left = sorted(name for name in names if name.startswith(paths.BOUNDARY) or name.endswith(TEMPORARY))
        if left and committed(folder, segment) is not None:
            yield from (attempt / name for name in left)
