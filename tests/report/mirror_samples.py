"""Records of arms that the real ladder went through; what a training gives is a function of its names."""

from __future__ import annotations

from collections import Counter

from grownn_hpo.report.mirror.view import ArmView, view_of
from grownn_hpo.report.record import ArmRecord
from grownn_hpo.search.ladder import Ladder, needed_segments, plan
from grownn_hpo.spec import Arm, Network, Rung, Search, Task
from grownn_hpo.store.curve import Tick
from grownn_hpo.trial import CurvePoint, Segment, SegmentResult, Status, Trial, outcomes_of

SPACE = {
    "hyperparameters": [
        {"name": "batch_size", "type": "categorical", "choices": [32, 64, 128, 256]},
        {"name": "clip_range", "type": "uniform_float", "lower": 0.1, "upper": 0.4},
        {"name": "ent_coef", "type": "uniform_float", "lower": 0.0, "upper": 0.3},
        {"name": "gamma", "type": "ordinal", "sequence": [0.9, 0.99, 0.999]},
        {"name": "learning_rate", "type": "uniform_float", "lower": 1e-4, "upper": 1e-2, "log": True},
        {"name": "n_epochs", "type": "uniform_int", "lower": 5, "upper": 20, "log": True},
        {"name": "normalize_rewards", "type": "categorical", "choices": [True, False]},
        {"name": "vf_coef", "type": "constant", "value": 0.5},
    ],
    "conditions": [{"type": "EQ", "child": "clip_range", "parent": "normalize_rewards", "value": True}],
    "forbiddens": [],
}
"""A search space with something of every shape."""

RUNGS = tuple(Rung(env_steps=1000, depth=depth, configurations=n) for depth, n in ((1, 4), (2, 2), (3, 1)))


def arm_of(trials: int = 14, name: str = "grown-3", seeds: tuple[int, ...] = (0, 7)) -> Arm:
    return Arm(
        study="sample",
        name=name,
        seed=5,
        seeds=seeds,
        task=Task(env="MiniHack-Room-Random-5x5-v0", envs=5),
        space=SPACE,
        network=Network(kind="minihack-cnn"),
        search=Search(trials=trials),
        rungs=RUNGS,
    )


def configuration(config: int) -> dict[str, float | int | bool]:
    conditional = {"clip_range": 0.1 + 0.01 * (config % 30)} if config % 2 else {}
    return {
        "batch_size": (32, 64, 128, 256)[config % 4],
        **conditional,
        "ent_coef": 0.3 if config == 1 else 0.0,
        "gamma": (0.9, 0.99, 0.999)[config % 3],
        "learning_rate": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)[
            config % 5
        ],  # the bounds, and no more digits than ConfigSpace keeps
        "n_epochs": 5 + config % 16,
        "normalize_rewards": config % 2 == 1,
        "vf_coef": 0.5,
    }


def return_of(segment: Segment) -> float:
    """Configurations differ, a configuration's rank stays, and every rung adds 100."""
    return 100.0 * segment.rung + (segment.config * 7) % 10 + 0.25 * segment.seed


def record_of(arm: Arm, stop_after: int | None = None, diverging: frozenset[Trial] = frozenset()) -> ArmRecord:
    """The arm's record after so many segments in the ladder's order; all of them, where `stop_after` is None."""
    ladder = Ladder.of(arm)
    configurations: dict[int, dict[str, float | int | bool]] = {}
    results: dict[Segment, SegmentResult] = {}
    while stop_after is None or len(results) < stop_after:
        held = Counter(map(ladder.bracket_of, configurations))
        now = plan(ladder, held, outcomes_of(results, arm.seeds))
        if now.complete:
            break
        if now.suggest is not None:
            first = ladder.first_config(now.suggest)
            configurations |= {c: configuration(c) for c in range(first, first + ladder.configurations[0])}
        for segment in needed_segments(now.needed, arm.seeds, results):
            if stop_after is None or len(results) < stop_after:
                results[segment] = _result(arm, segment, diverged=segment.trial in diverging)
    finished = [result.segment for result in results.values() if result.status is Status.COMPLETED]
    return ArmRecord(
        arm=arm,
        configurations=configurations,
        results=tuple(results[segment] for segment in sorted(results)),
        curves={segment: _curve(arm, segment) for segment in finished},
        seconds={segment: 10.0 + segment.seed for segment in results},
    )


def view(stop_after: int | None = None, trials: int = 14, diverging: frozenset[Trial] = frozenset()) -> ArmView:
    record = record_of(arm_of(trials), stop_after, diverging)
    ticks = {
        segment: tuple(
            Tick(p.env_steps, 4.0 * i, p.mean_return / 2, -0.01, 0.5, 0.6, 0.02, 0.1) for i, p in enumerate(points, 1)
        )
        for segment, points in record.curves.items()
    }
    return view_of(record, ticks)


def _result(arm: Arm, segment: Segment, *, diverged: bool) -> SegmentResult:
    before = arm.env_steps_before(segment.rung)
    rung = arm.rungs[segment.rung - 1]
    return SegmentResult(
        segment,
        Status.DIVERGED if diverged else Status.COMPLETED,
        None if diverged else return_of(segment),
        None if diverged else 0.5,
        before + (300 if diverged else rung.env_steps),
        rung.depth,
        0.0 if segment.rung > 1 else None,
        "a" * 64 if segment.rung > 1 else None,
        None if diverged else "b" * 64,
        "loss is nan" if diverged else None,
    )


def _curve(arm: Arm, segment: Segment) -> tuple[CurvePoint, ...]:
    before, last = arm.env_steps_before(segment.rung), return_of(segment)
    return (
        CurvePoint(before + 500, last - 10, 1.5, 30.0, 0.25, 10),
        CurvePoint(before + 1000, last, 1.0, 20.0, 0.5, 10),
    )
