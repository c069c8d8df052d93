"""`grownn status --watch`: on a terminal, in a log file, as JSON; underneath it a study that goes on, or goes away."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from driven import driven
from program import command, surroundings
from rich.console import Console

from grownn_hpo.cli import following
from grownn_hpo.errors import InputError
from grownn_hpo.spec import Arm, Network, Rung, Search, Task
from grownn_hpo.store.arm import Bracket, create_arm, write_bracket
from grownn_hpo.store.attempts import claim_attempt, commit_result
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.store.terms import arm_sha256
from grownn_hpo.trial import Segment, SegmentResult, Status

SPACE = {"hyperparameters": [{"name": "gamma", "type": "uniform_float", "lower": 0.5, "upper": 0.9}]}
ARM = Arm(
    study="seen",
    name="static-1",
    seed=0,
    seeds=(0,),
    task=Task(env="CartPole-v1", envs=1),
    space=SPACE,
    network=Network(kind="mlp"),
    search=Search(trials=2, lookahead=1),
    rungs=(Rung(env_steps=960, depth=1, configurations=2),),
)


def finish(folder: ArmFolder, config: int) -> None:
    segment = Segment(config, 1, 0)
    result = SegmentResult(segment, Status.COMPLETED, float(config), None, 960, 1, None, None, None)
    commit_result(claim_attempt(folder, segment), result, None)


@pytest.fixture
def folder(tmp_path: Path) -> ArmFolder:
    """One of two trials is done; nobody drives."""
    folder = ArmFolder(tmp_path / "seen" / "static-1")
    create_arm(folder, ARM, {"python": "3.11.7"})
    write_bracket(folder, Bracket(1, ({"gamma": 0.5}, {"gamma": 0.75}), "0" * 64, arm_sha256(ARM)))
    finish(folder, 1)
    return folder


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "REFRESH_SECONDS", 0.01)


def test_it_goes_on_while_the_study_is_away_and_ends_when_all_is_complete(folder: ArmFolder, tmp_path: Path) -> None:
    looks = following.looks(tmp_path / "seen", threading.Event(), io.StringIO())
    first = next(looks)
    assert [each.trials_known for each in first.statuses] == [1]
    folder.root.rename(tmp_path / "elsewhere")
    away = next(looks)
    assert away.statuses == first.statuses
    assert away.trouble is not None
    assert "holds no study" in away.trouble
    (tmp_path / "elsewhere").rename(folder.root)
    assert next(looks).trouble is None
    kept = folder.study_file.read_text()
    folder.study_file.write_text("torn: [")
    torn = next(looks)
    while torn.trouble is None:  # results are read again only now and then
        torn = next(looks)
    folder.study_file.write_text(kept)
    finish(folder, 2)
    last = list(looks)[-1]
    assert (last.trouble, last.statuses[0].complete) == (None, True)


def test_what_was_never_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no study"):
        next(following.looks(tmp_path, threading.Event(), io.StringIO()))


def test_a_log_gets_a_line_for_a_change(folder: ArmFolder, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    over = threading.Event()
    looks = following.looks(tmp_path / "seen", over, io.StringIO())

    def seen() -> Iterator[following.Look]:
        for number, look in enumerate(looks):
            yield look
            if number == 3:
                finish(folder, 2)

    following._tell_news(seen(), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert [line.split(" ", 1)[1] for line in text.splitlines()] == [
        "seen/static-1: 1/2 trials, not running, incumbent c0001 (rung 1): mean return 1.00",
        "seen/static-1: 2/2 trials, complete, incumbent c0002 (rung 1): mean return 2.00",
    ]


@contextmanager
def terminal(folder: Path, *words: object) -> Iterator[tuple[subprocess.Popen[bytes], list[bytes]]]:
    """The program with a terminal of 100 columns and 30 lines, and what it has written there, which grows."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    env = surroundings(TERM="xterm-256color", COLUMNS="100", LINES="30")
    process = subprocess.Popen(command(*words), cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written: list[bytes] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    written.append(os.read(ours, 65536))
                except OSError:  # the other end is closed
                    return

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield process, written
    finally:
        process.kill()
        process.wait()
        over.set()
        thread.join()
        os.close(ours)


def until(written: list[bytes], text: bytes, seconds: float = 150.0) -> bytes:
    deadline = time.monotonic() + seconds
    while text not in b"".join(written):
        assert time.monotonic() < deadline, b"".join(written)
        time.sleep(0.05)
    return b"".join(written)


def test_a_terminal_is_filled_redrawn_and_left_as_it_was(folder: ArmFolder, tmp_path: Path) -> None:
    with terminal(tmp_path, "status", "seen", "--watch") as (process, written):
        until(written, b"1/2")
        finish(folder, 2)
        until(written, b"complete")
        assert process.wait(150) == 0
        screen = b"".join(written)
    assert screen.count(b"\x1b[?1049h") == screen.count(b"\x1b[?1049l") == 1  # the alternate screen, and back
    inside, _, after = screen.partition(b"\x1b[?1049l")
    assert b"\x1b[2J" not in inside.partition(b"1/2")[2]  # overwritten, never cleared
    assert b"complete" in after


def test_ctrl_c_ends_it_with_0_and_nothing_is_said_of_it(folder: ArmFolder, tmp_path: Path) -> None:
    with driven(tmp_path, "status", "seen", "--watch") as watcher:
        watcher.says("1/2 trials, not running")
        watcher.process.send_signal(signal.SIGINT)
        said = watcher.ends(0)
    assert len(said.splitlines()) == 1


def test_json_comes_a_line_for_a_change_until_nobody_reads(folder: ArmFolder, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("status", "seen", "--watch", "--json"), cwd=tmp_path, env=surroundings(), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        (status,) = json.loads(process.stdout.readline())
        assert (status["trials_known"], status["complete"]) == (1, False)
        process.stdout.close()
        assert process.wait(150) == 0
    finally:
        process.kill()
