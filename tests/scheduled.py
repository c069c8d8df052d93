"""A study that is driven through a schedule of events, and what it came to."""

from __future__ import annotations

import hashlib
import json
import os
import random
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from grownn_hpo.dispatch import Ending, Job, Lost, Raised, Returned
from grownn_hpo.driver import loop
from grownn_hpo.driver.arms import OpenArm
from grownn_hpo.driver.loop import drive
from grownn_hpo.driver.run import ArmRun
from grownn_hpo.search.ladder import incumbent
from grownn_hpo.search.suggest import Basis, fingerprint
from grownn_hpo.spec import Arm
from grownn_hpo.spec.study import resolve
from grownn_hpo.store import paths
from grownn_hpo.store.attempts import (
    Measured,
    claim_attempt,
    commit_again,
    commit_result,
    committed,
    intact_checkpoint,
)
from grownn_hpo.store.known import known_of
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.store.terms import terms_sha256
from grownn_hpo.trial import Segment, SegmentResult, Status, Trial

# Where an fsync costs nothing: no power is cut here, and a process that is killed leaves what it wrote to the kernel.
MEMORY = Path("/dev/shm")
MEASURED = Measured(1.0, 0.5, 0.5, 0.1, "host", 10)
Event = tuple["Happens", int]


class Happens(Enum):
    """An event; the number that comes with it says to which of the attempts, or to what."""

    STEP = "an attempt gets on by a step, perhaps to its end"
    LOST = "an attempt dies"
    FROZEN = "an attempt is given up for lost, and lives on"
    TORN = "an attempt dies in the middle of writing"
    RAISED = "an attempt fails"
    TWICE = "a second attempt at the same segment begins, of which nobody knows"
    KILLED = "the driver is killed while it waits"
    KILLED_TELLING = "the driver is killed between settling a result and recording it"
    DAMAGED = "the driver is killed, and a file is damaged before the next one"


DAMAGED = ("ledger.db", "brackets/*.json", "segments/*/*/*/*/result.json", "segments/*/*/*/*/checkpoint.safetensors")
# Most of what happens is that something gets done.
happenings = st.one_of(st.just(Happens.STEP), st.sampled_from(Happens))
schedules = st.lists(st.tuples(happenings, st.integers(0, 11)), max_size=40)


@dataclass(frozen=True)
class World:
    """A study, and what its segments come to."""

    counts: tuple[int, ...]
    trials: int
    lookahead: int
    surrogate: str
    seeds: int
    chance: int

    def arm(self) -> Arm:
        return _arm(self)

    def suggest(self, basis: Basis) -> tuple[dict[str, Any], ...]:
        """Other configurations for every other basis."""
        rng = random.Random(f"{self.chance}/{fingerprint(basis)}")
        return tuple({"gamma": rng.uniform(0.1, 1.0)} for _ in range(basis.count))

    def result(self, segment: Segment, configuration: dict[str, Any], parent_sha256: str | None) -> SegmentResult:
        rng = random.Random(f"{self.chance}/{segment}/{configuration}/{parent_sha256}")
        diverged = rng.random() < 0.1
        checkpoint = hashlib.sha256(_tensors(segment, configuration)).hexdigest()
        return SegmentResult(
            segment=segment,
            status=Status.DIVERGED if diverged else Status.COMPLETED,
            mean_return=None if diverged else rng.choice((rng.gauss(0, 1), float(rng.randint(0, 2)))),  # ties happen
            success_rate=None,
            env_steps=10 * segment.rung,
            depth=segment.rung,
            growth_difference=None,
            parent_sha256=parent_sha256,
            checkpoint_sha256=None if diverged else checkpoint,
        )


def _tensors(segment: Segment, configuration: dict[str, Any]) -> bytes:
    return f"tensors of {segment} with {configuration}".encode()


