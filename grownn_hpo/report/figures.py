"""The report's figures, as matplotlib `Figure`s of a given width in inches; no state of pyplot is touched.

Draw and save them inside `canvas.style()`. Each takes the arms by their labels and copes with a study half done.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grownn_hpo.report import canvas
from grownn_hpo.report.canvas import INK, WIDE, Tag
from grownn_hpo.report.curves import LearningCurve, changes, learning_curve
from grownn_hpo.report.incumbent import Lead, Standing, outcomes, standings, trajectory
from grownn_hpo.report.record import ArmRecord
from grownn_hpo.report.statistics import bootstrap_band
from grownn_hpo.report.wording import count
from grownn_hpo.spec import Arm
from grownn_hpo.trial import Status, Trial

FEW_POINTS = 12  # up to so many evaluations, each is marked


def learning_curves(
    records: Mapping[str, ArmRecord],
    incumbents: Mapping[str, Trial | None],
    inches: float = WIDE,
    random_return: float | None = None,
    *,
    fresh: Mapping[str, ArmRecord] = MappingProxyType({}),
    among: Sequence[str] = (),
) -> Figure:
    """Each arm's incumbent configuration over total env steps: IQM over seeds, pointwise 95% bootstrap interval.

    Over the fresh seeds of its final evaluation where `fresh` has one, else over the search's. A curve ends with the
    last rung that its incumbent has completed. Dotted lines mark where an arm's network grows.
    """
    curves: dict[str, LearningCurve] = {}
    for label, record in records.items():
        trial = incumbents.get(label)
        if trial is None:
            continue
        again = learning_curve(fresh[label], Trial(1, len(fresh[label].arm.rungs))) if label in fresh else None
        found = again or learning_curve(record, trial)
        if found is not None:
            curves[label] = found
    success = any(curve.success_rates is not None for curve in curves.values())
    figure, axes = canvas.returns_and_success(inches, success=success)
    longest = max((record.arm.env_steps for record in records.values()), default=0)
    handles, tags = [], []
    for label, record, colour, stroke in canvas.drawn(records, among):
        trial, curve = incumbents.get(label), curves.get(label)
        said = "nothing to draw yet"
        if trial is not None and curve is not None:
            seeds = curve.returns.shape[1]
            kind = "fresh seed" if label in fresh else "seed"
            said = f"configuration {trial.config} ({count(seeds, kind)}{', no interval' if seeds == 1 else ''})"
            _draw(axes, curve, colour, stroke)
            tags.append(_mark_changes(axes, record.arm, trial.rung, colour, inches * 0.85 / longest))
        handles.append(Line2D([], [], color=colour, ls=stroke, lw=1.5, label=f"{canvas.shortened(label)}: {said}"))
    if random_return is not None:
        axes[0].axhline(random_return, color=INK, lw=1, alpha=0.6)
        handles.append(Line2D([], [], color=INK, lw=1, alpha=0.6, label="a random policy"))
    if not curves:
        canvas.empty(axes[0])
    canvas.env_steps_axis(axes[-1], longest, "total env steps of a run")
    canvas.tags(axes[0], tags)
    reading = "Lines: interquartile mean over seeds. Shaded: its 95% bootstrap interval at each point."
    canvas.legend(figure, handles, f"{reading} Dotted: the network grows to the depth above." if any(tags) else reading)
    return figure


def incumbent_trajectories(
    records: Mapping[str, ArmRecord], inches: float = WIDE, *, among: Sequence[str] = ()
) -> Figure:
    """The incumbent's mean return over the env steps of all segments so far, as if they ran in ladder order.

    Solid at the arm's last rung; thin and dashed while only lower rungs were complete.
    """
    paths = {label: trajectory(record) for label, record in records.items()}
    success = any(lead.standing.success_rate is not None for path in paths.values() for lead in path)
    figure, axes = canvas.returns_and_success(inches, success=success)
    handles, lower = [], False
    for label, record, colour, stroke in canvas.drawn(records, among):
        path = paths[label]
        said = canvas.shortened(label) if path else f"{canvas.shortened(label)}: nothing to draw yet"
        handles.append(Line2D([], [], color=colour, ls=stroke, lw=1.5, label=said))
        for lead, following in itertools.zip_longest(path, path[1:]):
            last = lead.standing.trial.rung == len(record.arm.rungs)
            lower = lower or not last
            until = following.env_steps if following else record.env_steps_spent
            _step(axes, lead, following, until, colour, stroke if last else None)
    if lower:
        handles.append(
            Line2D([], [], color=INK, lw=1, ls=(0, (4, 2)), label="best at a lower rung, after less training")
        )
    if not any(paths.values()):
        canvas.empty(axes[0])
    spent = max((record.env_steps_spent for record in records.values()), default=0)
    canvas.env_steps_axis(axes[-1], spent, "env steps spent by the arm's search")
    canvas.legend(figure, handles, "Each dot: a new incumbent, its mean over the search's seeds.")
    return figure


def survivors(
    records: Mapping[str, ArmRecord],
    incumbents: Mapping[str, Trial | None],
    inches: float = WIDE,
    *,
    among: Sequence[str] = (),
) -> Figure:
    """Every completed trial's mean return, about where its rung ends; lines follow the promoted configurations."""
    figure, axes = canvas.panels(inches, max(1, len(records)), height=1.9)
    longest = max((record.arm.env_steps for record in records.values()), default=1)
    terse = False
    for axis, (label, record, colour, _) in zip(axes, canvas.drawn(records, among), strict=False):
        ends = [record.arm.env_steps_before(rung + 1) for rung in range(1, len(record.arm.rungs) + 1)]
        narrowest = min(rung.env_steps for rung in record.arm.rungs)
        strip = min(0.5 * narrowest, 0.12 * longest)
        places = {t: (ends[t.rung - 1] + _spread(t) * strip, s.mean_return) for t, s in standings(record).items()}
        steps = [(at, places[up]) for t, at in places.items() if (up := Trial(t.config, t.rung + 1)) in places]
        axis.add_collection(LineCollection(steps, colors=colour, linewidths=0.6, alpha=0.45))
        leader = incumbents.get(label)
        way = [at for t, at in sorted(places.items()) if leader and t.config == leader.config and t.rung <= leader.rung]
        if places:
            x, y = np.array(list(places.values())).T
            axis.scatter(x, y, s=9, color=colour, alpha=0.75, linewidths=0, zorder=2)
            axis.plot(*np.array(way).reshape(-1, 2).T, "-o", color=INK, lw=1.3, ms=4, zorder=3)
        else:
            canvas.empty(axis)
        axis.set_title(canvas.shortened(label) + ("" if len(ends) > 1 else ", a single rung"), color=colour)
        axis.set_ylabel("mean return")
        axis.set_xlim(0, 1.12 * longest)
        roomy = inches * narrowest / longest > 0.62
        terse = terse or not roomy
        axis.set_xticks(ends, _rung_labels(record, roomy=roomy))
        axis.grid(visible=False, axis="x")
    axes[-1].set_xlabel("rungs, placed where they end in total env steps")
    reading = "r: rung, d: depth; below, trials done and (with a minus) failed." if terse else None
    canvas.legend(
        figure,
        [
            Line2D([], [], color=INK, marker="o", ms=4, lw=0.6, alpha=0.5, label="a trial; promoted along the line"),
            Line2D([], [], color=INK, marker="o", ms=4, lw=1.3, label="the incumbent's way"),
        ],
        reading,
    )
    return figure


