"""What a person should know before a study runs: warnings, each with what to do, and how many jobs there will be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from grownn_hpo.driver.arms import OpenArm
from grownn_hpo.driver.planning.estimate import ArmEstimate, RungEstimate, Source, StudyEstimate
from grownn_hpo.driver.planning.forecast import Forecast
from grownn_hpo.driver.site import NVIDIA_DRIVER, Site
from grownn_hpo.environment import changes, environment
from grownn_hpo.spec.cluster import SlurmProfile
from grownn_hpo.store.arm import read_environment

START_SECONDS = 30
"""What a worker job may spend before its first segment: Python, Dask and torch from a shared file system."""
LEG_SHARE = 0.5
"""A leg that takes more than this share of the walltime: what a job's end costs is then a good part of the whole."""
WORTHWHILE = 0.8
"""A larger lookahead is spoken of if it takes less than this share of the time."""


def worker_jobs(forecast: Forecast, profile: SlurmProfile) -> int:
    """How many worker jobs the forecast takes: those side by side, each replaced at its walltime."""
    side_by_side = max(profile.jobs.at_least, math.ceil(forecast.peak / profile.segments))
    return side_by_side * math.ceil(forecast.wall_seconds / _usable(profile))


def warnings(found: StudyEstimate, opened: Sequence[OpenArm], site: Site) -> tuple[str, ...]:
    """Everything that will go wrong or to waste if the study runs like this, a sentence or two each."""
    told = list(_environment(opened))
    if site.profile is not None:
        for arm in found.arms:
            told += _walltime(arm, site.profile)
        told += _gpus(found, site.profile)
        told += _memory(found, site.profile)
    told += _idle(found)
    return tuple(told)


def duration(seconds: float) -> str:
    """For people, such as `50 s`, `3.2 min`, `14.0 h` or `3.1 days`."""
    for unit, size, upto in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 72 * 3600)):
        if seconds < upto:
            return f"{seconds / size:.{0 if unit == 's' and seconds >= 10 else 1}f} {unit}"
    return f"{seconds / 86400:.1f} days"


def _usable(profile: SlurmProfile) -> float:
    """Seconds of a worker job in which it trains."""
    return max(profile.walltime_seconds - START_SECONDS, profile.walltime_seconds / 2)


def _walltime(arm: ArmEstimate, profile: SlurmProfile) -> Iterator[str]:
    unfinished = [rung for rung in arm.rungs if rung.left.segments]
    if not unfinished:
        return
    worst = max(unfinished, key=lambda rung: rung.longest_leg_seconds)
    what = "a segment" if arm.arm.boundary_env_steps is None else "a leg between two boundaries"
    took = f"{arm.arm.name}, rung {worst.rung}: {what} takes up to {duration(worst.longest_leg_seconds)}"
    if worst.longest_leg_seconds > _usable(profile):
        yield f"{took}, which the walltime of {profile.walltime} never lets it finish. {_shorter(arm, worst, profile)}"
    elif worst.longest_leg_seconds > LEG_SHARE * profile.walltime_seconds:
        yield f"{took}, much of the walltime of {profile.walltime}: whatever a job ends in is lost. " + _shorter(
            arm, worst, profile
        )


def _shorter(arm: ArmEstimate, rung: RungEstimate, profile: SlurmProfile) -> str:
    if arm.begun:
        return "Ask for a longer walltime."
    per_env_step = rung.longest_leg_seconds / rung.longest_leg_env_steps
    quarter = int(_usable(profile) / 4 / per_env_step)
    rounded = max(1, quarter - quarter % 10 ** max(0, len(str(quarter)) - 2))  # two digits will do
    had = f" instead of {arm.arm.boundary_env_steps}" if arm.arm.boundary_env_steps else ""
    return f"Ask for a longer walltime, or set boundary_env_steps={rounded}{had} (it belongs to the study)."


def _gpus(found: StudyEstimate, profile: SlurmProfile) -> Iterator[str]:
    if not profile.gpus:
        return
    if all(arm.arm.device == "cpu" for arm in found.arms):
        yield f"device: cpu, and each job asks for {profile.gpus} GPUs that would idle: set gpus: 0 in the profile."
    elif not NVIDIA_DRIVER.exists() and any(r.source is Source.REHEARSED for arm in found.arms for r in arm.rungs):
        yield "Times are those of this machine's CPU: what the GPUs make of it will show once segments have run."


def _memory(found: StudyEstimate, profile: SlurmProfile) -> Iterator[str]:
    largest = max(rung.memory_gib for arm in found.arms for rung in arm.rungs)
    needed = largest * profile.segments
    if needed > profile.memory_gib:
        yield (
            f"memory_gib: {profile.memory_gib:g}, and {profile.segments} segments at a time take {needed:.1f} GiB:"
            " ask for more, or jobs will be killed."
        )


def _idle(found: StudyEstimate) -> Iterator[str]:
    now = found.left
    if now.busy >= 0.5 or now.slots == 1:
        return
    told = f"{now.slots} slots are busy {now.busy:.0%} of the time (never more than {now.peak} at once):"
    better = found.fuller
    worthwhile = better is not None and better.forecast.wall_seconds < WORTHWHILE * now.wall_seconds
    if better is not None and worthwhile and not any(arm.begun for arm in found.arms):
        yield (
            f"{told} search.lookahead={better.lookahead} would take {duration(better.forecast.wall_seconds)} instead of"
            f" {duration(now.wall_seconds)} (it changes what the search learns from); or use fewer slots."
        )
    else:
        yield f"{told} fewer would do."


def _environment(opened: Sequence[OpenArm]) -> Iterator[str]:
    begun = [each for each in opened if each.folder.study_file.exists()]
    for each in begun:
        if lines := changes(read_environment(each.folder), environment()):
            yield f"{each.folder.root} was begun in another environment, and will not go on here: {'; '.join(lines)}"
