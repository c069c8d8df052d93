"""An arm half done, as a driver and its segments leave one, written by the store's own functions without training."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from grownn_hpo.environment import environment
from grownn_hpo.report.evaluation import Promise, SeedScore, evaluate
from grownn_hpo.report.read import keep_evaluation
from grownn_hpo.search.ladder import Ladder, needed_segments, plan
from grownn_hpo.spec import Arm
from grownn_hpo.spec.study import resolve
from grownn_hpo.store.arm import Bracket, Configuration, configurations_of, create_arm, write_bracket
from grownn_hpo.store.attempts import Committed, Failure, Measured, claim_attempt, commit_result, record_failure
from grownn_hpo.store.boundary import Boundary, Origin, write_boundary
from grownn_hpo.store.checkpoint import packed, write_checkpoint
from grownn_hpo.store.curve import Tick, append_point, append_tick
from grownn_hpo.store.ledger import LedgerFile, read_ledger
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.store.terms import arm_sha256, terms_sha256
from grownn_hpo.trial import CurvePoint, Segment, SegmentResult, Status, outcomes_of

SPACE = {
    "hyperparameters": [
        {"name": "learning_rate", "type": "uniform_float", "lower": 0.0001, "upper": 0.01, "log": True},
        {"name": "n_epochs", "type": "uniform_int", "lower": 1, "upper": 8, "default_value": 2},
        {"name": "normalize_advantage", "type": "categorical", "choices": [True, False]},
    ]
}


def arm_of(seed: int) -> Arm:
    (arm,) = resolve(
        {
            "name": "fuzzed",
            "seed": seed,
            "seeds": [0, 1],
            "device": "cpu",
            "boundary_env_steps": 128,
            "task": {"env": "CartPole-v1", "envs": 4},
            "evaluation": {"episodes": 2, "rounds": 2},
            "space": SPACE,
            "ppo": {"n_steps": 32, "batch_size": 64},
            "network": {"kind": "mlp", "width": 4},
            "search": {"trials": 12, "lookahead": 1},
            "arms": {
                "grown": {
                    "rungs": [
                        {"env_steps": 512, "depth": 1, "configurations": 3},
                        {"env_steps": 512, "depth": 2, "configurations": 1},
                    ]
                }
            },
        },
        "fuzzed.yaml",
    )
    return arm


def build(folder: ArmFolder, seed: int) -> None:
    """Two brackets done, a third suggested: one segment has failed once, one is under way beyond a boundary."""
    arm, draw = arm_of(seed), random.Random(seed)
    ladder = Ladder.of(arm)
    create_arm(folder, arm, environment())
    brackets: dict[int, Bracket] = {}
    done: dict[Segment, Committed] = {}
    while True:
        held = {number: len(bracket.configurations) for number, bracket in brackets.items()}
        now = plan(ladder, held, outcomes_of({s: c.commit.result for s, c in done.items()}, arm.seeds))
        if now.suggest is not None:
            number = now.suggest
            brackets[number] = Bracket(number, tuple(_configuration(draw) for _ in range(3)), "0" * 64, arm_sha256(arm))
            write_bracket(folder, brackets[number])
        configurations = configurations_of(brackets, 3)
        needed = needed_segments(now.needed, arm.seeds, done)
        if needed and min(needed).config > 6:
            break
        for segment in needed:
            parent = done.get(segment.parent) if segment.parent else None
            done[segment] = _finish(folder, arm, configurations[segment.config], segment, parent, draw)
    failed, running, *_ = needed
    record_failure(folder, Failure(failed, "ValueError: no", "Traceback"))
    _leave_under_way(folder, arm, configurations[running.config], running)
    ledger = LedgerFile(folder.ledger_file)
    ledger.hold(read_ledger(folder).entries)
    ledger.close()
    folder.lease_file.write_text("{}")
    evaluation = ArmFolder(folder.evaluations / "c0001-abcd")
    evaluation.root.mkdir(parents=True)
    scores = [SeedScore(100, 9.0), SeedScore(101, 11.0)]
    keep_evaluation(evaluation, evaluate(arm.name, 1, arm.env_steps, scores, Promise(10.0, None, arm.seeds)))


def _configuration(draw: random.Random) -> Configuration:
    return {
        "learning_rate": draw.uniform(1e-4, 1e-2),
        "n_epochs": draw.randint(1, 8),
        "normalize_advantage": draw.random() < 0.5,
    }


def _finish(
    folder: ArmFolder,
    arm: Arm,
    configuration: Configuration,
    segment: Segment,
    parent: Committed | None,
    draw: random.Random,
) -> Committed:
    attempt = claim_attempt(folder, segment)
    end = arm.env_steps_before(segment.rung + 1)
    mean_return = draw.uniform(10, 200)
    for env_steps in (end - 256, end):
        append_point(attempt, CurvePoint(env_steps, mean_return, 1.0, 20.0, None, 2))
        append_tick(attempt, Tick(env_steps, env_steps / 100, mean_return))
    digest = write_checkpoint(attempt, {"w": torch.full((3,), mean_return)}, {"counters": {"env_steps": end}})
    result = SegmentResult(
        segment=segment,
        status=Status.COMPLETED,
        mean_return=mean_return,
        success_rate=None,
        env_steps=end,
        depth=segment.rung,
        growth_difference=0.0 if parent else None,
        parent_sha256=parent.commit.result.checkpoint_sha256 if parent else None,
        checkpoint_sha256=digest,
    )
    measured = Measured(5.0, 4.0, 1.0, 0.3, "host", 512)
    return Committed(commit_result(attempt, result, measured, terms_sha256(arm, configuration)), attempt)


def _leave_under_way(folder: ArmFolder, arm: Arm, configuration: Configuration, segment: Segment) -> None:
    attempt = claim_attempt(folder, segment)
    append_tick(attempt, Tick(64, 1.0, None))
    append_tick(attempt, Tick(128, 2.0, 20.0))
    origin = Origin(segment, None, terms_sha256(arm, configuration))
    boundary = Boundary(origin, 1, {"env_steps": 128}, 0, "", None)
    write_boundary(attempt, boundary, packed({"w": torch.ones(3)}))


def under_way(folder: Path) -> Segment:
    """The segment of the arm's boundary."""
    (record,) = folder.glob("segments/c*/s*/r*/a*/boundary-*.json")
    config, seed, rung, *_ = record.relative_to(folder / "segments").parts
    return Segment(int(config[1:]), int(rung[1:]), int(seed[1:]))
