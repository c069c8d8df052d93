"""One segment's attempts: claiming a folder, committing a result, and believing one only if it is whole.

`result.json`, written last, holds the SHA-256 of every artefact beside it and of itself: it *is* the commit. What has
no valid `result.json` did not happen.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from grownn_hpo.files import PASSING
from grownn_hpo.store import paths
from grownn_hpo.store.commit import (
    claim_folder,
    file_sha256,
    make_folder,
    read_file,
    read_if_there,
    seal,
    set_aside,
    sync_file,
    unseal,
    write_file,
)
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment, SegmentResult, Status


@dataclass(frozen=True, slots=True)
class Measured:
    """What an attempt took; no other attempt's need be equal to it.

    `env_steps` are those that this very attempt trained, fewer than the segment's where it began at a boundary; None in
    commits of earlier versions. A rate is `env_steps / training_seconds`.
    """

    seconds: float
    training_seconds: float
    evaluation_seconds: float
    peak_memory_gib: float
    host: str
    env_steps: int | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """The content of `result.json`; `terms_sha256` is None in commits of earlier versions."""

    result: SegmentResult
    artefacts: dict[str, str]
    measured: Measured | None
    terms_sha256: str | None = None
    format: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class Failure:
    """The content of `failure.json`: an attempt that its supervisor saw fail, and why."""

    segment: Segment
    cause: str
    detail: str


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit and the attempt's folder that it stands in."""

    commit: Commit
    folder: Path


_COMMIT = TypeAdapter(Commit)
_FAILURE = TypeAdapter(Failure)


def claim_attempt(folder: ArmFolder, segment: Segment) -> Path:
    """A fresh folder for a new attempt at `segment`; nobody else ever gets the same one."""
    parent = folder.segment(segment)
    make_folder(parent)
    taken = folder.attempts(segment)
    first = int(taken[-1].name[1:]) + 1 if taken else 1  # never below a later one, whose place was deleted
    for number in itertools.count(first):
        attempt = parent / f"a{number}"
        if claim_folder(attempt):
            return attempt
    raise AssertionError("itertools.count ends")


def commit_result(
    attempt: Path, result: SegmentResult, measured: Measured | None, terms_sha256: str | None = None
) -> Commit:
    """Commit `result` with every artefact in the attempt's folder, which are made durable and hashed first.

    `terms_sha256` says what it is the result of (`grownn_hpo.store.terms`). Raises OSError where the storage fails, or
    has changed or lost the checkpoint since it was written.
    """
    names = (paths.CHECKPOINT, paths.CHECKPOINT_META, paths.CURVE, paths.PROGRESS)
    artefacts = {name: sync_file(attempt / name) for name in names if (attempt / name).exists()}
    if result.status is Status.COMPLETED and artefacts.get(paths.CHECKPOINT) != result.checkpoint_sha256:
        raise OSError(errno.EIO, "it does not hold what was written to it", str(attempt / paths.CHECKPOINT))
    commit = Commit(result, artefacts, measured, terms_sha256)
    write_file(attempt / paths.RESULT, seal(_COMMIT.dump_json(commit, indent=1)))
    return commit


def commit_again(found: Committed) -> None:
    """Make a commit durable that another attempt left, which may have been killed, or failed, behind its renaming.

    By writing it anew: an fsync that is repeated after it failed may succeed for nothing.
    """
    path = found.folder / paths.RESULT
    write_file(path, read_file(path))


def read_commit(attempt: Path, segment: Segment, terms_sha256: str | None = None) -> Commit | None:
    """The commit in an attempt's folder, None unless it is whole and speaks of `segment`, under these terms if given.

    So one that was copied here from another study, or was computed before somebody edited this one, did not happen.
    Raises OSError where the storage may have it and does not give it now: that is no reason to compute it again.
    """
    try:
        commit = _COMMIT.validate_json(unseal(read_if_there(attempt / paths.RESULT)), strict=True)
    except ValueError:  # pydantic's ValidationError is one
        return None
    foreign = terms_sha256 is not None and commit.terms_sha256 not in (None, terms_sha256)
    return commit if commit.result.segment == segment and not foreign else None


def committed(folder: ArmFolder, segment: Segment, terms_sha256: str | None = None) -> Committed | None:
    """The first valid commit of `segment`, under these terms if they are given; None if there is none yet."""
    for attempt in folder.attempts(segment):
        commit = read_commit(attempt, segment, terms_sha256)
        if commit is not None:
            return Committed(commit, attempt)
    return None


def agree(one: Commit, other: Commit) -> bool:
    """Whether two attempts at one segment came to the same: the result and every artefact but the timed progress."""

    def timeless(artefacts: Mapping[str, str]) -> dict[str, str]:
        return {name: digest for name, digest in artefacts.items() if name != paths.PROGRESS}

    if Status.CRASHED in (one.result.status, other.result.status):
        return True  # a crash is the machine's doing; it says nothing about determinism
    return one.result == other.result and timeless(one.artefacts) == timeless(other.artefacts)


def intact_checkpoint(parent: Committed) -> bool:
    """Whether the checkpoint's two files are still, byte for byte, what was committed."""
    for name in (paths.CHECKPOINT, paths.CHECKPOINT_META):
        try:
            digest = file_sha256(parent.folder / name)
        except OSError as error:
            if error.errno in PASSING:
                raise
            return False
        if digest != parent.commit.artefacts.get(name):
            return False
    return True


def retract(parent: Committed) -> None:
    """Take a commit back, because an artefact of it is damaged: the segment is computed again, to the same bits."""
    set_aside(parent.folder / paths.RESULT)


def record_failure(folder: ArmFolder, failure: Failure) -> Path:
    """Keep why the newest attempt at a segment failed, in its own folder (in a fresh one if it never got that far)."""
    taken = folder.attempts(failure.segment)
    free = [a for a in taken if not (a / paths.FAILURE).exists() and not (a / paths.RESULT).exists()]
    attempt = free[-1] if free else claim_attempt(folder, failure.segment)
    write_file(attempt / paths.FAILURE, _FAILURE.dump_json(failure, indent=1))
    return attempt


def read_failure(attempt: Path) -> Failure | None:
    """Why an attempt failed, None if it did not, or if that was not kept whole; OSError as in `read_commit`."""
    try:
        return _FAILURE.validate_json(read_if_there(attempt / paths.FAILURE), strict=True)
    except ValueError:
        return None
