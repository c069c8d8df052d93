"""`grownn plan`: what a study will cost, said before it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from grownn_hpo.driver.arms import choose_arms, find_study
from grownn_hpo.driver.planning.advice import duration, warnings, worker_jobs
from grownn_hpo.driver.planning.estimate import ArmEstimate, RungEstimate, Source, StudyEstimate, estimate
from grownn_hpo.driver.planning.forecast import Forecast
from grownn_hpo.driver.site import Site
from grownn_hpo.spec.cluster import SlurmProfile
from grownn_hpo.spec.study import load_study

WIDTH = 100


def plan(source: str, overrides: Sequence[str], names: Sequence[str], site: Site, results: Path, as_json: bool) -> None:
    """Print what running the study named `source` will cost; trains a few seconds' rehearsal, and writes nothing."""
    study = load_study(source, overrides)
    opened = find_study(study, choose_arms(study, names), results, site.slots, site.has_gpus)
    site.check_devices([each.arm for each in opened], study.file)
    found = estimate(opened, site.slots, lambda line: print(line, file=sys.stderr))
    unfinished = [each for each, arm in zip(opened, found.arms, strict=True) if arm.left.total.segments]
    told, script = warnings(found, opened, site), site.worker_script(unfinished or opened)
    if as_json:
        print(json.dumps({**as_data(found, site.profile), "warnings": told, "worker_script": script}, indent=1))
    else:
        _print_plan(found, told, site.profile)
        if script is not None:
            print(f"\nThe worker's job script:\n\n{script}", end="")


def as_data(found: StudyEstimate, profile: SlurmProfile | None) -> dict[str, object]:
    """The figures as plain values; times in seconds or hours as their names say, disk in bytes."""
    return {
        "study": found.study,
        "slots": found.left.slots,
        "arms": [_arm_data(arm) for arm in found.arms],
        "whole": _forecast_data(found.whole, profile),
        "left": _forecast_data(found.left, profile),
        "env_steps": sum(arm.env_steps for arm in found.arms),
        "disk_bytes": round(sum(arm.bytes for arm in found.arms)),
    }


def _arm_data(arm: ArmEstimate) -> dict[str, object]:
    rungs = [
        {
            "rung": rung.rung,
            "env": rung.env,
            "depth": rung.depth,
            "segments": rung.whole.segments,
            "segments_left": rung.left.segments,
            "env_steps": rung.env_steps,
            "env_steps_per_second": rung.env_steps_per_second,
            "seconds": rung.segment_seconds,
            "longest_leg_seconds": rung.longest_leg_seconds,
            "core_hours": rung.whole.seconds / 3600,
            "memory_gib": rung.memory_gib,
            "disk_bytes": round(rung.segment_bytes * rung.whole.segments),
            "source": rung.source.value,
        }
        for rung in arm.rungs
    ]
    return {
        "arm": arm.arm.name,
        "begun": arm.begun,
        "trials": arm.arm.search.trials,
        "lookahead": arm.arm.search.lookahead,
        "env_steps": arm.env_steps,
        "disk_bytes": round(arm.bytes),
        "rungs": rungs,
        "whole": _forecast_data(arm.whole, None),
        "left": _forecast_data(arm.left, None),
    }


def _forecast_data(forecast: Forecast, profile: SlurmProfile | None) -> dict[str, object]:
    jobs = {"jobs": worker_jobs(forecast, profile)} if profile is not None else {}
    return {
        "segments": forecast.total.segments,
        "core_hours": forecast.total.seconds / 3600,
        "wall_hours": forecast.wall_seconds / 3600,
        "busy": forecast.busy,
        "peak_slots": forecast.peak,
        **jobs,
    }


def _print_plan(found: StudyEstimate, told: Sequence[str], profile: SlurmProfile | None) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    for arm in found.arms:
        console.print(_arm_heading(arm), style="bold")
        console.print(_arm_table(arm))
        console.print()
    for line in (*_totals(found, profile), "", *_assumptions(found)):
        console.print(line)
    for warning in told:
        console.print(f"\nWARNING {warning}", style="yellow", markup=False)


def _arm_heading(arm: ArmEstimate) -> str:
    trials, seeds = arm.arm.search.trials, len(arm.arm.seeds)
    return f"{arm.arm.study}/{arm.arm.name}: {trials:,} trials x {seeds} seeds, {arm.env_steps:,} env steps"


def _arm_table(arm: ArmEstimate) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    columns = ["rung", "depth", "segments", *(["left"] if arm.begun else []), "env steps", "per second", "a segment"]
    for name in (*columns, "core time", "disk"):
        table.add_column(name, justify="right")
    table.add_column("seconds are")
    for rung in arm.rungs:
        table.add_row(*_rung_row(arm, rung))
    whole, left = arm.whole, arm.left
    remaining = [f"{left.total.segments:,}"] if arm.begun else []
    table.add_row(
        *("all", "", f"{whole.total.segments:,}", *remaining, "", "", ""),
        *(_core_time(whole.total.seconds), _bytes(arm.bytes), ""),
    )
    return table


def _rung_row(arm: ArmEstimate, rung: RungEstimate) -> Iterator[str]:
    yield from (str(rung.rung), str(rung.depth), f"{rung.whole.segments:,}")
    if arm.begun:
        yield f"{rung.left.segments:,}"
    yield from (f"{rung.env_steps:,}", f"{rung.env_steps_per_second:,.0f}", duration(rung.segment_seconds))
    yield from (_core_time(rung.whole.seconds), _bytes(rung.segment_bytes * rung.whole.segments), rung.source.value)


def _totals(found: StudyEstimate, profile: SlurmProfile | None) -> Iterator[str]:
    if len(found.arms) > 1:
        alone = ", ".join(f"{arm.arm.name} {duration(arm.left.wall_seconds)}" for arm in found.arms)
        yield f"Each arm alone: {alone}"
    begun = any(arm.begun for arm in found.arms)
    steps, size = sum(arm.env_steps for arm in found.arms), sum(arm.bytes for arm in found.arms)
    yield f"In all: {_forecast(found.whole, profile)}, {steps:,} env steps, {_bytes(size)} on disk"
    if begun:
        yield f"Left:   {_forecast(found.left, profile)}"


def _forecast(forecast: Forecast, profile: SlurmProfile | None) -> str:
    total, slots = forecast.total, forecast.slots
    told = f"{total.segments:,} segments, {_core_time(total.seconds)} of core time"
    told += f", {duration(forecast.wall_seconds)} on {slots} slot{'s' * (slots > 1)} (busy {forecast.busy:.0%})"
    if profile is not None:
        gpus = f" with {profile.gpus} GPUs each" if profile.gpus else ""
        told += f", {worker_jobs(forecast, profile)} worker jobs{gpus}"
    return told


def _assumptions(found: StudyEstimate) -> Iterator[str]:
    sources = {rung.source for arm in found.arms for rung in arm.rungs}
    if Source.MEASURED in sources:
        yield "Measured: what this study's own segments took."
    if Source.SCALED in sources:
        yield "Scaled: rehearsed, times what measured rungs took by their rehearsal."
    if Source.REHEARSED in sources:
        yield (
            "Rehearsed: on one core of this machine, as it is now, with an untrained agent; averages over the"
            " study's own Sobol sequence of settings."
        )
    yield "Which configurations are promoted is drawn at random; nothing fails; no time is spent in a queue."


def _core_time(seconds: float) -> str:
    """In hours where there are many: that is what is paid for."""
    return f"{seconds / 3600:,.0f} h" if seconds >= 36000 else duration(seconds)


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
