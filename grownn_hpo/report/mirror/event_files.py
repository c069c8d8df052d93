"""TensorBoard's event files: one run per lineage, and HParams, where the seeds of a configuration make one group.

Written with TensorBoard's own messages and record format. The clock of an event counts the lineage's seconds from 0:
what TensorBoard calls *relative* is the time that training took.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from grownn_hpo.report.mirror.series import RETURN, SUCCESS, Scalar, lineages
from grownn_hpo.report.mirror.view import ArmView

EVENTS = "events.out.tfevents.0.grownn"
"""An event file's name: TensorBoard asks for `tfevents` in it, and reads nothing else from it."""


def write_tensorboard(arms: Sequence[ArmView], folder: Path) -> None:
    """Writes a run `arm/c0042/s3` for every lineage with a finished segment, and HParams' description of them all."""
    from tensorboard.plugins.hparams import summary_v2 as hparams

    _write_events(folder, [(0.0, 0, hparams.hparams_config_pb(*_hparams_described(arms), time_created_secs=0.0))])
    for arm in arms:
        highest = {course.config: course.highest for course in arm.courses}
        for config, seed, scalars in lineages(arm):
            reached = highest[config]
            numbers = {"arm": arm.name, "rung": reached.trial.rung if reached else 0}
            group = f"{arm.name}/c{config:04d}"
            values = {**arm.record.configurations[config], **numbers}
            session = hparams.hparams_pb(values, trial_id=group, start_time_secs=0.0)
            _write_events(folder / group / f"s{seed}", [(0.0, 0, session), *_summaries(scalars)])


def _hparams_described(arms: Sequence[ArmView]) -> tuple[list[Any], list[Any]]:
    """Every hyperparameter with its domain, and the metrics: of each lineage the last evaluation counts."""
    from tensorboard.plugins.hparams import summary_v2 as hparams

    domains: dict[str, Any] = {}
    for arm in arms:
        for entry in cast("Sequence[Mapping[str, Any]]", arm.record.arm.space["hyperparameters"]):
            domains.setdefault(entry["name"], _domain(entry))
    domains["arm"] = hparams.Discrete([arm.name for arm in arms])
    domains["rung"] = hparams.IntInterval(0, max(len(arm.record.arm.rungs) for arm in arms))
    rated = any(p.success_rate is not None for arm in arms for curve in arm.record.curves.values() for p in curve)
    metrics = [hparams.Metric(RETURN, display_name="mean return")]
    metrics += [hparams.Metric(SUCCESS, display_name="success rate")] if rated else []
    return [hparams.HParam(name, domain) for name, domain in domains.items()], metrics


def _domain(entry: Mapping[str, Any]) -> Any:
    """HParams' domain for an entry of a search space; None where it has no domain of that kind."""
    from tensorboard.plugins.hparams import summary_v2 as hparams

    choices = entry.get("choices") or entry.get("sequence") or ([entry["value"]] if "value" in entry else None)
    if choices is not None:
        return hparams.Discrete(choices) if len({type(choice) for choice in choices}) == 1 else None
    if entry["type"].endswith("_int"):
        return hparams.IntInterval(int(entry["lower"]), int(entry["upper"]))
    return hparams.RealInterval(float(entry["lower"]), float(entry["upper"]))


def _summaries(scalars: Sequence[Scalar]) -> Iterator[tuple[float, int, Any]]:
    """One event for all values at the same env steps and second."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    for (env_steps, seconds), together in groupby(scalars, key=lambda s: (s.env_steps, s.seconds)):
        values = [Summary.Value(tag=s.tag, simple_value=s.value) for s in together]
        yield seconds, env_steps, Summary(value=values)


def _write_events(folder: Path, summaries: Sequence[tuple[float, int, Any]]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / EVENTS).open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=0.0, file_version="brain.Event:2").SerializeToString())
        for seconds, env_steps, summary in summaries:
            writer.write(Event(wall_time=seconds, step=env_steps, summary=summary).SerializeToString())
