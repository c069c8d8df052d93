"""The figures that tell how a search went: rung ranks, importance, parallel coordinates; a panel for each arm.

As `figures`: matplotlib `Figure`s of a given width in inches, to be drawn and saved inside `canvas.style()`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from grownn_hpo.report import canvas
from grownn_hpo.report.canvas import INK, WIDE, Drawn
from grownn_hpo.report.foresight import Foresight
from grownn_hpo.report.importance import Importance
from grownn_hpo.report.incumbent import standings
from grownn_hpo.report.parameters import axes_of, placed
from grownn_hpo.report.record import ArmRecord
from grownn_hpo.report.wording import number
from grownn_hpo.trial import Trial

FAINTEST = 0.15
"""The opacity of the worst of a ranking; the best is opaque. It reads the same on white and on black."""


def rung_ranks(
    records: Mapping[str, ArmRecord],
    found: Mapping[str, Foresight],
    incumbents: Mapping[str, Trial | None],
    inches: float = WIDE,
    *,
    among: Sequence[str] = (),
) -> Figure:
    """The ranks, at every rung, of the configurations that completed the last one; a line follows each.

    Below each rung stands how its ranks correlate with the last's (Spearman), with a 95% interval.
    """
    shown = {label: records[label] for label in found}
    figure, axes = canvas.panels(inches, len(shown), height=2.2)
    for axis, drawn in zip(axes, canvas.drawn(shown, among), strict=True):
        ranking, leader = found[drawn.label], incumbents.get(drawn.label)
        rungs = np.arange(1, len(ranking.ranks) + 1)
        most = len(ranking.configurations)
        for config, ranks in zip(ranking.configurations, ranking.ranks.T, strict=True):
            if leader is not None and leader.config == config:
                axis.plot(rungs, ranks, "-o", color=INK, lw=1.6, ms=3.5, zorder=3)
            else:
                opacity = _opacity(ranks[-1] - 1, most)
                axis.plot(rungs, ranks, "-o", color=drawn.colour, alpha=opacity, lw=1, ms=2.5, zorder=2)
        axis.set_ylim(most + 0.5, 0.5)
        axis.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axis.set_ylabel("rank (1 is best)")
        axis.set_xlim(0.8, len(rungs) + 0.2)
        below = ["" if e is None else f"\n{_correlated(e.value, e.low, e.high)}" for e in ranking.correlations]
        axis.set_xticks(rungs, [f"rung {rung}{text}" for rung, text in zip(rungs, [*below, ""], strict=True)])
        axis.set_title(f"{canvas.shortened(drawn.label)}: {most} that completed rung {len(rungs)}", color=drawn.colour)
        axis.grid(visible=False, axis="y")
    canvas.legend(
        figure,
        [
            Line2D([], [], color=INK, marker="o", ms=3, lw=1, alpha=0.4, label="strong: best at the last rung"),
            Line2D([], [], color=INK, marker="o", ms=3.5, lw=1.6, label="the incumbent"),
        ],
        "\N{GREEK SMALL LETTER RHO}: Spearman's correlation with the last rung's ranks, 95% interval.",
    )
    return figure


def importances(
    records: Mapping[str, ArmRecord],
    found: Mapping[str, Sequence[Importance]],
    inches: float = WIDE,
    *,
    among: Sequence[str] = (),
) -> Figure:
    """What share of the returns' variance each hyperparameter explains alone (fANOVA); a bar per rung that can say.

    Lines: what eight of ten trees of the forest say.
    """
    rows = {label: [each for each in found[label] if each.shares is not None] for label in found}
    shown = {label: records[label] for label in rows if rows[label]}
    figure, axes = canvas.panels(inches, len(shown), height=1.9, share="x")
    for axis, drawn in zip(axes, canvas.drawn(shown, among), strict=True):
        _importance(axis, drawn, rows[drawn.label])
    axes[-1].set_xlabel("share of variance explained alone")
    return figure


def _importance(axis: Axes, drawn: Drawn, found: Sequence[Importance]) -> None:
    names = [share.name for share in found[0].shares or ()]
    thick = 0.8 / len(found)
    for i, each in enumerate(found):
        shares = {share.name: share for share in each.shares or ()}
        at = np.arange(len(names) + 1) + (i - (len(found) - 1) / 2) * thick
        values = [shares[name].value if name in shares else 0.0 for name in names] + [each.together]
        solid = 0.85 if i == 0 else 0.4
        label = f"rung {each.rung}: {each.configurations} configurations, R² {each.fit:.2f}"
        axis.barh(at, values, 0.9 * thick, color=drawn.colour, alpha=solid, label=label)
        for y, name in zip(at, names, strict=False):
            if name in shares:
                axis.plot([shares[name].low, shares[name].high], [y, y], color=INK, lw=0.8)
    axis.set_yticks(range(len(names) + 1), [*(canvas.shortened(name, 22) for name in names), "only together"])
    axis.set_ylim(len(names) + 0.6, -0.6)
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.tick_params(axis="x", labelbottom=True)
    axis.grid(visible=False, axis="y")
    axis.set_title(canvas.shortened(drawn.label), color=drawn.colour)
    axis.legend(loc="lower right", fontsize=canvas.SMALL)


def parallel_coordinates(
    records: Mapping[str, ArmRecord],
    incumbents: Mapping[str, Trial | None],
    inches: float = WIDE,
    *,
    among: Sequence[str] = (),
) -> Figure:
    """Every configuration that completed rung 1 as a line through its hyperparameters to its mean return there."""
    figure, axes = canvas.panels(inches, len(records), height=2.1)
    for axis, drawn in zip(axes, canvas.drawn(records, among), strict=True):
        _parallel(axis, drawn, incumbents.get(drawn.label), inches)
    canvas.legend(
        figure,
        [
            Line2D([], [], color=INK, lw=1, alpha=0.4, label="strong: best at rung 1"),
            Line2D([], [], color=INK, lw=1.6, label="the incumbent"),
        ],
        "A line breaks where its configuration does not use the hyperparameter.",
    )
    return figure


def _parallel(axis: Axes, drawn: Drawn, leader: Trial | None, inches: float) -> None:
    record = drawn.record
    done = [s for trial, s in standings(record).items() if trial.rung == 1]
    tried = [record.configurations.get(s.trial.config, {}) for s in done]
    columns = axes_of(record.arm.space, tried)
    returns = np.array([s.mean_return for s in done])
    low, span = returns.min(), np.ptp(returns) or 1.0
    places = np.column_stack([placed(columns, tried), (returns - low) / span])
    places[places < 0] = np.nan
    at = np.arange(len(columns) + 1)
    for worse, i in enumerate(np.argsort(returns)):  # the best is drawn last
        if leader is not None and done[i].trial.config == leader.config:
            axis.plot(at, places[i], color=INK, lw=1.6, zorder=3)
        else:
            opacity = _opacity(len(done) - 1 - worse, len(done))
            axis.plot(at, places[i], color=drawn.colour, alpha=opacity, lw=0.8, zorder=2)
    axis.add_collection(LineCollection([np.array([(x, 0), (x, 1)]) for x in at], colors=INK, linewidths=0.6, zorder=4))
    ends = [(0.0, number(low, [low + span])), (1.0, number(low + span, [low]))]
    for x, ticks in zip(at, [*(column.ticks() for column in columns), ends], strict=True):
        for y, text in ticks:
            outside = x == at[-1]
            axis.annotate(
                canvas.shortened(text, 10),
                (x, y),
                xytext=(3 if outside else -2, 0),
                textcoords="offset points",
                ha="left" if outside else "right",
                va="center",
                fontsize=canvas.SMALL - 1,
                zorder=5,
            )
    names = [*(canvas.shortened(column.name, 18) for column in columns), "return, rung 1"]
    tilted = inches < 0.85 * len(names)
    axis.set_xticks(at, names, rotation=30 if tilted else 0, ha="right" if tilted else "center")
    axis.set_yticks([])
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.35, at[-1] + 0.35)
    axis.set_ylim(-0.06, 1.06)
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)
    axis.set_title(f"{canvas.shortened(drawn.label)}: {len(done)} configurations", color=drawn.colour)


def _opacity(better: int, of: int) -> float:
    """That of one among `of` to which so many are better; falling fast, so that the best stand out among many."""
    return FAINTEST + (1 - FAINTEST) * (1 - better / max(1, of - 1)) ** 2


def _correlated(value: float, low: float | None, high: float | None) -> str:
    return f"\N{GREEK SMALL LETTER RHO} = {value:.2f}\n[{low:.2f}, {high:.2f}]"
