"""`grownn evaluate --cluster`: several configurations at a time in Slurm jobs, with the local run's answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import TINY
from slurm_client import Slurm
from study_on_slurm import Study


@pytest.mark.slow
def test_ranking_again_on_a_cluster_gives_the_local_answer(slurm: Slurm, tmp_path: Path) -> None:
    study = Study(slurm, tmp_path, TINY)
    study.profile(at_least=2, at_most=2)
    ended = study.call("run", "study.yaml", "--workers", 0)
    assert ended.returncode == 0, ended.stderr
    words = ("evaluate", "results/tiny", "--top", 2, "--seeds", "100,101", "--json")
    on_cluster = study.call(*words, "--cluster", "site.yaml")
    assert on_cluster.returncode == 0, on_cluster.stderr
    evaluations = study.arm / "evaluations"
    assert len(list(evaluations.rglob("result.json"))) == 2 * 2 * 3
    assert list((evaluations / "slurm").glob("*.log"))
    evaluations.rename(tmp_path / "there")
    here = study.call(*words, "--workers", 0)
    assert here.returncode == 0, here.stderr
    assert json.loads(here.stdout) == json.loads(on_cluster.stdout)
