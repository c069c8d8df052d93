"""Where an arm stands: rungs filling up, segments under way, the incumbent, failures, the time left."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from grownn_hpo.report.environments import EnvironmentShare, environment_shares
from grownn_hpo.search.ladder import Ladder, incumbent, needed_segments, plan, rung_progress
from grownn_hpo.spec import Arm
from grownn_hpo.store import lease, paths
from grownn_hpo.store.arm import Bracket
from grownn_hpo.store.boundary import boundary_reached
from grownn_hpo.store.curve import read_ticks
from grownn_hpo.store.known import read_known
from grownn_hpo.store.ledger import Ledger
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Outcome, Segment, Status, Trial


@dataclass(frozen=True, slots=True)
class RungStatus:
    """One rung over all brackets: its slots within the budget, how many have an outcome, how many of those failed."""

    rung: int
    depth: int
    env_steps: int
    slots: int
    known: int
    failed: int


@dataclass(frozen=True, slots=True)
class Running:
    """A segment under way: env steps done and to do in it, its speed, its recent training return."""

    segment: Segment
    env_steps: int
    of_env_steps: int
    env_steps_per_second: float | None
    mean_return: float | None


@dataclass(frozen=True, slots=True)
class Leader:
    """The incumbent: mean return and success rate over its seeds at its rung."""

    config: int
    rung: int
    mean_return: float
    success_rate: float | None


@dataclass(frozen=True, slots=True)
class ArmStatus:
    """Where an arm stands. `seconds_left` is None until a segment has finished, `driven_by` while nobody drives.

    `environments` are those that its segments were computed in, none where there was only ever one.
    """

    study: str
    arm: str
    complete: bool
    trials: int
    trials_known: int
    rungs: tuple[RungStatus, ...]
    running: tuple[Running, ...]
    incumbent: Leader | None
    failures: tuple[str, ...]
    seconds_left: float | None
    driven_by: str | None
    environments: tuple[EnvironmentShare, ...] = ()


def read_status(folder: ArmFolder) -> ArmStatus:
    """The status of the arm in a folder, from its files alone."""
    known = read_known(folder)
    return arm_status(folder, known.arm, known.ledger, known.brackets, known.outcomes)


def arm_status(
    folder: ArmFolder,
    arm: Arm,
    ledger: Ledger,
    brackets: Mapping[int, Bracket],
    outcomes: Mapping[Trial, Outcome],
) -> ArmStatus:
    """The status of an arm of which this is known; only what is under way is looked up in the files."""
    ladder = Ladder.of(arm)
    held = {number: len(bracket.configurations) for number, bracket in brackets.items()}
    now = plan(ladder, held, outcomes)
    progress = rung_progress(ladder, held, outcomes)
    rungs = tuple(
        RungStatus(
            rung=number,
            depth=rung.depth,
            env_steps=rung.env_steps,
            slots=sum(p.slots - p.void for p in progress if p.rung == number),
            known=sum(p.known for p in progress if p.rung == number),
            failed=sum(p.failed for p in progress if p.rung == number),
        )
        for number, rung in enumerate(arm.rungs, 1)
    )
    driven = lease.is_driven(folder.lease_file)
    under_way: tuple[Running, ...] = ()
    if driven:
        under_way = tuple(_running(folder, arm, needed_segments(now.needed, arm.seeds, ledger.entries.keys())))
    return ArmStatus(
        study=arm.study,
        arm=arm.name,
        complete=now.complete,
        trials=arm.search.trials,
        trials_known=len(outcomes),
        rungs=rungs,
        running=under_way,
        incumbent=_leader(ledger, arm, incumbent(outcomes)),
        failures=tuple(_failures(ledger)),
        seconds_left=0.0 if now.complete else _seconds_left(arm, ledger, rungs, under_way),
        driven_by=lease.holder(folder.lease_file) if driven else None,
        environments=environment_shares(folder, ledger.entries),
    )


def _running(folder: ArmFolder, arm: Arm, needed: Iterable[Segment]) -> Iterable[Running]:
    since = folder.lease_file.stat().st_mtime  # what is older belongs to a driver that is gone
    for segment in needed:
        attempts = folder.attempts(segment)
        if not attempts or attempts[-1].stat().st_mtime < since:
            continue
        attempt = attempts[-1]
        if (attempt / paths.RESULT).exists() or (attempt / paths.FAILURE).exists():
            continue
        ticks = read_ticks(attempt)
        start = arm.env_steps_before(segment.rung)
        # From the first tick on: before it lie the start-up, and whatever an earlier attempt had trained.
        spent = ticks[-1].seconds - ticks[0].seconds if ticks else 0.0
        speed = (ticks[-1].env_steps - ticks[0].env_steps) / spent if spent > 0 else None
        reached = ticks[-1].env_steps if ticks else boundary_reached(folder, segment) or start
        yield Running(
            segment=segment,
            env_steps=reached - start,
            of_env_steps=arm.rungs[segment.rung - 1].env_steps,
            env_steps_per_second=speed,
            mean_return=_finite(ticks[-1].mean_return) if ticks else None,
        )


def _finite(value: float | None) -> float | None:
    """None for what JSON cannot hold: an environment may give any reward."""
    return value if value is not None and math.isfinite(value) else None


def _leader(ledger: Ledger, arm: Arm, trial: Trial | None) -> Leader | None:
    if trial is None:
        return None
    results = [ledger.entries[Segment(trial.config, trial.rung, seed)].result for seed in arm.seeds]
    rates = [r.success_rate for r in results if r.success_rate is not None]
    returns = [r.mean_return for r in results if r.mean_return is not None]
    return Leader(
        config=trial.config,
        rung=trial.rung,
        mean_return=sum(returns) / len(returns),
        success_rate=sum(rates) / len(rates) if len(rates) == len(results) else None,
    )


def _failures(ledger: Ledger) -> Iterable[str]:
    for segment in sorted(ledger.failures):
        for failure in ledger.failures[segment]:
            yield f"{segment}: {failure.cause}"
    for segment, entry in sorted(ledger.entries.items()):
        if entry.result.status is Status.DIVERGED:
            yield f"{segment}: diverged, {entry.result.detail}"


def _seconds_left(
    arm: Arm, ledger: Ledger, rungs: tuple[RungStatus, ...], running: tuple[Running, ...]
) -> float | None:
    """What is left of the budget's env steps, at the pace of the segments done, spread over those under way."""
    done = [entry for entry in [*ledger.entries.values()] if entry.result.status is Status.COMPLETED and entry.seconds]
    if not done:
        return None
    env_steps = sum(arm.rungs[entry.result.segment.rung - 1].env_steps for entry in done)
    pace = sum(entry.seconds for entry in done) / env_steps
    left = sum((rung.slots - rung.known) * rung.env_steps for rung in rungs) * len(arm.seeds)
    return max(0.0, pace * (left - sum(r.env_steps for r in running)) / max(1, len(running)))
