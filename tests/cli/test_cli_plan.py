"""`grownn plan`, as the whole program: rehearsed, measured, scaled, told to people and to programs; nothing written."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from program import TINY, Grownn

PROFILE = "kind: slurm\npartition: short\nsegments: 2\ncores: 2\njobs: {at_least: 1, at_most: 3}\n"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(PROFILE)
    return path


def planned(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    plan: dict[str, Any] = json.loads(done.stdout)
    return plan


def test_a_new_study_is_rehearsed_and_nothing_is_written(
    grownn: Grownn, tiny: Path, profile: Path, tmp_path: Path
) -> None:
    done = grownn("plan", tiny, "--cluster", profile, "--json")
    assert "rehearsed CartPole-v1 at depth 1 in" in done.stderr
    assert "rehearsed CartPole-v1 at depth 3 in" in done.stderr
    assert "depth 2" not in done.stderr  # interpolated
    plan = planned(done)
    (arm,) = plan["arms"]
    assert [rung["segments"] for rung in arm["rungs"]] == [6 * 2, 4 * 2, 2 * 2]
    assert [rung["depth"] for rung in arm["rungs"]] == [1, 2, 3]
    assert {rung["source"] for rung in arm["rungs"]} == {"rehearsed"}
    assert plan["slots"] == 6
    assert plan["env_steps"] == 24 * 512
    assert plan["whole"] == plan["left"]
    assert plan["whole"]["segments"] == 24
    assert plan["whole"]["jobs"] == 3
    for rung in arm["rungs"]:
        assert 100 < rung["env_steps_per_second"] < 100_000
        assert rung["seconds"] == pytest.approx(rung["env_steps"] / rung["env_steps_per_second"])
        assert 1_000 < rung["disk_bytes"] / rung["segments"] < 100_000
    sizes = [rung["disk_bytes"] / rung["segments"] for rung in arm["rungs"]]
    assert sizes == sorted(sizes)
    assert sum(rung["core_hours"] for rung in arm["rungs"]) == pytest.approx(plan["whole"]["core_hours"])
    assert plan["whole"]["wall_hours"] * 6 >= plan["whole"]["core_hours"]
    assert "#SBATCH -p short" in plan["worker_script"]
    assert str(tmp_path / "results" / "tiny" / "slurm") in plan["worker_script"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site.yaml", "tiny.yaml"]


def test_people_are_told_the_same(grownn: Grownn, tiny: Path, profile: Path) -> None:
    tiny.write_text(TINY.replace("depth: 2", "depth: 1").replace("depth: 3", "depth: 1"))  # one rehearsal
    done = grownn("plan", tiny, "--cluster", profile)
    assert done.returncode == 0, done.stderr
    assert "rehearsed CartPole-v1 at depth 1 in" in done.stderr
    assert "tiny/grown-3: 12 trials x 2 seeds, 12,288 env steps" in done.stdout
    assert "In all: 24 segments" in done.stdout
    assert "on 6 slots" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].count("grownn_hpo.dispatch.node") == 1
    lines = done.stdout.partition("The worker's job script:")[0].splitlines()
    assert max(map(len, lines)) <= 100


def test_a_study_that_has_run_tells_its_own_times(grownn: Grownn, tiny: Path, begun: Path, tmp_path: Path) -> None:
    results, few = tmp_path / "results", ("--set", "search.trials=4")
    files = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    done = grownn("plan", tiny, "--workers", 1, *few, "--json")
    assert "rehears" not in done.stderr
    plan = planned(done)
    (arm,) = plan["arms"]
    assert arm["begun"]
    assert [(rung["segments"], rung["source"]) for rung in arm["rungs"]] == [(6, "measured"), (2, "measured")]
    assert plan["left"]["segments"] == plan["left"]["wall_hours"] == 0
    assert plan["whole"]["wall_hours"] > plan["whole"]["core_hours"] > 0  # it waits for a suggestion
    took = [
        json.loads(path.read_text())["measured"]["seconds"] for path in results.rglob("segments/*/*/r1/*/result.json")
    ]
    assert len(took) == 6
    assert arm["rungs"][0]["seconds"] == pytest.approx(sum(took) / len(took))

    recorded = begun / "grown-3/study.yaml"
    recorded.write_text(recorded.read_text().replace("trials: 4", "trials: 12"))  # what `extend` does first
    longer = grownn("plan", tiny, "--workers", 2)
    assert longer.returncode == 0, longer.stderr
    assert "In all: 24 segments" in longer.stdout
    assert "Left:   16 segments" in longer.stdout
    sources = [line.split()[-1] for line in longer.stdout.splitlines() if line.strip().startswith(("1 ", "2 ", "3 "))]
    assert sources == ["measured", "measured", "scaled"]
    now = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    assert {path for path in now if now[path] != files.get(path)} == {recorded}


def test_input_that_run_refuses_is_refused(grownn: Grownn, tiny: Path, profile: Path) -> None:
    for args, said in (
        (("cartpol",), "did you mean 'cartpole'"),
        ((tiny, "--arm", "static-9"), "it has grown-3"),
        ((tiny, "--set", "ppo.batch_size=4096"), "ppo.batch_size = 4096"),
        ((tiny, "--set", "task.env=CartPole-v7"), "task.env = 'CartPole-v7'"),
        ((tiny, "--cluster", profile, "--workers", 2), "leave --workers out"),
        ((tiny, "--cluster", profile, "--set", "device=cuda"), "gpus = 0"),
        ((tiny, "--cluster", tiny), "kind"),
    ):
        done = grownn("plan", *args)
        assert (done.returncode, done.stdout) == (2, ""), (args, done.stderr)
        assert said in done.stderr


def test_another_study_than_has_run_is_refused(grownn: Grownn, tiny: Path, begun: Path) -> None:
    other = grownn("plan", tiny, "--set", "search.trials=4", "--set", "seed=4")
    assert other.returncode == 2
    assert "seed: recorded 3, given 4" in other.stderr


def test_a_rehearsal_that_fails_is_told_like_an_attempt(grownn: Grownn, tiny: Path, tmp_path: Path) -> None:
    unlucky = Path(__file__).parents[1] / "unlucky.py"
    (tmp_path / "unlucky.py").write_text(unlucky.read_text())
    env = {"UNLUCKY": f"raise:1:{tmp_path}", "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    done = grownn("plan", tiny, "--set", "task.env=unlucky:Unlucky-v0", **env)
    assert done.returncode == 1
    assert "the rehearsal of unlucky:Unlucky-v0 at depth 1 failed (RuntimeError: the cart fell off" in done.stderr
