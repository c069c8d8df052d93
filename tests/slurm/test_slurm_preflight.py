"""Workers that would not compute what the driver expects, or never come: the study stops, and says what to do."""

from __future__ import annotations

import pytest
import torch
from fault_table import Fault
from study_on_slurm import Study


def stopped(study: Study, *words: object) -> str:
    """Runs the study, which stops before anything is trained; what it said."""
    with study.driven("run", "study.yaml", "--cluster", "site.yaml", *words) as driver:
        said = driver.ends(code=3)
    assert "Go on with: grownn resume" in said
    assert list(study.arm.glob("segments/*/*/*/*")) == []
    study.nothing_left()
    return said


@pytest.mark.row(28)
def test_other_versions_on_the_node(study: Study, fault: Fault) -> None:
    """A folder with another torch, by its metadata, is the first that the worker's interpreter looks into."""
    other = study.folder / "other" / "torch-1.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0\n")
    study.profile(f"before: ['export PYTHONPATH={other.parent}:$PYTHONPATH']")
    said = stopped(study)
    assert "the worker on " in said
    assert "(Slurm job " in said
    assert f"torch is 1.0 there and {torch.__version__.partition('+')[0]}" in said
    assert "install there what is here" in said
    fault.struck()
    fault.nothing_trained(study.arm)


@pytest.mark.slow
def test_an_interpreter_that_is_not_there(study: Study) -> None:
    study.profile("python: /opt/nowhere/bin/python", at_most=1)
    said = stopped(study)
    assert "3 worker jobs in a row ended before their workers reached the driver" in said
    assert "/opt/nowhere/bin/python: No such file or directory" in said
    assert "Look at `before`, `python` and `interface` in the cluster profile" in said


def test_a_partition_that_is_not_there(study: Study) -> None:
    study.profile("partition: nowhere")
    assert "Slurm refuses worker jobs: sbatch: error: invalid partition specified: nowhere" in stopped(study)


@pytest.mark.slow
def test_a_study_for_gpus_where_none_work(study: Study) -> None:
    """Slurm grants the node's GPUs, which are names only."""
    study.profile("partition: gpu", "gpus: 1")
    assert "the study trains on `device: cuda`, and it sees no GPU" in stopped(study, "--set", "device=cuda")


@pytest.mark.slow
def test_results_that_the_node_does_not_see(study: Study) -> None:
    """In a mount namespace of its own, the job has an empty folder where the driver keeps the arm."""
    apart = f'exec unshare --mount bash -c "mount -t tmpfs none {study.arm} && APART=yes exec bash $0"'
    study.profile(f"before: ['[ $APART ] || {apart}']")
    assert "it does not see the results folder that the driver writes to" in stopped(study)
