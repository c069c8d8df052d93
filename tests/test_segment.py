"""Real segments: MiniHack's NetHack and MuJoCo's Ant, grown between rungs, checked from another process."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import pytest
from agent_outputs import outputs, outputs_elsewhere

from grownn_hpo.segment import Stream, Verdict, run_segment, stream_seed
from grownn_hpo.spec import Arm
from grownn_hpo.spec.study import load_study
from grownn_hpo.store.attempts import Committed, committed, read_commit
from grownn_hpo.store.checkpoint import read_checkpoint
from grownn_hpo.store.curve import read_curve, read_ticks
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment, Status

SMALL = (
    "arms.*.rungs.*.env_steps=400",
    "ppo.n_steps=32",
    "ppo.batch_size=64",
    "evaluation.episodes=2",
    "arms.*.evaluation.rounds=2",
    "seeds=[0, 1]",
)
CONFIGURATION = {"learning_rate": 0.001, "n_epochs": 5, "batch_size": 32, "ent_coef": 0.01}


def small(study: str, arm: str, *more: str) -> Arm:
    return next(a for a in load_study(study, (*SMALL, *more)).arms if a.name == arm)


def climb(arm: Arm, root: Path, rungs: int, seed: int = 0) -> list[Committed]:
    folder = ArmFolder(root)
    done = []
    for rung in range(1, rungs + 1):
        segment = Segment(1, rung, seed)
        assert run_segment(arm, CONFIGURATION, segment, folder, lambda: None) is Verdict.COMMITTED
        found = committed(folder, segment)
        assert found is not None
        done.append(found)
    return done


@pytest.mark.parametrize(
    ("study", "arm", "more"),
    [
        ("room-random-10x10", "grown-4", ("network.width=64",)),
        ("ant", "grown-4", ()),
        ("demo", "grown-3", ("task.envs=5",)),
        pytest.param(
            *("ant", "grown-8", ("ppo.normalize_observations=true", "ppo.normalize_rewards=true")),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_growth_leaves_real_agents_as_they_are(study: str, arm: str, more: tuple[str, ...], tmp_path: Path) -> None:
    chosen = small(study, arm, *more)
    steps = climb(chosen, tmp_path, 3)
    results = [step.commit.result for step in steps]
    assert [result.status for result in results] == [Status.COMPLETED] * 3
    assert [result.growth_difference for result in results] == [None, 0.0, 0.0]
    assert [result.depth for result in results] == [1, 2, 3]
    assert [result.env_steps for result in results] == [400, 800, 1200]
    assert results[2].parent_sha256 == results[1].checkpoint_sha256
    here = outputs(chosen, steps[2].folder)
    assert here == outputs_elsewhere(chosen, steps[2].folder, hash_seed="1")
    assert here[2] == 256
    points = read_curve(steps[1].folder)
    # Due at 600 and 800; rollouts of 160 env steps end at 560, 720 and, cut short, 800.
    assert [p.env_steps for p in points] == [720, 800]
    last = read_ticks(steps[1].folder)[-1]
    assert last.env_steps == 800
    assert None not in astuple(last)[3:]
    assert results[1].mean_return == points[-1].mean_return


def test_a_segment_is_a_function_of_its_key(tmp_path: Path) -> None:
    arm = small("demo", "grown-3", "task.envs=5")
    one, other = climb(arm, tmp_path / "one", 2), climb(arm, tmp_path / "other", 2)
    for a, b in zip(one, other, strict=True):
        assert a.commit.result == b.commit.result
        assert a.commit.artefacts["checkpoint.safetensors"] == b.commit.artefacts["checkpoint.safetensors"]
        assert a.commit.artefacts["checkpoint.json"] == b.commit.artefacts["checkpoint.json"]
        assert a.commit.artefacts["curve.csv"] == b.commit.artefacts["curve.csv"]
    assert climb(arm, tmp_path / "one", 1, seed=1)[0].commit.result.checkpoint_sha256 != (
        one[0].commit.result.checkpoint_sha256
    )


def test_a_committed_segment_is_not_computed_again(tmp_path: Path) -> None:
    arm = small("cartpole", "grown-3", "task.envs=4")
    (done,) = climb(arm, tmp_path, 1)
    # Whatever an attempt leaves but its commit, which is written again: it may not have been durable (`commit_again`).
    before = {path: path.stat().st_mtime_ns for path in done.folder.iterdir() if path.name != "result.json"}
    commit = (done.folder / "result.json").read_bytes()
    climb(arm, tmp_path, 1)
    assert {path: path.stat().st_mtime_ns for path in done.folder.iterdir() if path.name != "result.json"} == before
    assert (done.folder / "result.json").read_bytes() == commit
    assert len(ArmFolder(tmp_path).attempts(Segment(1, 1, 0))) == 1


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "no parent"])
def test_a_damaged_parent_is_noticed(damage: str, tmp_path: Path) -> None:
    arm = small("cartpole", "grown-3", "task.envs=4")
    (parent,) = climb(arm, tmp_path, 1)
    path = parent.folder / "checkpoint.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    elif damage == "truncate":
        path.write_bytes(data[:-10])
    elif damage == "remove":
        path.unlink()
    else:
        shutil.rmtree(parent.folder)
    folder = ArmFolder(tmp_path)
    assert run_segment(arm, CONFIGURATION, Segment(1, 2, 0), folder, lambda: None) is Verdict.PARENT_LOST
    assert folder.attempts(Segment(1, 2, 0)) == ()


def test_divergence_is_a_result_with_its_place(tmp_path: Path) -> None:
    arm = small("cartpole", "grown-3", "task.envs=4")
    folder = ArmFolder(tmp_path)
    configuration = CONFIGURATION | {"learning_rate": 1e30}
    assert run_segment(arm, configuration, Segment(1, 1, 0), folder, lambda: None) is Verdict.COMMITTED
    found = committed(folder, Segment(1, 1, 0))
    assert found is not None
    result = found.commit.result
    assert result.status is Status.DIVERGED
    assert result.mean_return is None
    assert result.checkpoint_sha256 is None
    assert "update" in str(result.detail)
    assert "checkpoint.safetensors" not in found.commit.artefacts


def test_growing_layers_start_with_no_moments_and_the_old_ones_keep_theirs(tmp_path: Path) -> None:
    arm = small("cartpole", "grown-3", "task.envs=4", "arms.*.rungs.*.env_steps=128")
    steps = climb(arm, tmp_path, 2)
    before, _ = read_checkpoint(steps[0].folder)
    after, _ = read_checkpoint(steps[1].folder)
    old = {name: int(tensor) for name, tensor in before.items() if name.endswith(".step")}
    new = {name: int(tensor) for name, tensor in after.items() if name.endswith(".step")}
    fresh = set(new) - set(old)
    assert fresh
    updates = new[next(iter(fresh))]
    assert all(new[name] == old[name] + updates for name in old)


def test_streams_are_paired_across_configurations_and_apart_otherwise() -> None:
    seeds = {
        stream_seed(study, seed, rung, stream, leg)
        for study in range(3)
        for seed in range(5)
        for rung in range(1, 4)
        for stream in Stream
        for leg in range(1, 13)
    }
    assert len(seeds) == 3 * 5 * 3 * len(Stream) * 12
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_seeds_of_a_first_leg_are_those_of_a_segment_without_boundaries() -> None:
    """They are in every ledger there is."""
    digest = hashlib.sha256(b"0/4/2/actions").digest()
    assert stream_seed(0, 4, 2, Stream.ACTIONS) == int.from_bytes(digest[:8], "big") >> 1
    assert stream_seed(0, 4, 2, Stream.ACTIONS, 1) == stream_seed(0, 4, 2, Stream.ACTIONS)


def test_memory_at_the_papers_size_stays_under_a_gibibyte(tmp_path: Path) -> None:
    arm = next(a for a in load_study("room-random-10x10").arms if a.name == "grown-4")
    rungs = tuple(rung.model_copy(update={"env_steps": 10240}) for rung in arm.rungs)
    light = arm.evaluation.model_copy(update={"rounds": 1})
    arm = arm.model_copy(update={"rungs": rungs, "evaluation": light})
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path; from grownn_hpo.segment import run_segment; from grownn_hpo.spec import Arm\n"
        "from grownn_hpo.store.paths import ArmFolder; from grownn_hpo.trial import Segment\n"
        "arm = Arm.model_validate_json(sys.argv[1])\n"
        "configuration = dict(learning_rate=1e-3, n_epochs=1, batch_size=256, ent_coef=0.01)\n"
        "run_segment(arm, configuration, Segment(1, 1, 0), ArmFolder(Path(sys.argv[2])), lambda: None)\n"
    )
    subprocess.run([sys.executable, "-c", code, arm.model_dump_json(), str(tmp_path)], check=True, capture_output=True)
    attempt = ArmFolder(tmp_path).attempts(Segment(1, 1, 0))[0]
    commit = read_commit(attempt, Segment(1, 1, 0))
    assert commit is not None
    assert commit.measured is not None
    assert 0.1 < commit.measured.peak_memory_gib < 1.0
