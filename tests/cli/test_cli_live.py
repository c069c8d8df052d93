"""What a person sees: on a terminal a view redrawn in place, in a log file plain lines."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest
from rich.console import Console

from grownn_hpo.cli import lines, live
from grownn_hpo.cli.evaluating import parse_seeds
from grownn_hpo.cli.view import Overview
from grownn_hpo.errors import InputError
from grownn_hpo.report.status import ArmStatus, FailureStatus, Leader, RungStatus, Running
from grownn_hpo.search.ladder import RungProgress
from grownn_hpo.trial import Segment

NOW = 1_800_000_000.0
LEARNING = (None, None, *(x / 10 for x in range(10)), *[None] * 36)
STATUS = ArmStatus(
    study="room",
    arm="grown-2",
    folder="results/room/grown-2",
    evaluation=False,
    complete=False,
    trials=12,
    trials_known=5,
    rungs=(RungStatus(1, 1, 500_000, 8, 4, 1), RungStatus(2, 2, 500_000, 4, 1, 0)),
    brackets=(
        RungProgress(1, 1, 4, 4, 1, 0),
        RungProgress(1, 2, 2, 1, 0, 0),
        RungProgress(2, 1, 4, 0, 0, 0),
        RungProgress(2, 2, 2, 0, 0, 0),
    ),
    running=(
        Running(
            Segment(3, 2, 1), 1, 125_000, 500_000, 2345.6, 0.5, (None, None, *(x / 10 for x in range(10)), *[None] * 36)
        ),
        Running(Segment(4, 1, 0), 2, 0, 500_000, None, None, (None,) * 48),
    ),
    incumbent=Leader(2, 2, 0.875, 0.9, (0.8, 0.95), {"learning_rate": 0.00123456, "n_epochs": 5}),
    failures=tuple(FailureStatus(Segment(1, 1, seed), f"SIGSEGV [{seed}]", NOW - 3 * 3600 + seed) for seed in range(5)),
    lost_attempts=2,
    late_results=1,
    disagreements=(),
    seconds_left=3725.0,
    driven_by="process 1 on here, since now",
)


def shown(*statuses: ArmStatus, width: int = 110, height: int | None = None, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    console = Console(file=file, width=width, height=height or 100, highlight=False, markup=False)
    console.print(Overview(statuses, fitted=height is not None, now=NOW))
    file.seek(0)
    return file.read()


def test_the_view_says_everything() -> None:
    text = shown(STATUS)
    for piece in (
        "room/grown-2  5/12 trials, 2 running, about 62 min left (",
        "incumbent c0002 (rung 2): mean return 0.875, success 90%; seeds 0.800 to 0.950",
        "learning_rate 0.001235, n_epochs 5",
        "4/8",
        "1/4",
        "brackets 1-2",
        "c0003/s1/r2",
        "c0004/s0/r1 a2",
        "125,000/500,000",
        "25%",
        "2,346",
        "5 failures, the latest 3",
        "3.0 h ago  c0001/s4/r1: SIGSEGV [4]",
        "2 attempts lost and made again; 1 late result, the same as counts",
    ):
        assert piece in text
    assert "SIGSEGV [1]" not in text


def test_learning_is_a_curve_as_far_as_the_segment_has_come() -> None:
    (line,) = (line for line in shown(STATUS, width=160).splitlines() if "c0003/s1/r2" in line)
    assert line.split()[1] == "╌╌▁▂▃▃▄▅▆▆▇█" + "·" * 36
    (line,) = (line for line in shown(STATUS).splitlines() if "c0003/s1/r2" in line)
    assert line.split()[1] == "╌▁▃▅▆█" + "·" * 18
    (line,) = (line for line in shown(STATUS, encoding="ascii").splitlines() if "c0003/s1/r2" in line)
    assert line.split()[1] == "~_-+*#" + "." * 18


def test_a_bracket_fills_from_nothing_to_all() -> None:
    _, _, first, second, *_ = (line.split() for line in shown(STATUS).splitlines())
    assert first == ["1", "1", "500,000", "━" * 12 + "─" * 12, "4/8", "█·", "1"]
    assert second == ["2", "2", "500,000", "━" * 6 + "─" * 18, "1/4", "▄·"]


def test_what_stands_still_is_done_or_disagrees_says_so() -> None:
    assert "not running" in lines.status_line(replace(STATUS, driven_by=None))
    assert "12 trials, complete, incumbent c0002" in lines.status_line(replace(STATUS, complete=True))
    differing = replace(STATUS, disagreements=("c0001/s0/r1: attempts a1 and a2 differ",))
    assert lines.status_line(differing).endswith("5 failures, 1 disagreement")
    text = " ".join(shown(differing).split())
    assert "1 late result, 1 of them another" in text
    assert "WARNING c0001/s0/r1: attempts a1 and a2 differ" in text


def test_a_final_evaluation_bears_its_folders_name() -> None:
    evaluation = replace(STATUS, evaluation=True, folder="results/room/grown-2/evaluations/c0007-0a1b2c3d")
    assert lines.status_line(evaluation).startswith("room/grown-2 c0007-0a1b2c3d: 5/12 trials")


MANY = tuple(replace(STATUS.running[0], segment=Segment(n, 1, 0)) for n in range(1, 41))


def test_many_running_segments_are_counted_rather_than_listed() -> None:
    assert "and 24 more" in shown(replace(STATUS, running=MANY))


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("height", [4, 10, 24, 30, 60])
@pytest.mark.parametrize("arms", [1, 2, 7])
def test_it_never_leaves_the_terminal(width: int, height: int, arms: int) -> None:
    statuses = [replace(STATUS, running=MANY, complete=n % 2 == 1, arm=f"arm-{n}") for n in range(arms)]
    drawn = shown(*statuses, width=width, height=height).splitlines()
    assert len(drawn) <= height
    assert max(map(len, drawn)) <= width
    assert "arm-0" in drawn[0]


def test_a_terminal_is_filled_but_by_what_has_to_be_left_out() -> None:
    busy = replace(STATUS, running=MANY)
    drawn = shown(busy, width=100, height=30).splitlines()
    assert len(drawn) == 30
    assert drawn[-7].startswith("and 24 more")  # below it, what failed, and a blank line
    full = shown(busy, replace(busy, complete=True, arm="other"), width=100, height=20).splitlines()
    assert any(line.startswith("room/other: 5/12 trials, complete") for line in full)
    brief = shown(busy, replace(busy, arm="other"), width=100, height=20)
    assert brief.count("5 failures, the latest 1") == 2
    assert "learning_rate" not in brief


def test_news_are_what_has_changed() -> None:
    assert lines.news(None, STATUS) == [lines.status_line(STATUS)]
    assert lines.news(STATUS, replace(STATUS, running=(), seconds_left=3000.0)) == []
    failure = FailureStatus(Segment(3, 1, 0), "out of memory", NOW)
    later = replace(
        STATUS,
        failures=(*STATUS.failures, failure),
        disagreements=("a1 and a2 differ",),
        lost_attempts=3,
        trials_known=6,
    )
    assert lines.news(STATUS, later) == [
        "room/grown-2: failed: c0003/s0/r1: out of memory",
        "room/grown-2: WARNING a1 and a2 differ",
        "room/grown-2: 3 attempts lost and made again; 1 late result, 1 of them another",
        lines.status_line(later),
    ]
    assert lines.news(STATUS, replace(STATUS, driven_by=None)) == [lines.status_line(replace(STATUS, driven_by=None))]


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
