from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor

import pytest
from matplotlib.figure import Figure

from grownn_hpo.report import drawing
from grownn_hpo.report.drawing import drawn


def line(inches: float) -> Figure:
    figure = Figure(figsize=(inches, 1), layout="constrained")
    figure.subplots().plot([0, 1])
    return figure


def test_a_figure_is_drawn_where_a_fork_is_killed() -> None:
    this = os.getpid()

    def deadly(inches: float) -> Figure:
        if os.getpid() != this:
            os.kill(os.getpid(), signal.SIGKILL)
        return line(inches)

    assert drawn({"a": line, "b": deadly}, processes=2) == drawn({"a": line, "b": line})


def test_there_are_no_more_forks_than_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Pool(ProcessPoolExecutor):
        def __init__(self, processes: int, *rest: object) -> None:
            asked.append(processes)
            super().__init__(processes, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(drawing, "ProcessPoolExecutor", Pool)
    assert set(drawn({"a": line}, processes=128)) == {"a"}
    assert asked == [2]  # wide and narrow
    assert drawn({}, processes=128) == {}


def test_what_drawing_raises_comes_out_of_a_fork() -> None:
    def broken(inches: float) -> Figure:
        raise ValueError(f"{inches} inches")

    with pytest.raises(ValueError, match=r"7\.0 inches"):
        drawn({"a": line, "b": broken}, processes=2)
