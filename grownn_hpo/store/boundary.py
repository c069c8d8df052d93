"""A segment's boundaries on disk: where a new attempt goes on after a kill.

A boundary lies between two legs of a segment (see `grownn_hpo.spec.training`). An attempt keeps its latest in two files
of its own folder: the tensors, and a sealed JSON, written last, which holds the tensors' SHA-256 and *is* the boundary.
What is damaged, or belongs to another segment, parent or study, is passed over.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from grownn_hpo.store import paths
from grownn_hpo.store.attempts import committed
from grownn_hpo.store.commit import read_file, remove, seal, unseal, write_file
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment


@dataclass(frozen=True, slots=True)
class Origin:
    """What a boundary belongs to: its segment, the checkpoint that this started from, and the terms of its training."""

    segment: Segment
    parent_sha256: str | None
    terms_sha256: str


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where a segment stood after `leg` legs, but for the tensors.

    `counters` are the agent's, over the whole lineage; `rounds` counts the segment's evaluations so far, and `curve` is
    the text of its `curve.csv`; `growth_difference` is what growing made at the segment's start.
    """

    origin: Origin
    leg: int
    counters: dict[str, int]
    rounds: int
    curve: str
    growth_difference: float | None


@dataclass(frozen=True, slots=True)
class _Record:
    """The content of the JSON file."""

    boundary: Boundary
    tensors_sha256: str
    tensors_bytes: int
    format: Literal[1] = 1


_RECORD = TypeAdapter(_Record)


def write_boundary(attempt: Path, boundary: Boundary, tensors: bytes) -> None:
    """Write both files into an attempt's folder, durably, and delete those of the leg before.

    `tensors` are the bytes of a safetensors file (`grownn_hpo.store.checkpoint.packed`).
    """
    leg = boundary.leg
    digest = write_file(attempt / paths.boundary_tensors(leg), tensors)
    record = _Record(boundary, digest, len(tensors))
    write_file(attempt / paths.boundary_record(leg), seal(_RECORD.dump_json(record, indent=1)))
    for name in (paths.boundary_record(leg - 1), paths.boundary_tensors(leg - 1)):
        remove(attempt / name)


def best_boundary(folder: ArmFolder, origin: Origin) -> tuple[Boundary, bytes] | None:
    """The most advanced whole boundary of this origin over all its segment's attempts; None if there is none.

    With it the bytes of its tensors' file, which are those that were written.
    """
    own = [found for found in _records(folder, origin.segment) if found[1].boundary.origin == origin]
    for attempt, record in sorted(own, key=lambda found: found[1].boundary.leg, reverse=True):
        try:
            tensors = read_file(attempt / paths.boundary_tensors(record.boundary.leg), record.tensors_bytes)
        except OSError:
            continue
        if hashlib.sha256(tensors).hexdigest() == record.tensors_sha256:
            return record.boundary, tensors
    return None


def boundary_reached(folder: ArmFolder, segment: Segment, terms_sha256: str | None = None) -> int | None:
    """The lineage's env steps at the boundary where a new attempt at `segment` would begin, None: at its start.

    Under these terms, if they are given. Reads the JSON files alone: tensors with a flipped bit are noticed only by the
    attempt that begins there.
    """
    parent = None if segment.parent is None else committed(folder, segment.parent, terms_sha256)
    if segment.parent is not None and parent is None:
        return None
    sha256 = None if parent is None else parent.commit.result.checkpoint_sha256
    reached = (
        record.boundary.counters["env_steps"]
        for _, record in _records(folder, segment)
        if record.boundary.origin.parent_sha256 == sha256
        and terms_sha256 in (None, record.boundary.origin.terms_sha256)
    )
    return max(reached, default=None)


def delete_boundaries(folder: ArmFolder, segment: Segment) -> None:
    """Delete the boundaries in all attempts' folders of a segment whose result is committed."""
    for attempt in folder.attempts(segment):
        for name in _names(attempt, r"(json|safetensors)"):
            with contextlib.suppress(OSError):  # the result stands; `grownn clean` deletes what stays
                remove(attempt / name)


def _records(folder: ArmFolder, segment: Segment) -> Iterator[tuple[Path, _Record]]:
    """The whole JSON files of a segment's boundaries whose tensors are there in full length, with their folders."""
    for attempt in folder.attempts(segment):
        for name in _names(attempt, "json"):
            try:
                record = _RECORD.validate_json(unseal(read_file(attempt / name)), strict=True)
                size = (attempt / paths.boundary_tensors(record.boundary.leg)).stat().st_size
            except (OSError, ValueError):  # pydantic's ValidationError is one
                continue
            named = name == paths.boundary_record(record.boundary.leg)
            if named and size == record.tensors_bytes and record.boundary.origin.segment == segment:
                yield attempt, record


def _names(attempt: Path, ending: str) -> list[str]:
    """The names of boundaries' files in an attempt's folder; no temporaries, which an orphan may be writing."""
    return [p.name for p in attempt.iterdir() if re.fullmatch(rf"{paths.BOUNDARY}[0-9]+\.{ending}", p.name)]
