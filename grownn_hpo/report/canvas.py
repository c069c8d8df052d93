"""The paper that the report's figures are drawn on: sizes, colours, panels, axes, legends.

Everything that is neither data nor paper is drawn in `INK`, so that a page can exchange it for its own text colour.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from grownn_hpo.report.record import ArmRecord

INK = "#1b1c1d"
WIDE, NARROW = 7.0, 3.4  # inches: a paper's text and a screen; a column of two, and a phone

SMALL = 7.0  # points

# Okabe and Ito (2008), told apart under every common form of colour blindness; their yellow is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STROKES = ("-", "--", "-.", ":")  # the next round of arms, once the colours are used up


class Drawn(NamedTuple):
    """An arm and how every figure draws it."""

    label: str
    record: ArmRecord
    colour: str
    stroke: str


class Tag(NamedTuple):
    """A word above the panels, at so many env steps."""

    env_steps: int
    text: str
    colour: str


def style() -> AbstractContextManager[None]:
    """The context in which the report's figures are drawn and saved."""
    return mpl.rc_context(
        {
            "font.size": 8,
            "axes.titlesize": 8,
            "legend.fontsize": SMALL,
            "legend.title_fontsize": SMALL,
            "xtick.labelsize": SMALL,
            "ytick.labelsize": SMALL,
            "axes.linewidth": 0.6,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "lines.linewidth": 1.5,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.unicode_minus": False,  # it would make every PDF embed a second font, which takes as long as the rest
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.alpha": 0.15,
            "grid.color": INK,
            "legend.frameon": False,
            "legend.borderaxespad": 0,
            "pdf.fonttype": 42,  # fonts are embedded whole, as TrueType: text stays text, and no publisher refuses it
            "svg.hashsalt": "grownn",  # the same figure, the same bytes
            **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
        }
    )


def drawn(records: Mapping[str, ArmRecord], among: Sequence[str] = ()) -> Iterator[Drawn]:
    """Each arm with its colour and stroke: the same in every figure that is told of the same arms."""
    pens = itertools.cycle(itertools.product(STROKES, COLOURS))
    for label, (stroke, colour) in zip(among or records, pens, strict=False):
        if label in records:
            yield Drawn(label, records[label], colour, stroke)


def shortened(label: str, longest: int = 28) -> str:
    """The label, its middle left out where it is too long for a legend."""
    return label if len(label) <= longest else f"{label[: longest - 9]}…{label[-8:]}"


def panels(
    inches: float, rows: int, *, height: float = 1.9, columns: int = 1, share: Literal["x", "y", "none"] = "none"
) -> tuple[Figure, list[Axes]]:
    """An empty figure and its panels, row by row from top to bottom."""
    figure = Figure(figsize=(inches, rows * height + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=share == "x", sharey=share == "y")
    return figure, list(axes.flat)


def returns_and_success(inches: float, *, success: bool) -> tuple[Figure, list[Axes]]:
    """A panel of returns, and below it one of success rates where the task knows success."""
    figure, axes = panels(inches, 2 if success else 1, height=1.9 if success else 2.4, share="x")
    axes[0].set_ylabel("mean return")
    if success:
        axes[1].set_ylabel("success rate")
        axes[1].set_ylim(-0.03, 1.03)
        axes[1].yaxis.set_major_formatter(PercentFormatter(1))
    return figure, axes


def empty(axis: Axes, why: str = "no trial is complete yet") -> None:
    """Says why a panel shows nothing."""
    width = int(axis.get_figure().get_figwidth() * 13)  # type: ignore[union-attr]
    axis.text(0.5, 0.5, textwrap.fill(why, width), transform=axis.transAxes, ha="center", va="center")
    axis.tick_params(left=False, labelleft=False)
    axis.grid(visible=False)


def env_steps_axis(axis: Axes, most: int, what: str) -> None:
    """Names the x axis, from 0 past `most`, and counts it in millions or thousands where there are that many."""
    unit, size = next(((u, s) for u, s in ((" (millions)", 10**6), (" (thousands)", 10**3)) if most >= s), ("", 1))
    axis.set_xlim(0, 1.02 * max(1, most))  # so that a mark at the end is whole
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2.5, 5, 10]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / size:g}"))
    axis.set_xlabel(what + unit)


def tags(axis: Axes, rows: Sequence[Sequence[Tag]]) -> None:
    """Writes each arm's row of tags above the axis, the first arm's on top."""
    height = 3.0
    for row in reversed(rows):
        for tag in row:
            axis.annotate(
                tag.text,
                (tag.env_steps, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, height),
                textcoords="offset points",
                ha="left",
                va="bottom",
                fontsize=SMALL,
                color=tag.colour,
            )
        height += 9.5 * max((tag.text.count("\n") + 1 for tag in row), default=0)


def legend(figure: Figure, handles: Sequence[Artist], reading: str | None = None) -> None:
    """Below the panels: what is what, under a line that says how to read it."""
    inches = figure.get_figwidth()
    below = figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=min(len(handles), 2 if inches > 6 else 1),
        title=textwrap.fill(reading, int(inches * 19)) if reading else None,
    )
    below.set_alignment("left")
