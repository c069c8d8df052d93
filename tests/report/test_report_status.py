"""Where an arm stands, from files as a driver and its workers leave them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from grownn_hpo.report.status import PARTS, FailureStatus, read_status
from grownn_hpo.spec import Arm, Network, Rung, Search, Task
from grownn_hpo.store import paths
from grownn_hpo.store.arm import Bracket, create_arm, write_bracket
from grownn_hpo.store.attempts import Failure, Measured, claim_attempt, commit_result, record_failure
from grownn_hpo.store.curve import Tick, append_tick
from grownn_hpo.store.lease import Lease
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.store.terms import arm_sha256
from grownn_hpo.trial import Segment, SegmentResult, Status

SPACE = {"hyperparameters": [{"name": "gamma", "type": "uniform_float", "lower": 0.5, "upper": 0.9}]}
ARM = Arm(
    study="s",
    name="grown",
    seed=0,
    seeds=(0, 1),
    task=Task(env="CartPole-v1", envs=1),
    space=SPACE,
    network=Network(kind="mlp"),
    search=Search(trials=6, lookahead=1),
    rungs=(Rung(env_steps=960, depth=1, configurations=2), Rung(env_steps=960, depth=2, configurations=1)),
)


def finish(folder: ArmFolder, segment: Segment, mean_return: float, trained: int = 960) -> Path:
    attempt = claim_attempt(folder, segment)
    end = ARM.env_steps_before(segment.rung + 1)
    result = SegmentResult(
        segment, Status.COMPLETED, mean_return, mean_return / 10, end, segment.rung, None, None, None
    )
    commit_result(attempt, result, Measured(trained / 10, 1.0, 1.0, 0.1, "here", trained))
    return attempt


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ArmFolder]:
    """Configuration 1 is done on rung 1, and 2 with one seed; a driver holds the lease."""
    folder = ArmFolder(tmp_path / "s" / "grown")
    create_arm(folder, ARM, {"python": "3.11.7"})
    write_bracket(folder, Bracket(1, ({"gamma": 0.5}, {"gamma": 0.75}), "0" * 64, arm_sha256(ARM)))
    with Lease(folder.lease_file):
        finish(folder, Segment(1, 1, 0), 3.0)
        finish(folder, Segment(1, 1, 1), 5.0)
        finish(folder, Segment(2, 1, 0), 1.0, trained=240)
        yield folder


def test_rungs_brackets_and_the_incumbent(folder: ArmFolder) -> None:
    found = read_status(folder)
    assert (found.study, found.arm, found.folder, found.evaluation) == ("s", "grown", str(folder.root), False)
    assert [(r.rung, r.slots, r.known) for r in found.rungs] == [(1, 4, 1), (2, 2, 0)]
    assert [(p.bracket, p.rung, p.slots, p.known) for p in found.brackets] == [
        (1, 1, 2, 1),
        (1, 2, 1, 0),
        (2, 1, 2, 0),
        (2, 2, 1, 0),
    ]
    leader = found.incumbent
    assert leader is not None
    assert (leader.config, leader.mean_return, leader.returns) == (1, 4.0, (3.0, 5.0))
    assert leader.success_rate == pytest.approx(0.4)
    assert leader.configuration == {"gamma": 0.5}
    assert found.driven_by is not None


def test_what_runs_its_learning_and_the_time_left(folder: ArmFolder) -> None:
    attempt = claim_attempt(folder, Segment(2, 1, 1))
    for k in range(1, 13):  # a quarter of the segment, a tick in each of its parts
        append_tick(attempt, Tick(20 * k, 2.0 * k, None if k < 3 else float(k)))
    found = read_status(folder)
    (running,) = found.running
    assert (running.segment, running.attempt) == (Segment(2, 1, 1), 1)
    assert (running.env_steps, running.of_env_steps, running.env_steps_per_second) == (240, 960, 10.0)
    assert running.learning == (None, None, *map(float, range(3, 13)), *[None] * (PARTS - 12))
    # 0.1 s an env step, the resumed segment's too: what is left of this one, one of rung 2 for each seed, a bracket.
    assert found.seconds_left == pytest.approx(0.1 * (720 + 2 * 960 + 6 * 960))


def test_a_second_attempt_shows_what_the_first_has_learned_up_to_there(folder: ArmFolder) -> None:
    first = claim_attempt(folder, Segment(2, 1, 1))
    for k in range(1, 25):
        append_tick(first, Tick(20 * k, 2.0 * k, float(k)))
    second = claim_attempt(folder, Segment(2, 1, 1))
    append_tick(second, Tick(260, 1.0, 13.0))
    (running,) = read_status(folder).running
    assert (running.attempt, running.env_steps, running.mean_return) == (2, 260, 13.0)
    assert running.learning == (*map(float, range(1, 14)), *[None] * (PARTS - 13))
    assert read_status(folder).lost_attempts == 1


def test_failures_come_in_the_order_of_time(folder: ArmFolder) -> None:
    for at, (config, cause) in enumerate([(2, "SIGSEGV"), (1, "out of memory"), (2, "no progress")], 1):
        attempt = record_failure(folder, Failure(Segment(config, 1, 1), cause, ""))
        os.utime(attempt / paths.FAILURE, (at, at))
    found = read_status(folder)
    assert found.failures == (
        FailureStatus(Segment(2, 1, 1), "SIGSEGV", 1.0),
        FailureStatus(Segment(1, 1, 1), "out of memory", 2.0),
        FailureStatus(Segment(2, 1, 1), "no progress", 3.0),
    )
    assert found.lost_attempts == 0


def test_late_results_and_how_they_differ(folder: ArmFolder) -> None:
    finish(folder, Segment(1, 1, 0), 3.0)
    finish(folder, Segment(1, 1, 1), 6.0)
    claim_attempt(folder, Segment(1, 1, 1))
    found = read_status(folder)
    assert (found.lost_attempts, found.late_results) == (1, 2)
    (line,) = found.disagreements
    assert line.startswith("c0001/s1/r1: attempts a1 and a2 differ")


def test_programs_find_these_keys(folder: ArmFolder) -> None:
    append_tick(claim_attempt(folder, Segment(2, 1, 1)), Tick(20, 2.0, float("inf")))
    record_failure(folder, Failure(Segment(1, 1, 1), "SIGSEGV", ""))
    told = json.loads(json.dumps(asdict(read_status(folder)), allow_nan=False))
    assert list(told) == [
        *("study", "arm", "folder", "evaluation", "complete", "trials", "trials_known", "rungs", "brackets", "running"),
        *("incumbent", "failures", "lost_attempts", "late_results", "disagreements", "seconds_left", "driven_by"),
        "environments",
    ]
    assert list(told["rungs"][0]) == ["rung", "depth", "env_steps", "slots", "known", "failed"]
    assert list(told["brackets"][0]) == ["bracket", "rung", "slots", "known", "failed", "void"]
    assert list(told["running"][0]) == [
        *("segment", "attempt", "env_steps", "of_env_steps", "env_steps_per_second", "mean_return", "learning"),
    ]
    assert told["running"][0]["segment"] == {"config": 2, "rung": 1, "seed": 1}
    assert list(told["incumbent"]) == ["config", "rung", "mean_return", "success_rate", "returns", "configuration"]
    assert list(told["failures"][0]) == ["segment", "cause", "at"]


def test_a_final_evaluation_is_one(folder: ArmFolder) -> None:
    inside = ArmFolder(folder.evaluations / "c0001-00000000")
    create_arm(inside, replace_seeds(ARM), {"python": "3.11.7"})
    found = read_status(inside)
    assert found.evaluation
    assert (found.running, found.seconds_left, found.driven_by) == ((), None, None)


def replace_seeds(arm: Arm) -> Arm:
    return arm.model_copy(update={"seeds": (100, 101)})
