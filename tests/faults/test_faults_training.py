"""Training that goes wrong by its numbers: learning rates and rewards too large for them. The study goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_table import Fault, rows_of
from local_study import LocalStudy
from program import TINY

# With one seed, three configurations and no model to fit: two rungs of them.
SMALL = (
    TINY.replace("CartPole-v1", "unlucky:Unlucky-v0")
    .replace("seeds: [0, 1]", "seeds: [0]")
    .replace("trials: 12", "trials: 6")
)
EXPLOSIVE = SMALL.replace("upper: 0.01", "upper: 1.0e+30")


def run_twice(fault: Fault, folder: Path, text: str, **env: str) -> tuple[list[dict[str, str]], LocalStudy]:
    """The rows that 2 workers computed, held to those of none; each diverged segment is a fault that struck."""
    studies = [LocalStudy(folder / name, text) for name in ("alone", "workers")]
    for study, workers in zip(studies, (0, 2), strict=True):
        done = study.call("run", "study.yaml", "--workers", workers, **env)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    table = studies[1].table()
    rows = rows_of(table)
    fault.struck(sum(row["status"] == "diverged" for row in rows))
    fault.holds(studies[1].arm, table, studies[0].table())
    return rows, studies[1]


@pytest.mark.row(23)
@pytest.mark.slow
def test_learning_rates_that_explode_diverge_and_are_never_promoted(fault: Fault, tmp_path: Path) -> None:
    rows, study = run_twice(fault, tmp_path, EXPLOSIVE)
    diverged = {row["config"] for row in rows if row["status"] == "diverged"}
    assert {float(row["learning_rate"]) > 1e3 for row in rows if row["config"] in diverged} == {True}
    for row in rows:
        if row["config"] in diverged:
            assert (row["rung"], row["mean_return"], row["checkpoint_sha256"]) == ("1", "", "")
            assert 0 < int(row["env_steps"]) <= 512
    said = study.call("status", "results/tiny", "--json").stdout
    assert "diverged, training diverged in update" in said
    assert "a lower learning rate, scaled rewards or normalised observations may help" in said
    exported = study.call("export", "results/tiny")
    assert exported.returncode == 0, exported.stderr
    assert f"c{int(next(iter(diverged))):04d}" not in exported.stdout


@pytest.mark.row(24)
@pytest.mark.slow
@pytest.mark.parametrize("scale", ["1e15", "-1e30", "1e300", "inf", "nan"])
def test_rewards_of_any_size_are_bounded_or_end_the_segment_and_are_recorded(
    fault: Fault, tmp_path: Path, scale: str
) -> None:
    """Every reward of every episode is so large: the study comes to its end, and says which segments diverged."""
    fault.struck()
    rows, study = run_twice(fault, tmp_path, SMALL, UNLUCKY_SCALE=scale)
    assert {row["status"] for row in rows} <= {"completed", "diverged"}
    if scale in ("1e300", "inf", "nan"):
        assert {row["status"] for row in rows} == {"diverged"}
    for row in rows:
        assert (row["mean_return"] == "") == (row["status"] == "diverged")
    shown = study.call("status", "results/tiny")
    assert shown.returncode == 0
    page = study.call("report", "results/tiny")
    assert page.returncode == 0, page.stderr