@cache
def _arm(world: World) -> Arm:
    (arm,) = resolve(
        {
            "name": "scheduled",
            "seed": 0,
            "seeds": list(range(world.seeds)),
            "task": {"env": "CartPole-v1", "envs": 1},
            "evaluation": {"episodes": 1, "rounds": 1},
            "space": {
                "hyperparameters": [{"name": "learning_rate", "type": "uniform_float", "lower": 0.1, "upper": 1}]
            },
            "ppo": {"n_steps": 10, "batch_size": 10},
            "network": {"kind": "mlp", "width": 8},
            "search": {"trials": world.trials, "lookahead": world.lookahead, "surrogate": world.surrogate},
            "arms": {
                "grown": {
                    "rungs": [
                        {"env_steps": 10, "depth": depth, "configurations": count}
                        for depth, count in enumerate(world.counts, 1)
                    ]
                }
            },
        },
        "scheduled.yaml",
    )
    return arm


worlds = st.builds(
    World,
    counts=st.sampled_from([(3, 2, 1), (2, 1), (4, 2), (2, 2), (3,)]),
    trials=st.integers(1, 9),
    lookahead=st.integers(1, 3),
    surrogate=st.sampled_from(["lowest", "all"]),
    seeds=st.integers(1, 2),
    chance=st.integers(0, 3),
)


def attempting(world: World, folder: ArmFolder, job: Job) -> Generator[Path | None, None, str]:
    """An attempt as `grownn_hpo.segment.run_segment` makes it, a step at a time; returns its verdict.

    What it yields is the folder it has claimed, once it has.
    """
    order = json.loads(job.payload)
    segment, configuration = Segment(**order["segment"]), order["configuration"]
    terms = terms_sha256(world.arm(), configuration)
    yield None
    if (found := committed(folder, segment, terms)) is not None:
        commit_again(found)
        return "committed"
    parent = None if segment.parent is None else committed(folder, segment.parent, terms)
    if segment.parent is not None and (parent is None or not intact_checkpoint(parent)):
        return "parent lost"
    attempt = claim_attempt(folder, segment)
    yield attempt
    result = world.result(segment, configuration, None if parent is None else parent.commit.result.checkpoint_sha256)
    (attempt / paths.CURVE).write_text(f"curve of {segment}\n")
    (attempt / paths.PROGRESS).write_text(f"progress of {attempt}\n")
    if result.status is Status.COMPLETED:
        (attempt / paths.CHECKPOINT).write_bytes(_tensors(segment, configuration))
        (attempt / paths.CHECKPOINT_META).write_text(json.dumps({"configuration": configuration}))
    yield attempt
    try:
        commit_result(attempt, result, MEASURED, terms)
    except OSError:  # the file was damaged meanwhile
        return "storage failed"
    return "committed"


@dataclass
class Attempt:
    """An attempt that is alive; `heard` as long as its driver waits for it."""

    job: Job
    steps: Generator[Path | None, None, str]
    heard: bool = True
    folder: Path | None = None


class Killed(BaseException):
    """The driver's end."""