def _draw(axes: list[Axes], curve: LearningCurve, colour: str, stroke: str) -> None:
    marker = "o" if len(curve.env_steps) <= FEW_POINTS else ""
    for axis, values in zip(axes, (curve.returns, curve.success_rates), strict=False):
        if values is None:
            continue
        band = bootstrap_band(values)
        axis.plot(curve.env_steps, band.value, color=colour, ls=stroke, lw=1.5, marker=marker, ms=3)
        if band.low is not None and band.high is not None:
            axis.fill_between(curve.env_steps, band.low, band.high, color=colour, alpha=0.2, linewidth=0)


def _mark_changes(axes: list[Axes], arm: Arm, rung: int, colour: str, inches_per_step: float) -> list[Tag]:
    """Dotted lines where the network grew or the environment changed, up to `rung`; returns what stands above them."""
    found = [change for change in changes(arm) if change.env_steps <= arm.env_steps_before(rung)]
    if not found:
        return []
    borders = [0, *(change.env_steps for change in found), arm.env_steps]
    roomy = min(np.diff(borders)) * inches_per_step > 0.55
    row = [Tag(0, f"depth {arm.rungs[0].depth}" if roomy else f"{arm.rungs[0].depth}", colour)]
    for change in found:
        for axis in axes:
            axis.axvline(change.env_steps, color=colour, ls=":", lw=1.2, alpha=0.8)
        depth = [f"depth {change.depth}" if roomy else f"{change.depth}"] if change.grew else []
        env = [canvas.shortened(change.env, 20)] if change.env else []
        row.append(Tag(change.env_steps, "\n".join(depth + env), colour))
    return row


def _step(axes: list[Axes], lead: Lead, following: Lead | None, until: int, colour: str, stroke: str | None) -> None:
    """A lead's level until it ends and the way to the next one's; without a stroke it is of a lower rung."""
    line: dict[str, Any] = {"lw": 1.5, "ls": stroke} if stroke else {"lw": 1, "ls": (0, (4, 2))}
    after = _shown(following.standing) if following else (None, None)
    for axis, value, next_value in zip(axes, _shown(lead.standing), after, strict=False):
        if value is None:
            continue
        axis.plot([lead.env_steps, until], [value, value], color=colour, **line)
        axis.plot(lead.env_steps, value, "o", color=colour, ms=4 if stroke else 2.5)
        if next_value is not None:
            axis.plot([until, until], [value, next_value], color=colour, lw=0.8, alpha=0.5)


def _shown(standing: Standing) -> tuple[float | None, float | None]:
    return standing.mean_return, standing.success_rate


def _rung_labels(record: ArmRecord, *, roomy: bool) -> list[str]:
    """What a rung is and how many trials it has, complete and failed (diverged or crashed)."""
    ended = outcomes(record)
    labels = []
    for rung, declared in enumerate(record.arm.rungs, 1):
        statuses = [outcome.status for trial, outcome in ended.items() if trial.rung == rung]
        done = statuses.count(Status.COMPLETED)
        failed = len(statuses) - done
        lines = [f"rung {rung}", f"depth {declared.depth}"] if roomy else [f"r{rung}", f"d{declared.depth}"]
        lines += [f"{done} done"] if roomy else [f"{done}"]
        lines += [f"{failed} failed" if roomy else f"-{failed}"] if failed else []
        labels.append("\n".join(lines))
    return labels


def _spread(trial: Trial) -> float:
    """Where in its rung's strip a configuration stands, -0.5 to 0.5: the golden ratio keeps neighbours apart."""
    return (trial.config * 0.6180339887498949) % 1 - 0.5
