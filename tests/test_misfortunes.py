"""Attempts that raise, crash, hang or take all memory cost themselves alone; what fails for good is a crashed trial."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fault_table import Fault, rows_of
from program import TINY, Grownn

UNLUCKY = TINY.replace("CartPole-v1", "unlucky:Unlucky-v0")


def run(grownn: Grownn, folder: Path, what: str, times: int, *limits: str, workers: int = 2, step: int = 100) -> str:
    """Runs the unlucky tiny study; what it said."""
    (folder / "unlucky.yaml").write_text(UNLUCKY)
    overrides = [part for limit in limits for part in ("--set", limit)]
    done = grownn(
        *("run", "unlucky.yaml", "--workers", workers, *overrides),
        UNLUCKY=f"{what}:{times}:{folder}",
        UNLUCKY_STEP=str(step),
        PYTHONPATH=os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))),
    )
    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("unlucky-*"))) == times, "the misfortune did not strike"
    return done.stderr


@pytest.mark.parametrize(
    ("what", "limits", "told", "workers"),
    [
        pytest.param("raise", (), "RuntimeError: the cart fell off the table", 2, marks=pytest.mark.row(25)),
        pytest.param("segfault", (), "SIGSEGV", 2, marks=[pytest.mark.row(5), pytest.mark.slow]),
        pytest.param(
            *("sleep", ("limits.stalled_seconds=3",), "no progress for", 2),
            marks=[pytest.mark.row(26), pytest.mark.slow],
        ),
        pytest.param("spin", ("limits.stalled_seconds=3",), "no progress for", 0, marks=pytest.mark.row(26)),
        pytest.param("memory", ("limits.memory_gib=1",), "out of memory", 0, marks=pytest.mark.row(27)),
        pytest.param(
            *("memory", ("limits.memory_gib=1",), "out of memory", 2), marks=[pytest.mark.row(27), pytest.mark.slow]
        ),
    ],
)
def test_a_misfortune_costs_its_attempt_alone(
    grownn: Grownn,
    fault: Fault,
    tmp_path: Path,
    first_bracket: str,
    what: str,
    limits: tuple[str, ...],
    told: str,
    workers: int,
) -> None:
    """Who watches over an attempt is the same with workers and without."""
    said = run(grownn, tmp_path, what, 2, "search.trials=6", *limits, workers=workers)
    fault.struck(2)
    assert told in said
    assert said.count("it is tried again") == 2
    fault.holds(tmp_path / "results/tiny/grown-3", grownn("table", "results/tiny").stdout, first_bracket)
    kept = list(tmp_path.glob("results/tiny/grown-3/segments/*/*/*/*/failure.json"))
    assert len(kept) == 2
    assert told in kept[0].read_text()


def test_what_always_fails_is_crashed_and_never_promoted(grownn: Grownn, tmp_path: Path) -> None:
    said = run(grownn, tmp_path, "raise", 12, "limits.attempts=2", "search.trials=6", workers=0)
    assert "crashed (RuntimeError: the cart fell off the table)" in said
    rows = rows_of(grownn("table", "results/tiny").stdout)
    crashed = {row["config"] for row in rows if row["status"] == "crashed"}
    assert crashed == {"1", "2", "3"}
    assert {row["rung"] for row in rows} == {"1"}
    exported = grownn("export", "results/tiny")
    assert exported.returncode == 1
    assert "no trial has completed" in exported.stderr
    page = grownn("report", "results/tiny")
    assert page.returncode == 0, page.stderr
    assert "the cart fell off the table" in (tmp_path / page.stdout.strip()).read_text()


@pytest.mark.parametrize("reward", ["nan", pytest.param("1e308", marks=pytest.mark.slow)])
def test_a_reward_that_is_no_number_ends_the_segment_as_diverged(grownn: Grownn, tmp_path: Path, reward: str) -> None:
    run(grownn, tmp_path, reward, 1, "search.trials=6", workers=0)
    rows = rows_of(grownn("table", "results/tiny").stdout)
    diverged = [row for row in rows if row["status"] == "diverged"]
    assert len(diverged) == 1
    assert diverged[0]["mean_return"] == diverged[0]["checkpoint_sha256"] == ""
    assert int(diverged[0]["env_steps"]) < 512
    assert diverged[0]["config"] not in {row["config"] for row in rows if row["rung"] == "2"}


@pytest.mark.slow
def test_a_misfortune_behind_a_boundary_costs_no_more_than_a_leg(grownn: Grownn, tmp_path: Path) -> None:
    """The table is that of a study with the same boundaries which nothing befell."""
    tables, env_steps = [], []
    for times in (0, 4):
        # Legs are of 128 env steps. By its step 450 a process has the first behind it, evaluations being counted too.
        run(grownn, tmp_path, "kill", times, "boundary_env_steps=100", "search.trials=6", step=450)
        tables.append(grownn("table", "results/tiny").stdout)
        results = (tmp_path / "results").glob("tiny/grown-3/segments/*/*/*/*/result.json")
        env_steps.append({json.loads(result.read_text())["measured"]["env_steps"] for result in results})
        assert not list((tmp_path / "results").rglob("boundary-*"))
        (tmp_path / "results").rename(tmp_path / f"results-{times}")
    assert tables[0] == tables[1]
    assert env_steps[0] == {512}
    assert {512} < env_steps[1] <= {512, 384, 256, 128}
