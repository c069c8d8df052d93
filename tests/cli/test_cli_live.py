"""What a person sees: on a terminal a view redrawn in place, in a log file plain lines."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest
from rich.console import Console

from grownn_hpo.cli import live
from grownn_hpo.cli.evaluating import parse_seeds
from grownn_hpo.errors import InputError
from grownn_hpo.report.status import ArmStatus, Leader, RungStatus, Running
from grownn_hpo.trial import Segment

STATUS = ArmStatus(
    study="room",
    arm="grown-2",
    complete=False,
    trials=12,
    trials_known=5,
    rungs=(RungStatus(1, 1, 500_000, 8, 4, 1), RungStatus(2, 2, 500_000, 4, 1, 0)),
    running=(
        Running(Segment(3, 2, 1), 125_000, 500_000, 2345.6, 0.5),
        Running(Segment(4, 1, 0), 0, 500_000, None, None),
    ),
    incumbent=Leader(2, 2, 0.875, 0.9),
    failures=("c0001/s0/r1: SIGSEGV",),
    seconds_left=3725.0,
    driven_by="process 1 on here, since now",
)


def shown(status: ArmStatus, width: int = 110) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(live.status_view(status))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_view_says_everything() -> None:
    text = shown(STATUS)
    for piece in (
        "room/grown-2: 5/12 trials, 2 running",
        "incumbent c0002 (rung 2): mean return 0.875, success 90%",
        "about 1:02:05 left",
        "4/8",
        "1/4",
        "c0003/s1/r2",
        "125,000/500,000",
        "2,346",
        "latest failure: c0001/s0/r1: SIGSEGV",
    ):
        assert piece in text


def test_a_study_that_nobody_drives_and_one_that_is_done_say_so() -> None:
    assert "not running" in live.status_line(replace(STATUS, driven_by=None))
    assert live.status_line(replace(STATUS, complete=True)).endswith("complete")


def test_many_running_segments_are_counted_rather_than_listed() -> None:
    many = tuple(replace(STATUS.running[0], segment=Segment(n, 1, 0)) for n in range(1, 41))
    assert "and 24 more" in shown(replace(STATUS, running=many))


def test_a_log_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr(live, "LOG_SECONDS", 0.02)
    console = Console(file=io.StringIO(), width=200, highlight=False)
    with live.Display(console, lambda: [STATUS]) as display:
        display.line("c0001/s0/r1 [completed]")
        time.sleep(0.3)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "c0001/s0/r1 [completed]\n" in text
    assert text.count("room/grown-2: 5/12 trials") > 1
    assert "\x1b" not in text


def test_a_terminal_is_redrawn_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "REFRESH_SECONDS", 0.01)
    console = Console(file=io.StringIO(), width=110, force_terminal=True)
    with live.Display(console, lambda: [STATUS]):
        time.sleep(0.3)
    assert "\x1b[" in console.file.getvalue()  # type: ignore[attr-defined]


def test_seeds_are_read() -> None:
    assert parse_seeds("100-103") == (100, 101, 102, 103)
    assert parse_seeds("7, 9-10") == (7, 9, 10)


@pytest.mark.parametrize("text", ["", "a", "5-3", "1-", "-1", "1,,2", "1,1", "0-100000", "1.5", "9" * 30])
def test_what_names_no_seeds_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--seeds"):
        parse_seeds(text)