@dataclass
class Cluster:
    """Where attempts live, whoever drives; a dispatcher that lets happen what the schedule says."""

    world: World
    folder: ArmFolder
    schedule: Iterator[Event]
    alive: list[Attempt] = field(default_factory=list)
    raised: Counter[str] = field(default_factory=Counter)
    kill_when_told: bool = False
    damage: int | None = None
    slots = 1

    def submit(self, job: Job) -> None:
        assert not any(attempt.heard and attempt.job.key == job.key for attempt in self.alive)
        self._begin(job, heard=True)

    def _begin(self, job: Job, heard: bool) -> None:
        self.alive.append(Attempt(job, attempting(self.world, self.folder, job), heard))

    def wait(self, timeout: float) -> tuple[tuple[str, Ending], ...]:
        what, number = next(self.schedule, (Happens.STEP, 0))
        if what is Happens.KILLED:
            raise Killed
        if what is Happens.DAMAGED:
            self.damage = number
            raise Killed
        if what is Happens.KILLED_TELLING:
            self.kill_when_told = True
        if not self.alive:
            return ()
        attempt = self.alive[number % len(self.alive)]
        ending = self._befall(what, attempt)
        if ending is None or not attempt.heard:
            return ()
        attempt.heard = False
        return ((attempt.job.key, ending),)

    def _befall(self, what: Happens, attempt: Attempt) -> Ending | None:
        match what:
            case Happens.LOST:
                self.alive.remove(attempt)
                return Lost("killed from outside")
            case Happens.FROZEN:
                return Lost("frozen")
            case Happens.TORN:
                self.alive.remove(attempt)
                if attempt.folder is not None:
                    (attempt.folder / paths.CURVE).write_text("curve o")
                    (attempt.folder / f"{paths.RESULT}.0123abcd{paths.TEMPORARY}").write_text('{\n "result": {')
                return Lost("killed from outside")
            case Happens.RAISED:
                self.raised[attempt.job.key] += attempt.heard
                if not attempt.heard or self.raised[attempt.job.key] >= self.world.arm().limits.attempts:
                    return None  # one more, and the trial would be crashed, as it should
                self.alive.remove(attempt)
                return Raised("RuntimeError", "the cart fell off the table", "")
            case Happens.TWICE:
                self._begin(attempt.job, heard=False)
                return None
            case _:
                return self.get_on(attempt)

    def get_on(self, attempt: Attempt) -> Ending | None:
        try:
            attempt.folder = next(attempt.steps) or attempt.folder
        except StopIteration as ended:
            self.alive.remove(attempt)
            return Returned(json.dumps({"verdict": ended.value, "detail": "", "passing": True}))
        return None

    def tell(self, line: str) -> None:
        assert not line.startswith("WARNING") or "a damaged bracket" in line, line
        if self.kill_when_told and not line.startswith("WARNING"):
            self.kill_when_told = False
            raise Killed

    def news(self) -> tuple[str, ...]:
        return ()

    def running(self) -> tuple[str, ...]:
        return ()

    def wake(self) -> None: ...

    def close(self) -> None: ...

    def drive(self) -> bool:
        """Drive the arm until it is complete (True) or its driver is killed."""
        run = ArmRun(OpenArm(self.world.arm(), self.folder), job_is_there=None)
        run.__enter__()
        try:
            drive([run], self, self.tell, threading.Event())
        except Killed:
            # As the kernel does it: nothing is written, the lock is let go, and its attempts are nobody's.
            run._file.close()
            assert run._lease._descriptor is not None
            os.close(run._lease._descriptor)
            for attempt in self.alive:
                attempt.heard = False
            return False
        run.__exit__(None, None, None)
        return True

    def wreck(self, number: int) -> None:
        """Damage a file while nobody drives."""
        pattern, which = DAMAGED[number % len(DAMAGED)], number // len(DAMAGED)
        if files := sorted(self.folder.root.glob(pattern)):
            path = files[which % len(files)]
            data = path.read_bytes()
            path.unlink()
            if which < 2:
                path.write_bytes(data[: len(data) // 2] if which else b"nothing" * 99)


class AtOnce:
    """In place of the thread that suggests: so that a schedule is all that decides an order."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*args))
        return future

    def shutdown(self, **_: object) -> None: ...


@dataclass(frozen=True)
class Answer:
    """What a study came to: its ledger, its brackets (whose configurations were promoted) and its incumbent."""

    results: dict[Segment, SegmentResult]
    brackets: dict[int, Any]
    incumbent: Trial | None


def answer(world: World, folder: ArmFolder) -> Answer:
    known = known_of(folder, world.arm())
    assert known.ledger.disagreements == []
    return Answer(known.ledger.results, known.brackets, incumbent(known.outcomes))


def played(world: World, schedule: list[Event], root: Path) -> Answer:
    """The answer after this schedule, and after all that is still alive has come to its end."""
    cluster = Cluster(world, ArmFolder(root), iter(schedule))  # without a study file, which a driver has read before
    driven(cluster)
    found = answer(world, cluster.folder)
    while cluster.alive:  # late results
        cluster.get_on(cluster.alive[0])
    if len(schedule) % 2:
        cluster.folder.ledger_file.unlink()  # the files alone tell the same, or what is damaged there comes again
    driven(cluster)
    assert answer(world, cluster.folder) == found
    return found


def driven(cluster: Cluster) -> None:
    """Driver after driver, until one of them is not killed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "ThreadPoolExecutor", AtOnce)
        patch.setattr(loop, "suggest", cluster.world.suggest)
        while not cluster.drive():
            if cluster.damage is not None:
                cluster.wreck(cluster.damage)
                cluster.damage = None


@cache
def undisturbed(world: World) -> Answer:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as root:
        return played(world, [], Path(root))


def check(world: World, schedule: list[Event]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as root:
        assert played(world, schedule, Path(root)) == undisturbed(world)
