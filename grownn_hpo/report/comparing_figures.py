"""The figures that set arms against each other: performance profiles and probabilities of improvement.

As `figures`: matplotlib `Figure`s of a given width in inches, to be drawn and saved inside `canvas.style()`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from grownn_hpo.report import canvas
from grownn_hpo.report.canvas import INK, WIDE
from grownn_hpo.report.comparison import Pair, Question
from grownn_hpo.report.statistics import Estimate, performance_profile
from grownn_hpo.report.wording import count

TAUS = 201


def performance_profiles(question: Question, inches: float = WIDE, *, among: Sequence[str] = ()) -> Figure:
    """Of each contender's runs, the share that ends above a return, for every return; 95% bootstrap intervals."""
    figure, (axis,) = canvas.panels(inches, 1, height=2.2)
    scores = [value for contender in question.contenders for value in contender.scores]
    low, high = min(scores), max(scores)
    margin = 0.04 * (high - low or max(1.0, abs(high)))
    taus = np.linspace(low - margin, high + margin, TAUS)
    handles = []
    pens = {drawn.label: drawn for drawn in canvas.drawn(question.arms, among)}
    for contender in question.contenders:
        pen = pens[contender.label]
        band = performance_profile(contender.scores, taus)
        axis.plot(taus, band.value, color=pen.colour, ls=pen.stroke, drawstyle="steps-pre")
        if band.low is not None and band.high is not None:
            axis.fill_between(taus, band.low, band.high, color=pen.colour, alpha=0.18, linewidth=0, step="pre")
        said = f"{canvas.shortened(contender.label)} ({count(len(contender.scores), 'run')})"
        handles.append(Line2D([], [], color=pen.colour, ls=pen.stroke, label=said))
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlim(taus[0], taus[-1])
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.set_ylabel("share of runs above it")
    axis.set_xlabel("mean return of a run's last evaluation")
    canvas.legend(figure, handles, "Further right and higher is better. Shaded: 95% bootstrap interval at each return.")
    return figure


def improvement(
    pairs: Sequence[Pair], across: Sequence[tuple[str, str, int, Estimate]] = (), inches: float = WIDE
) -> Figure:
    """The probability that a run of one arm beats a run of another, with 95% bootstrap intervals; 1/2 is a tie."""
    rows = [(pair.one.label, pair.other.label, pair.improvement) for pair in pairs]
    rows += [(one, f"{other}, over {tasks} tasks", estimate) for one, other, tasks, estimate in across]
    figure, (axis,) = canvas.panels(inches, 1, height=0.3 + 0.36 * len(rows))
    longest = 28 if inches > 6 else 18
    for at, (_, _, estimate) in enumerate(rows):
        if estimate.low is not None and estimate.high is not None:
            axis.plot([estimate.low, estimate.high], [at, at], color=canvas.COLOURS[0], lw=4, alpha=0.35)
        axis.plot(estimate.value, at, "o", color=canvas.COLOURS[0], ms=5)
    axis.axvline(0.5, color=INK, lw=0.8, ls=":")
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    names = [f"{canvas.shortened(a, longest)}\nover {canvas.shortened(b, longest)}" for a, b, _ in rows]
    axis.set_yticks(range(len(rows)), names)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("probability that its run returns more")
    return figure
