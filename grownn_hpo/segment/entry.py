"""The way in: from the driver's job to a committed result, and a verdict for the driver."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from grownn_hpo import failpoints
from grownn_hpo.files import PASSING
from grownn_hpo.segment.run import SegmentRun
from grownn_hpo.spec import Arm
from grownn_hpo.store.arm import Configuration
from grownn_hpo.store.attempts import commit_again, commit_result, committed, intact_checkpoint
from grownn_hpo.store.boundary import delete_boundaries
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.store.storage import STORAGE_ERRORS, failure
from grownn_hpo.store.terms import terms_sha256
from grownn_hpo.trial import Segment


class Verdict(StrEnum):
    """What an attempt tells its driver; what it found out is in the store."""

    COMMITTED = "committed"
    PARENT_LOST = "parent lost"
    STORAGE_FAILED = "storage failed"


def attempt(payload: str, beat: Callable[[], None]) -> str:
    """An attempt process's entry: the driver's job in, a verdict out. `beat` is called whenever training gets on.

    The verdict is JSON: `verdict`, and of a failure of the storage `detail` in words and whether it is `passing`.
    """
    job = json.loads(payload)
    arm, segment = Arm.model_validate_json(job["arm"]), Segment(**job["segment"])
    folder = ArmFolder(Path(job["folder"]))
    failpoints.act_as(failpoints.Role.SEGMENT)
    detail, passing = "", False
    try:
        verdict = run_segment(arm, job["configuration"], segment, folder, beat)
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        verdict, detail, passing = Verdict.STORAGE_FAILED, failure(error), error.errno in PASSING
    return json.dumps({"verdict": verdict, "detail": detail, "passing": passing})


def run_segment(
    arm: Arm, configuration: Configuration, segment: Segment, folder: ArmFolder, beat: Callable[[], None]
) -> Verdict:
    """Train `configuration` on one rung and seed, from the checkpoint of the rung below, and commit what came of it."""
    terms = terms_sha256(arm, configuration)
    found = committed(folder, segment, terms)
    if found is not None:  # an orphan was faster, or the attempt before this one failed when all but this was done
        commit_again(found)
        return Verdict.COMMITTED
    parent = None if segment.parent is None else committed(folder, segment.parent, terms)
    if segment.parent is not None and (parent is None or not intact_checkpoint(parent)):
        return Verdict.PARENT_LOST
    run = SegmentRun(arm, configuration, segment, folder, parent, beat, terms)
    result = run.train()
    commit_result(run.attempt, result, run.measured(), terms)
    delete_boundaries(folder, segment)
    return Verdict.COMMITTED
