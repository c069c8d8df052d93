"""Figures drawn, laid out and saved in every form that a report needs, by several processes at once."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from grownn_hpo.report import canvas

Draw = Callable[[float], Figure]

# How figures are saved: nothing changes from run to run, so the same figure gives the same bytes.
PNG: dict[str, Any] = {"format": "png", "dpi": 200}
PDF: dict[str, Any] = {"format": "pdf", "metadata": {"CreationDate": None}}
SVG: dict[str, Any] = {
    "format": "svg",
    "transparent": True,  # the page has its own background
    "metadata": {"Date": None, "Creator": None, "Format": None, "Type": None},
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure in all its forms: PNG, as wide as a paper's text or a slide; PDF, as wide as a column of two; SVG text,
    for wide and for narrow screens."""

    png: bytes
    pdf: bytes
    wide: str
    narrow: str


class _Job(NamedTuple):
    draw: Draw
    inches: float
    forms: tuple[dict[str, Any], ...]


def drawn(figures: Mapping[str, Draw], processes: int = 1) -> dict[str, Picture]:
    """Every figure in all its forms, by the same names and to the same bytes from any number of processes.

    Several processes are forks of this one, which must have no other threads at work then. Where one of them is
    killed, this one draws instead.
    """
    jobs = []
    for draw in figures.values():
        jobs += [_Job(draw, canvas.WIDE, (PNG, SVG)), _Job(draw, canvas.NARROW, (PDF, SVG))]
    with canvas.style():
        forks = min(processes, len(jobs))  # a pool of forks starts them all at once, however few the jobs
        saved = iter(_by_forks(jobs, forks) if forks > 1 else map(_saved, jobs))
        pictures = {}
        for name in figures:
            (png, wide), (pdf, narrow) = next(saved), next(saved)
            pictures[name] = Picture(png, pdf, wide.decode(), narrow.decode())
    return pictures


_jobs: Sequence[_Job] = ()  # of a fork: figures hold what cannot be sent from process to process


def _by_forks(jobs: Sequence[_Job], processes: int) -> list[list[bytes]]:
    try:
        with ProcessPoolExecutor(processes, get_context("fork"), _begin, (jobs,)) as pool:
            return list(pool.map(_numbered, range(len(jobs))))
    except BrokenProcessPool:
        return [_saved(job) for job in jobs]


def _begin(jobs: Sequence[_Job]) -> None:
    global _jobs
    _jobs = jobs


def _numbered(index: int) -> list[bytes]:
    return _saved(_jobs[index])


def _saved(job: _Job) -> list[bytes]:
    """One figure in several formats, laid out once."""
    figure = job.draw(job.inches)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    saved = []
    for form in job.forms:
        content = io.BytesIO()
        figure.savefig(content, **form)
        saved.append(content.getvalue())
    return saved
