"""Segments that are killed and gone on with at a boundary: the bits of the uninterrupted run, whatever happened."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from grownn_hpo.dispatch import Dispatcher, Ending, Job, Lost, Returned, open_dispatcher
from grownn_hpo.segment import Verdict, run_segment
from grownn_hpo.spec import Arm, legs_of
from grownn_hpo.spec.study import load_study
from grownn_hpo.store import paths
from grownn_hpo.store.attempts import Committed, commit_result, committed
from grownn_hpo.store.boundary import boundary_reached
from grownn_hpo.store.curve import read_curve, read_ticks
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.store.terms import terms_sha256
from grownn_hpo.trial import Segment, Status

CONFIGURATION = {"learning_rate": 0.001, "n_epochs": 2, "batch_size": 32, "ent_coef": 0.01}
FIRST, GROWN = Segment(1, 1, 0), Segment(1, 2, 0)
KILLED = Lost("the attempt was ended by SIGKILL from outside")


def tiny(study: str, arm: str, *more: str) -> Arm:
    common = (
        "ppo.batch_size=32",
        "evaluation.episodes=2",
        "arms.*.evaluation.rounds=3",
        "network.width=16",
        "seeds=[0]",
    )
    return next(a for a in load_study(study, (*common, *more)).arms if a.name == arm)


NORMALISED = ("ppo.normalize_observations=true", "ppo.normalize_rewards=true", "ppo.anneal_learning_rate=true")
CARTPOLE = tiny(
    *("cartpole", "grown-3", "task.envs=4", "ppo.n_steps=32", "boundary_env_steps=100"),
    *("arms.*.rungs.*.env_steps=500", *NORMALISED),  # legs of 128, 128, 128 and 116 env steps
)
ANT = tiny(
    *("ant", "grown-4", "task.envs=2", "ppo.n_steps=32", "boundary_env_steps=64", "evaluation.episodes=1"),
    *("arms.*.rungs.*.env_steps=160", *NORMALISED),
)
ROOM = tiny(
    *("room-random-10x10", "grown-4", "task.envs=2", "ppo.n_steps=32", "boundary_env_steps=64"),
    *("arms.*.rungs.*.env_steps=160", "ppo.normalize_rewards=true", "ppo.anneal_learning_rate=true"),
)
MONSTERS = tiny(
    *("room-monster-10x10", "grown-4", "task.envs=2", "ppo.n_steps=16", "boundary_env_steps=20"),
    *("arms.*.rungs.*.env_steps=150", "network.cells=varying"),
)


@dataclass(frozen=True)
class Case:
    """A folder with the first rung's segment, and what an uninterrupted run made of the next, which grows."""

    arm: Arm
    root: Path
    reference: Committed

    def copy(self, to: Path) -> ArmFolder:
        """The first rung alone, in another folder."""
        shutil.copytree(self.root, to)
        shutil.rmtree(ArmFolder(to).segment(GROWN))
        return ArmFolder(to)

    def check(self, folder: ArmFolder) -> Committed:
        """That the grown segment was committed to the reference's bits, and nothing of a boundary is left."""
        found = committed(folder, GROWN)
        assert found is not None
        assert found.commit.result == self.reference.commit.result
        for name in (paths.CURVE, paths.CHECKPOINT, paths.CHECKPOINT_META):
            assert (found.folder / name).read_bytes() == (self.reference.folder / name).read_bytes(), name
        assert found.commit.artefacts.keys() == {paths.CURVE, paths.CHECKPOINT, paths.CHECKPOINT_META, paths.PROGRESS}
        assert boundaries(folder) == []
        return found


def boundaries(folder: ArmFolder) -> list[str]:
    return sorted(f"{p.parent.name}/{p.name}" for p in folder.segments.rglob(f"{paths.BOUNDARY}*"))


def case_of(arm: Arm, root: Path) -> Case:
    folder = ArmFolder(root)
    for segment in (FIRST, GROWN):
        assert run_segment(arm, CONFIGURATION, segment, folder, lambda: None) is Verdict.COMMITTED
    found = committed(folder, GROWN)
    assert found is not None
    assert found.commit.result.growth_difference == 0.0
    assert found.commit.measured is not None
    assert found.commit.measured.env_steps == arm.rungs[1].env_steps
    return Case(arm, root, found)


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case_of(CARTPOLE, tmp_path_factory.mktemp("cartpole") / "arm")


@pytest.fixture(scope="module")
def dispatcher() -> Iterator[Dispatcher]:
    with open_dispatcher(1, inline=True, preload=("torch", "torch._dynamo", "boundary_entries")) as opened:
        yield opened


def ending(dispatcher: Dispatcher, job: Job) -> Ending:
    dispatcher.submit(job)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for _, how in dispatcher.wait(1.0):
            return how
    raise AssertionError(f"{job.key} has not ended within 60 s")


