"""An arm's folder read into the values that the report is made from; only `keep_evaluation` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic_core import from_json

from grownn_hpo.errors import InputError
from grownn_hpo.files import PASSING
from grownn_hpo.report.evaluation import FinalEvaluation
from grownn_hpo.report.incumbent import outcomes
from grownn_hpo.report.record import ArmRecord, Failure, Unfinished
from grownn_hpo.search.ladder import Ladder, incumbent, spent
from grownn_hpo.store.arm import read_environment
from grownn_hpo.store.attempts import Commit, read_commit
from grownn_hpo.store.commit import file_sha256, read_if_there, seal, unseal, write_file
from grownn_hpo.store.curve import read_curve, read_ticks
from grownn_hpo.store.known import read_known
from grownn_hpo.store.paths import CURVE, PROGRESS, RESULT, ArmFolder, arm_folders
from grownn_hpo.trial import CurvePoint, Segment, Trial

EVALUATION = "evaluation.json"


def arms_at(path: Path) -> tuple[ArmFolder, ...]:
    """The arms at `path`; InputError if there are none."""
    folders = arm_folders(path)
    if not folders:
        raise InputError(f"{path}: holds no study; expected a folder like results/<study> or results/<study>/<arm>")
    return folders


def one_arm(path: Path) -> ArmFolder:
    """The one arm at `path`; InputError if there are several."""
    folders = arms_at(path)
    if len(folders) > 1:
        listed = ", ".join(str(folder.root) for folder in folders)
        raise InputError(f"{path}: holds {len(folders)} arms; name one of {listed}")
    return folders[0]


def read_record(folder: ArmFolder) -> ArmRecord:
    """Everything known of the arm, of one that is being driven too."""
    known = read_known(folder)
    ledger = known.ledger
    failures = [Failure(f.segment, f.cause, f.detail) for found in ledger.failures.values() for f in found]
    commits: dict[Segment, Commit] = {}
    curves: dict[Segment, tuple[CurvePoint, ...]] = {}
    for segment, entry in ledger.entries.items():
        attempt = folder.segment(segment) / entry.attempt
        commit = read_commit(attempt, segment)
        curves[segment] = _committed_curve(attempt, commit)
        if commit is not None:
            commits[segment] = commit
    return ArmRecord(
        arm=known.arm,
        configurations=known.configurations,
        results=tuple(ledger.entries[segment].result for segment in sorted(ledger.entries)),
        curves=curves,
        failures=tuple(failures),
        seconds={segment: entry.seconds for segment, entry in ledger.entries.items()},
        environment=read_environment(folder),
        measured={segment: commit.measured for segment, commit in commits.items() if commit.measured is not None},
        unfinished=tuple(_unfinished(folder)),
        path=str(folder.root),
    )


def _unfinished(folder: ArmFolder) -> Iterator[Unfinished]:
    """The attempts without a result of their own."""
    for segment, attempt, names in folder.all_attempts():
        if RESULT not in names:
            ticks = read_ticks(attempt) if PROGRESS in names else ()
            yield Unfinished(segment, ticks[-1].seconds if ticks else None)


def _committed_curve(attempt: Path, commit: Commit | None) -> tuple[CurvePoint, ...]:
    """The curve as it was committed; empty where it is damaged since, for then nobody knows which points are true."""
    try:
        whole = commit is not None and file_sha256(attempt / CURVE) == commit.artefacts.get(CURVE)
    except OSError as error:
        if error.errno in PASSING:
            raise
        whole = False
    return read_curve(attempt) if whole else ()


def read_fresh_runs(folder: ArmFolder, evaluation: FinalEvaluation) -> ArmRecord | None:
    """The runs that a final evaluation of the arm is of, curves and all; None where they are gone or damaged."""
    for path in sorted(folder.evaluations.glob(f"*/{EVALUATION}")):
        try:
            if _evaluation(path) == evaluation:
                return read_record(ArmFolder(path.parent))
        except (ValueError, KeyError, TypeError, InputError):
            continue
    return None


def incumbent_of(record: ArmRecord) -> Trial | None:
    """The arm's incumbent, None while no trial has completed."""
    return incumbent(outcomes(record))


def spent_segments(folder: ArmFolder) -> tuple[Segment, ...]:
    """The segments whose checkpoints nothing can start from any more; the incumbent's lineage is kept."""
    known = read_known(folder)
    held = {number: len(bracket.configurations) for number, bracket in known.brackets.items()}
    leader = incumbent(known.outcomes)
    return tuple(
        Segment(trial.config, trial.rung, seed)
        for trial in spent(Ladder.of(known.arm), held, known.outcomes)
        if leader is None or trial.config != leader.config
        for seed in known.arm.seeds
    )


def keep_evaluation(folder: ArmFolder, evaluation: FinalEvaluation) -> None:
    """Store what a final evaluation said in its own folder."""
    write_file(folder.root / EVALUATION, seal(json.dumps(evaluation.to_json(), indent=1).encode()))


def read_evaluations(folder: ArmFolder) -> tuple[FinalEvaluation, ...]:
    """The final evaluations of an arm's incumbents, the newest last; those that are damaged are left out."""
    found = []
    files = sorted(folder.evaluations.glob(f"*/{EVALUATION}"), key=lambda path: path.lstat().st_mtime)
    for path in files:
        try:
            found.append(_evaluation(path))
        except (ValueError, KeyError, TypeError, InputError):
            continue
    return tuple(found)


def _evaluation(path: Path) -> FinalEvaluation:
    return FinalEvaluation.from_json(from_json(unseal(read_if_there(path)), allow_inf_nan=False))
