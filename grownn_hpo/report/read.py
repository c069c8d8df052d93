"""An arm's folder read into the values that the report is made from; only `keep_evaluation` writes."""

from __future__ import annotations

import json

from grownn_hpo.report.evaluation import FinalEvaluation
from grownn_hpo.report.incumbent import outcomes
from grownn_hpo.report.record import ArmRecord, Failure
from grownn_hpo.search.ladder import Ladder, incumbent, spent
from grownn_hpo.store.arm import configurations_of, read_arm, read_brackets, read_environment
from grownn_hpo.store.commit import write_file
from grownn_hpo.store.curve import read_curve
from grownn_hpo.store.ledger import read_ledger
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment, Trial, outcomes_of

EVALUATION = "evaluation.json"


def read_record(folder: ArmFolder) -> ArmRecord:
    """Everything known of the arm."""
    arm, ledger = read_arm(folder), read_ledger(folder)
    failures = [Failure(f.segment, f.cause, f.detail) for found in ledger.failures.values() for f in found]
    return ArmRecord(
        arm=arm,
        configurations=configurations_of(read_brackets(folder), arm.rungs[0].configurations),
        results=tuple(ledger.entries[segment].result for segment in sorted(ledger.entries)),
        curves={
            segment: read_curve(folder.segment(segment) / entry.attempt) for segment, entry in ledger.entries.items()
        },
        failures=tuple(failures),
        seconds={segment: entry.seconds for segment, entry in ledger.entries.items()},
        environment=read_environment(folder),
    )


def incumbent_of(record: ArmRecord) -> Trial | None:
    """The arm's incumbent, None while no trial has completed."""
    return incumbent(outcomes(record))


def spent_segments(folder: ArmFolder) -> tuple[Segment, ...]:
    """The segments whose checkpoints nothing can start from any more; the incumbent's lineage is kept."""
    arm, ledger, brackets = read_arm(folder), read_ledger(folder), read_brackets(folder)
    known = outcomes_of(ledger.results, arm.seeds)
    held = {number: len(bracket.configurations) for number, bracket in brackets.items()}
    leader = incumbent(known)
    return tuple(
        Segment(trial.config, trial.rung, seed)
        for trial in spent(Ladder.of(arm), held, known)
        if leader is None or trial.config != leader.config
        for seed in arm.seeds
    )


def keep_evaluation(folder: ArmFolder, evaluation: FinalEvaluation) -> None:
    """Store what a final evaluation said in its own folder."""
    write_file(folder.root / EVALUATION, json.dumps(evaluation.to_json(), indent=1).encode())


def read_evaluations(folder: ArmFolder) -> tuple[FinalEvaluation, ...]:
    """The final evaluations of an arm's incumbents, the newest last; those that are damaged are left out."""
    found = []
    files = sorted(folder.evaluations.glob(f"*/{EVALUATION}"), key=lambda path: path.stat().st_mtime)
    for path in files:
        try:
            found.append(FinalEvaluation.from_json(json.loads(path.read_text())))
        except (ValueError, KeyError, TypeError):
            continue
    return tuple(found)
