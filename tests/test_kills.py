"""SIGKILL of the driver, alone and with its whole tree, each followed by `grownn resume`; `make kills` does many."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from fault_table import Fault
from kills import DRIVERS, STUDIES, WEIGHTS, Disturbed, Toll, Victim, many
from program import TINY, Grownn


def counted(limit: int, *tolls: Toll) -> bool:
    return sum(toll.kills.total() for toll in tolls) < limit


@pytest.mark.row(1)
def test_a_killed_driver_loses_nothing(grownn: Grownn, fault: Fault, tmp_path: Path, undisturbed: str) -> None:
    study = Disturbed(tmp_path, TINY, 1, lambda: counted(3, study.toll), DRIVERS)
    toll = study.through(undisturbed)
    fault.struck(toll.kills.total())
    assert toll.kills.total() == 3
    assert toll.clean, toll.told()
    fault.holds(study.arm, grownn("table", "results/tiny").stdout, undisturbed)
    said = grownn("status", "results/tiny").stderr
    assert "12/12 trials" in said
    assert "complete" in said


@pytest.mark.slow
@pytest.mark.row(1)
def test_many_kills_of_everybody(fault: Fault, tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    toll = many(20, 500, tmp_path)
    fault.tolled(toll.kills.total(), toll.lost.total(), toll.twice.total(), toll.identical)
    assert len(toll.kills) >= 3
    assert toll.studies >= len(STUDIES)
    assert set(psutil.Process().children(recursive=True)) <= before
    assert set(toll.kills) <= set(WEIGHTS) == set(Victim)
