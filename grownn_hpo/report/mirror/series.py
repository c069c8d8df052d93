"""What one lineage logged, as named scalars over env steps; the names are CleanRL's where it has one.

`charts/` is training: `episodic_return` the mean over the recent episodes, `SPS` env steps per second, `depth` the
network's. `losses/` are an update's, the mean over its minibatches. `eval/` is the deterministic policy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from grownn_hpo.report.mirror.view import ArmView
from grownn_hpo.store.curve import Tick
from grownn_hpo.trial import CurvePoint, Segment

RETURN = "eval/episodic_return"
SUCCESS = "eval/success_rate"
LOSSES = {
    "losses/policy_loss": "policy_loss",
    "losses/value_loss": "value_loss",
    "losses/entropy": "entropy",
    "losses/approx_kl": "approx_kl",
    "losses/clipfrac": "clip_fraction",
}
"""The tags, and what each is called in a `Tick`."""


class Scalar(NamedTuple):
    """One value at so many env steps of the lineage's total, after so many seconds of its training."""

    env_steps: int
    seconds: float
    tag: str
    value: float


def lineages(arm: ArmView) -> Iterator[tuple[int, int, list[Scalar]]]:
    """Configuration, seed and scalars of every lineage with a finished segment; the scalars by env steps.

    Values that are not finite are left out.
    """
    finished = {result.segment for result in arm.record.results}
    for config, seed in sorted({(segment.config, segment.seed) for segment in finished}):
        scalars: list[Scalar] = []
        before = 0.0
        for rung in range(1, len(arm.record.arm.rungs) + 1):
            segment = Segment(config, rung, seed)
            if segment in finished:
                own = [s for s in _segment(arm, segment) if math.isfinite(s.value)]
                scalars += [s._replace(seconds=before + s.seconds) for s in sorted(own)]
                before += arm.record.seconds.get(segment, 0.0)
        yield config, seed, scalars


def _segment(arm: ArmView, segment: Segment) -> Iterator[Scalar]:
    """A segment's scalars, `seconds` from its own start."""
    terms, ticks = arm.record.arm, arm.ticks.get(segment, ())
    start = terms.env_steps_before(segment.rung)
    points = arm.record.curves.get(segment, ())
    end = max([start, *(p.env_steps for p in points), *(t.env_steps for t in ticks)])
    took = arm.record.seconds.get(segment, 0.0)
    axis = [(start, 0.0), *((t.env_steps, t.seconds) for t in ticks), (end, took)]
    known_steps, known_seconds = zip(*axis, strict=True)

    def at(env_steps: int) -> float:
        return float(np.interp(env_steps, known_steps, known_seconds))

    for env_steps in (start, end):
        yield Scalar(env_steps, at(env_steps), "charts/depth", terms.rungs[segment.rung - 1].depth)
    yield from _training(ticks)
    for point in points:
        yield from _evaluation(point, at(point.env_steps))


def _training(ticks: Sequence[Tick]) -> Iterator[Scalar]:
    for tick in ticks:
        if tick.mean_return is not None:
            yield Scalar(tick.env_steps, tick.seconds, "charts/episodic_return", tick.mean_return)
        for tag, name in LOSSES.items():
            if (value := getattr(tick, name)) is not None:
                yield Scalar(tick.env_steps, tick.seconds, tag, value)
    for before, tick in pairwise(ticks):
        if tick.seconds > before.seconds:
            speed = (tick.env_steps - before.env_steps) / (tick.seconds - before.seconds)
            yield Scalar(tick.env_steps, tick.seconds, "charts/SPS", speed)


def _evaluation(point: CurvePoint, seconds: float) -> Iterator[Scalar]:
    yield Scalar(point.env_steps, seconds, RETURN, point.mean_return)
    yield Scalar(point.env_steps, seconds, "eval/episodic_return_std", point.std_return)
    yield Scalar(point.env_steps, seconds, "eval/episodic_length", point.mean_length)
    if point.success_rate is not None:
        yield Scalar(point.env_steps, seconds, SUCCESS, point.success_rate)