def attempt(dispatcher: Dispatcher, arm: Arm, folder: ArmFolder, beats: int | None) -> Ending:
    """A real attempt at the grown segment, killed at its beat number `beats`."""
    key = {"config": GROWN.config, "rung": GROWN.rung, "seed": GROWN.seed}
    payload = json.dumps(
        {
            "arm": arm.model_dump_json(),
            "configuration": CONFIGURATION,
            "segment": key,
            "folder": str(folder.root),
        }
    )
    if beats is None:
        return ending(dispatcher, Job("whole", "grownn_hpo.segment:attempt", payload))
    return ending(dispatcher, Job("killed", "boundary_entries:killed", json.dumps({"job": payload, "beats": beats})))


def stands_at(arm: Arm, folder: ArmFolder) -> int:
    """The legs behind the boundary that a new attempt would begin at; 0 for none."""
    reached = boundary_reached(folder, GROWN)
    if reached is None:
        return 0
    legs = legs_of(arm, GROWN.rung, CONFIGURATION)
    ends = [arm.env_steps_before(GROWN.rung) + sum(legs[:n]) for n in range(1, len(legs))]
    return 1 + ends.index(reached)


def test_killed_anywhere_and_gone_on_with_it_comes_to_the_same_bits(
    cartpole: Case, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    legs = legs_of(CARTPOLE, 2, CONFIGURATION)
    assert legs == (128, 128, 128, 116)
    seen = []
    for beats in range(1, 11):  # four updates, three evaluations and three boundaries
        folder = cartpole.copy(tmp_path / str(beats))
        assert attempt(dispatcher, CARTPOLE, folder, beats) == KILLED
        reached = stands_at(CARTPOLE, folder)
        seen.append(reached)
        assert len(boundaries(folder)) == (2 if reached else 0)  # one at a time
        assert isinstance(attempt(dispatcher, CARTPOLE, folder, None), Returned)
        found = cartpole.check(folder)
        assert found.folder.name == "a2"
        assert found.commit.measured is not None
        assert found.commit.measured.env_steps == sum(legs[reached:])
        assert read_ticks(found.folder)[0].env_steps == 500 + sum(legs[: reached + 1])
    assert seen == sorted(seen)
    assert set(seen) == {0, 1, 2, 3}


@pytest.mark.parametrize("arm", [ANT, ROOM, MONSTERS], ids=lambda arm: arm.study)
def test_killed_behind_every_boundary_in_turn_it_comes_to_the_same_bits(
    arm: Arm, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    case = case_of(arm, tmp_path / "reference")
    folder = case.copy(tmp_path / "killed")
    legs = legs_of(arm, GROWN.rung, CONFIGURATION)
    assert len(legs) >= 3
    beats, before = 1, 0
    while before < len(legs) - 1:
        assert attempt(dispatcher, arm, folder, beats) == KILLED
        reached = stands_at(arm, folder)
        assert reached in (before, before + 1)
        beats, before = (1, reached) if reached > before else (beats + 1, before)
    assert isinstance(attempt(dispatcher, arm, folder, None), Returned)
    found = case.check(folder)
    assert found.commit.measured is not None
    assert found.commit.measured.env_steps == legs[-1]


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module")
def interrupted(cartpole: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three attempts that ended behind the first, the second and the third boundary."""
    folder = cartpole.copy(tmp_path_factory.mktemp("interrupted") / "arm")
    for leg in (1, 2, 3):

        def stop(leg: int = leg) -> None:
            if stands_at(CARTPOLE, folder) == leg:
                raise Interrupted

        with pytest.raises(Interrupted):
            run_segment(CARTPOLE, CONFIGURATION, GROWN, folder, stop)
    pairs = [f"a{n}/{paths.BOUNDARY}{n}.{ending}" for n in (1, 2, 3) for ending in ("json", "safetensors")]
    assert boundaries(folder) == pairs
    return folder.root


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("damaged", [(3,), (2, 3), (1, 2, 3), (1,)], ids=str)
@pytest.mark.parametrize("file", [paths.boundary_tensors, paths.boundary_record])
@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_a_damaged_boundary_is_passed_over(
    cartpole: Case,
    interrupted: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    file: Callable[[int], str],
    damaged: tuple[int, ...],
) -> None:
    folder = ArmFolder(tmp_path / "arm")
    shutil.copytree(interrupted, folder.root)
    for leg in damaged:
        damage(folder.segment(GROWN) / f"a{leg}" / file(leg))
    best = max({1, 2, 3} - set(damaged), default=0)
    told = boundary_reached(folder, GROWN)
    run_segment(CARTPOLE, CONFIGURATION, GROWN, folder, lambda: None)
    assert committed_env_steps(folder) == sum((128, 128, 128, 116)[best:])
    if (damage, file) != (flip, paths.boundary_tensors):  # which only a look at the tensors can tell
        assert told == (500 + 128 * best if best else None)
    cartpole.check(folder)


def committed_env_steps(folder: ArmFolder) -> int | None:
    found = committed(folder, GROWN)
    assert found is not None
    assert found.commit.measured is not None
    return found.commit.measured.env_steps


def test_the_boundary_of_another_configuration_arm_or_parent_is_never_used(
    cartpole: Case, interrupted: Path, tmp_path: Path
) -> None:
    """Whoever copies attempts' folders about: the same segment's key says nothing of what was trained."""
    fewer = CONFIGURATION | {"n_epochs": 1}
    other = CARTPOLE.model_copy(update={"growth": CARTPOLE.growth.model_copy(update={"optimizer_state": "reset"})})
    for n, (arm, configuration) in enumerate([(other, CONFIGURATION), (CARTPOLE, fewer)]):
        folder = ArmFolder(tmp_path / str(n))
        assert run_segment(arm, configuration, FIRST, folder, lambda: None) is Verdict.COMMITTED
        shutil.copytree(ArmFolder(interrupted).segment(GROWN), folder.segment(GROWN))
        assert boundary_reached(folder, GROWN, terms_sha256(arm, configuration)) is None
        assert run_segment(arm, configuration, GROWN, folder, lambda: None) is Verdict.COMMITTED
        assert committed_env_steps(folder) == 500
    # The same terms, and other bits all the same: a parent that was computed on another machine, say.
    folder = ArmFolder(tmp_path / "parent")
    assert run_segment(CARTPOLE, fewer, FIRST, folder, lambda: None) is Verdict.COMMITTED
    parent = committed(folder, FIRST)
    assert parent is not None
    commit_result(parent.folder, parent.commit.result, parent.commit.measured, terms_sha256(CARTPOLE, CONFIGURATION))
    shutil.copytree(ArmFolder(interrupted).segment(GROWN), folder.segment(GROWN))
    assert boundary_reached(folder, GROWN) is None
    assert run_segment(CARTPOLE, CONFIGURATION, GROWN, folder, lambda: None) is Verdict.COMMITTED
    assert committed_env_steps(folder) == 500


def test_what_changes_no_result_keeps_the_boundaries(cartpole: Case, interrupted: Path, tmp_path: Path) -> None:
    folder = ArmFolder(tmp_path / "arm")
    shutil.copytree(interrupted, folder.root)
    limits = CARTPOLE.limits.model_copy(update={"memory_gib": 4.0})
    search = CARTPOLE.search.model_copy(update={"trials": 100})  # as `grownn extend` does
    extended = CARTPOLE.model_copy(update={"limits": limits, "search": search})
    run_segment(extended, CONFIGURATION, GROWN, folder, lambda: None)
    assert committed_env_steps(folder) == 116
    cartpole.check(folder)


def test_boundaries_change_the_training_and_nothing_else(cartpole: Case, tmp_path: Path) -> None:
    """Env steps and places of evaluations stay; a boundary that no segment reaches is none."""
    results = {}
    for boundary in (None, 500, 100):
        arm = CARTPOLE.model_copy(update={"boundary_env_steps": boundary})
        folder = ArmFolder(tmp_path / str(boundary))
        run_segment(arm, CONFIGURATION, FIRST, folder, lambda: None)
        found = committed(folder, FIRST)
        assert found is not None
        results[boundary] = found
    whole, unreached, cut = results.values()
    assert whole.commit.result == unreached.commit.result
    assert whole.commit.result.checkpoint_sha256 != cut.commit.result.checkpoint_sha256
    assert whole.commit.result.env_steps == cut.commit.result.env_steps == 500
    one, other = read_curve(whole.folder), read_curve(cut.folder)
    assert [p.env_steps for p in one] == [p.env_steps for p in other] == [256, 384, 500]
    assert one[0] != other[0]  # the second rollout was of other episodes


def test_a_segment_that_diverges_behind_a_boundary_tells_the_same(tmp_path: Path) -> None:
    task = CARTPOLE.task.model_copy(update={"env": "boundary_entries:Edge-v0"})
    arm = CARTPOLE.model_copy(update={"task": task, "seed": 2})  # with this seed the edge is reached late
    whole, gone_on_with = ArmFolder(tmp_path / "whole"), ArmFolder(tmp_path / "interrupted")

    def stop() -> None:
        if boundary_reached(gone_on_with, FIRST) == 256:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_segment(arm, CONFIGURATION, FIRST, gone_on_with, stop)
    found = []
    for folder in (whole, gone_on_with):
        run_segment(arm, CONFIGURATION, FIRST, folder, lambda: None)
        found.append(committed(folder, FIRST))
        assert boundaries(folder) == []
    one, other = found
    assert one is not None
    assert other is not None
    assert one.commit.result.status is Status.DIVERGED
    assert one.commit.result.env_steps == 320
    assert one.commit.result == other.commit.result
    assert other.commit.measured is not None
    assert other.commit.measured.env_steps == 64
