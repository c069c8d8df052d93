"""Advice before a run: each warning where it is due, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from grownn_hpo.driver.arms import OpenArm
from grownn_hpo.driver.planning.advice import duration, warnings, worker_jobs
from grownn_hpo.driver.planning.estimate import ArmEstimate, Fuller, RungEstimate, Source, StudyEstimate
from grownn_hpo.driver.planning.forecast import Course, Forecast, Work, forecast
from grownn_hpo.driver.site import NVIDIA_DRIVER, Site
from grownn_hpo.search.ladder import Ladder
from grownn_hpo.spec.cluster import Jobs, SlurmProfile
from grownn_hpo.spec.study import load_study
from grownn_hpo.store.paths import ArmFolder

HOUR = 3600.0


def slurm(**fields: object) -> Site:
    profile = SlurmProfile.model_validate({"kind": "slurm", "jobs": Jobs(at_most=4), "walltime": "04:00:00", **fields})
    return Site(profile.slots, profile=profile, file="site.yaml")


def estimated(*overrides: str, longest: float = HOUR, slots: int = 4, begun: bool = False) -> StudyEstimate:
    """Ant's grown-4, every segment an hour, the longest leg of a rung `longest` seconds."""
    arm = load_study("ant", overrides).arms[0]
    found = forecast([Course(arm.name, Ladder.of(arm), arm.seeds, lambda segment: HOUR)], slots)
    rungs = tuple(
        RungEstimate(
            rung=number,
            env=arm.env_of(number),
            depth=rung.depth,
            env_steps=rung.env_steps,
            source=Source.REHEARSED,
            segment_seconds=HOUR,
            longest_leg_env_steps=rung.env_steps if arm.boundary_env_steps is None else 102_400,
            longest_leg_seconds=longest,
            segment_bytes=1000,
            memory_gib=0.6,
            whole=found.work[arm.name][number],
            left=found.work[arm.name][number],
        )
        for number, rung in enumerate(arm.rungs, 1)
    )
    return StudyEstimate("ant", (ArmEstimate(arm, begun, rungs, found, found),), found, found, None)


def told(found: StudyEstimate, site: Site, folder: Path = Path("nowhere")) -> str:
    opened = [OpenArm(arm.arm, ArmFolder(folder / arm.arm.name)) for arm in found.arms]
    return "\n".join(warnings(found, opened, site))


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    assert told(estimated(), slurm()) == ""
    assert told(estimated(), Site(4)) == ""


def test_a_leg_that_no_walltime_lets_finish() -> None:
    said = told(estimated(longest=5 * HOUR), slurm())
    assert (
        "grown-4, rung 1: a leg between two boundaries takes up to 5.0 h, which the walltime of 04:00:00 never" in said
    )
    assert "boundary_env_steps=20000 instead of 100000" in said
    whole = told(estimated("boundary_env_steps=null", longest=5 * HOUR), slurm())
    assert "a segment takes up to 5.0 h" in whole
    assert "set boundary_env_steps=99000 (it belongs to the study)" in whole
    assert told(estimated(longest=5 * HOUR), slurm(walltime="1-00:00:00")) == ""
    assert told(estimated(longest=5 * HOUR), Site(4)) == ""


def test_a_begun_study_keeps_its_boundaries() -> None:
    said = told(estimated(longest=5 * HOUR, begun=True), slurm())
    assert said.endswith("Ask for a longer walltime.")
    assert "boundary_env_steps" not in said


def test_a_leg_that_takes_much_of_the_walltime() -> None:
    assert "whatever a job ends in is lost" in told(estimated(longest=2.5 * HOUR), slurm())


def test_slots_that_idle() -> None:
    found = estimated(slots=400)
    site = slurm(jobs=Jobs(at_most=400))
    assert "400 slots are busy" in told(found, site)
    assert "fewer would do" in told(found, site)
    better = Forecast(400, found.left.wall_seconds / 4, 400, found.left.work)
    fuller = StudyEstimate(found.study, found.arms, found.whole, found.left, Fuller(8, better))
    assert "search.lookahead=8 would take" in told(fuller, site)
    hardly = Forecast(400, found.left.wall_seconds * 0.9, 400, found.left.work)
    assert "lookahead" not in told(
        StudyEstimate(found.study, found.arms, found.whole, found.left, Fuller(8, hardly)), site
    )


def test_gpus_that_idle() -> None:
    said = told(estimated("device=cpu"), slurm(gpus=1))
    assert "device: cpu, and each job asks for 1 GPUs that would idle: set gpus: 0" in said
    assert told(estimated("device=cpu"), slurm()) == ""


@pytest.mark.skipif(NVIDIA_DRIVER.exists(), reason="this machine has a GPU, whose times are those of a GPU")
def test_a_rehearsal_on_a_cpu_says_nothing_of_gpus() -> None:
    assert "Times are those of this machine's CPU" in told(estimated("device=cuda"), slurm(gpus=1))


def test_too_little_memory() -> None:
    site = slurm(segments=4, cores=4, memory_gib=2, jobs=Jobs(at_most=1))
    assert "memory_gib: 2, and 4 segments at a time take 2.4 GiB" in told(estimated(), site)
    assert told(estimated(), slurm(segments=4, cores=4, memory_gib=3, jobs=Jobs(at_most=1))) == ""


def test_jobs_are_replaced_at_their_walltime() -> None:
    profile = slurm(segments=2, cores=2, jobs=Jobs(at_least=1, at_most=5)).profile
    assert profile is not None
    work = {"a": {1: Work(1, 1.0)}}
    assert worker_jobs(Forecast(10, 9 * HOUR, 10, work), profile) == 5 * 3
    assert worker_jobs(Forecast(10, 60.0, 3, work), profile) == 2
    assert worker_jobs(Forecast(10, 0.0, 0, {"a": {1: Work()}}), profile) == 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (7.25, "7.2 s"), (50, "50 s"), (240, "4.0 min"), (7300, "2.0 h"), (400_000, "4.6 days")],
)
def test_durations_are_for_people(seconds: float, said: str) -> None:
    assert duration(seconds) == said
