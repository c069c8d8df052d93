"""Two arms as a study on MiniHack rooms would leave them: simulated, seeded, with the shape of real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from grownn_hpo.report.record import ArmRecord, Failure
from grownn_hpo.spec import Arm, Network, Rung, Search, Task
from grownn_hpo.trial import CurvePoint, Segment, SegmentResult, Status, Trial

GROWN = tuple(Rung(env_steps=500_000, depth=d, configurations=n) for d, n in ((1, 10), (2, 7), (3, 5), (4, 4)))
STATIC = (Rung(env_steps=2_000_000, depth=4, configurations=1),)

Simulate = Callable[..., ArmRecord]


def arm_of(name: str, rungs: tuple[Rung, ...], trials: int, seeds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Arm:
    return Arm(
        study="room-random-10x10",
        name=name,
        seed=0,
        seeds=seeds,
        task=Task(env="MiniHack-Room-Random-10x10-v0", envs=5),
        space={},
        network=Network(kind="minihack-cnn", width=512),
        search=Search(trials=trials),
        rungs=rungs,
    )


def simulate(
    arm: Arm, *, skill: float = 1.0, rounds: int = 20, success: bool = True, failing: bool = True
) -> ArmRecord:
    """Runs the ladder with returns that rise with env steps, faster for configurations near a learning rate of 1e-3."""
    rng = np.random.default_rng(len(arm.rungs))
    record = ArmRecord(arm, environment={"python": "3.11.7", "torch": "2.13.0", "cpu": {"model": "x86-64, AVX2"}})
    configurations: dict[int, dict[str, float | int]] = {}
    results: list[SegmentResult] = []
    curves: dict[Segment, tuple[CurvePoint, ...]] = {}
    failures: list[Failure] = []
    seconds: dict[Segment, float] = {}
    trials = 0
    while trials < arm.search.trials:
        start = len(configurations) + 1
        alive = list(range(start, start + arm.rungs[0].configurations))
        for config in alive:
            configurations[config] = {
                "learning_rate": float(10 ** rng.uniform(-4, -2)),
                "ent_coef": float(rng.uniform(0, 0.3)),
                "n_epochs": int(rng.integers(5, 21)),
                "batch_size": int(rng.choice([32, 64, 128, 256])),
            }
        for number, rung in enumerate(arm.rungs, 1):
            alive = sorted(alive, key=lambda c: -mean_of(results, Trial(c, number - 1)))[: rung.configurations]
            for config in sorted(alive)[: arm.search.trials - trials]:
                trials += 1
                values = configurations[config]
                fit = skill * np.exp(-abs(np.log10(values["learning_rate"]) + 3)) * (1 - values["ent_coef"])
                for seed in arm.seeds:
                    segment = Segment(config, number, seed)
                    before = arm.env_steps_before(number)
                    at = before + np.linspace(0, rung.env_steps, rounds + 1)[1:].astype(int)
                    level = 1 / (1 + np.exp(-(at / 250_000 - 4 + 2 * (seed % 3) / 3))) * fit
                    level = np.clip(level + rng.normal(0, 0.04, rounds), 0, 1)
                    curves[segment] = tuple(
                        CurvePoint(int(x), float(2 * y - 1), 0.3, 100.0, float(y) if success else None, 10)
                        for x, y in zip(at, level, strict=True)
                    )
                    seconds[segment] = rung.env_steps / rng.uniform(250, 390)
                    diverged = failing and values["learning_rate"] > 8.5e-3 and seed == 0
                    if diverged:
                        failures.append(Failure(segment, "diverged", f"loss is nan at env step {before + 4096:,}"))
                    last = curves[segment][-1]
                    grew = number > 1 and rung.depth > arm.rungs[number - 2].depth
                    results.append(
                        SegmentResult(
                            segment,
                            Status.DIVERGED if diverged else Status.COMPLETED,
                            None if diverged else last.mean_return,
                            None if diverged else last.success_rate,
                            before + (5_000 if diverged else rung.env_steps),
                            rung.depth,
                            0.0 if grew else None,
                            "a" * 64 if number > 1 else None,
                            "b" * 64,
                        )
                    )
            if trials == arm.search.trials:
                break
    if failing:
        failures.append(Failure(Segment(1, 1, 3), "worker lost", "node n2 went away; attempt 1 of 3 was repeated"))
    return replace(
        record,
        configurations=configurations,
        results=tuple(results),
        curves=curves,
        failures=tuple(failures),
        seconds=seconds,
    )


def mean_of(results: list[SegmentResult], trial: Trial) -> float:
    values = [r.mean_return for r in results if r.segment.trial == trial]
    return float(np.mean([-np.inf if v is None else v for v in values])) if values else 0.0


@pytest.fixture(scope="session")
def grown() -> ArmRecord:
    return simulate(arm_of("grown-4", GROWN, trials=78))


@pytest.fixture(scope="session")
def static() -> ArmRecord:
    return simulate(arm_of("static-4", STATIC, trials=20), skill=0.55)


@pytest.fixture(scope="session")
def half_done() -> ArmRecord:
    """Twelve of the first bracket's trials are done, and one seed of the next."""
    record = simulate(arm_of("grown-4", GROWN, trials=13), failing=False)
    return replace(
        record,
        results=tuple(
            r for r in record.results if r.segment.trial != record.results[-1].segment.trial or r.segment.seed == 0
        ),
    )


@pytest.fixture(scope="session")
def bare() -> ArmRecord:
    """One seed, one evaluation, no notion of success."""
    return simulate(arm_of("bare", STATIC, trials=1, seeds=(7,)), rounds=1, success=False, failing=False)


@pytest.fixture(scope="session")
def unstarted() -> ArmRecord:
    return ArmRecord(arm_of("grown-4", GROWN, trials=26))


@pytest.fixture(scope="session")
def simulated() -> Simulate:
    return lambda name, rungs, trials, **how: simulate(arm_of(name, rungs, trials), **how)
