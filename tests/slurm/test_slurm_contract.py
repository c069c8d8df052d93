"""What every dispatcher promises, asked of one in Slurm jobs; and what only those can show."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from slurm_client import Slurm
from study_on_slurm import HERE
from test_dispatch_contract import TestEndings, TestOrder, TestSurroundings, small_cgroup

from grownn_hpo.dispatch import Dispatcher, Job, Returned, open_slurm
from grownn_hpo.spec.cluster import Jobs, SlurmProfile

__all__ = ["TestEndings", "TestOrder", "TestSurroundings", "small_cgroup"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def surroundings(cluster: Slurm) -> Iterator[None]:
    """This process's environment is that of a driver on the cluster."""
    resource_tracker.ensure_running()  # multiprocessing's lasts as long as we do, and is no process of the cluster
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(cluster.conf))
        patch.setenv("PYTHONPATH", f"{HERE.parent / 'dispatch'}:{HERE}", prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")
def dispatcher(surroundings: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dispatcher]:
    profile = SlurmProfile(kind="slurm", memory_gib=0.9, jobs=Jobs(at_least=1, at_most=1))
    folder = tmp_path_factory.mktemp("slurm")
    with open_slurm(profile, "contract", folder, ("this_module_is_not_there", "decimal")) as opened:
        yield opened


def test_a_jobs_slots_share_its_gpus_evenly(surroundings: None, tmp_path: Path) -> None:
    profile = SlurmProfile(
        kind="slurm", partition="gpu", cores=4, gpus=2, segments=4, memory_gib=0.9, jobs=Jobs(at_least=1, at_most=1)
    )
    with open_slurm(profile, "gpus", tmp_path) as dispatcher:
        for number in range(4):
            dispatcher.submit(Job(f"{number}", "slurm_entries:sees", json.dumps({"folder": str(tmp_path), "all": 4})))
        seen: list[object] = []
        while len(seen) < 4:
            seen += [ending for _, ending in dispatcher.wait(60)]
    assert sorted(ending.value for ending in seen if isinstance(ending, Returned)) == ["0", "0", "1", "1"]
