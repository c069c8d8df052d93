"""Which slot is given what: its preflight first, then what it has time for."""

from __future__ import annotations

import json
import math
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from dispatch_waiting import eventually, gone

from grownn_hpo.dispatch import Dispatcher, Ending, Inline, Job, Lost, Preflight, Returned, local, open_dispatcher, slot
from grownn_hpo.dispatch.dispatcher import PREFLIGHT_ATTEMPTS
from grownn_hpo.dispatch.local import DaskLocal
from grownn_hpo.dispatch.scratch import Scratch
from grownn_hpo.dispatch.workers import Worker, gpu_of, visible_gpus
from grownn_hpo.errors import Stopped


class Timed(DaskLocal):
    """Workers here, all of which will be gone in `left` seconds, as those of Slurm jobs are."""

    left = math.inf

    def _seconds_left(self, worker: Worker) -> float:
        return self.left


@pytest.fixture(scope="module")
def one_timed() -> Iterator[Timed]:
    with Timed(1) as opened:
        yield opened


@pytest.fixture(scope="module")
def two() -> Iterator[Dispatcher]:
    with open_dispatcher(2, inline=False) as opened:
        yield opened


def job(key: str, entry: str = "echo", payload: object = None, **rest: object) -> Job:
    return Job(key, f"dispatch_entries:{entry}", json.dumps(payload), **rest)  # type: ignore[arg-type]


def endings(dispatcher: Dispatcher, count: int) -> dict[str, Ending]:
    """The next endings, in their order."""
    found: dict[str, Ending] = {}
    deadline = time.monotonic() + 60  # a worker that has to start again takes its time
    while len(found) < count:
        found.update(dispatcher.wait(deadline - time.monotonic()))  # empty when the dispatcher is about to raise
        assert time.monotonic() < deadline, f"only {found} within a minute"
    return found


def killed_sleeper(dispatcher: Dispatcher, pid_file: Path) -> Ending:
    """How an attempt ends that is killed in its sleep."""
    dispatcher.submit(job("sleeper", "sleeps", {"seconds": 60, "pid_file": str(pid_file)}))
    assert eventually(pid_file.exists)
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    return endings(dispatcher, 1)["sleeper"]


class TestTime:
    def test_a_slots_time(self, one_timed: Timed, tmp_path: Path) -> None:
        # One that has begun nothing yet takes anything: no other will ever have more time.
        one_timed.left = 60
        killed = "the attempt was ended by SIGKILL from outside"
        one_timed.submit(job("first", "sleeps", {"seconds": 0.1}, useful_seconds=1000))
        assert endings(one_timed, 1) == {"first": Returned("slept")}

        # Then only what it has time for, however urgent the rest.
        one_timed.submit(job("long", priority=(0,), useful_seconds=61))
        one_timed.submit(job("urgent", priority=(1,), useful_seconds=60))
        one_timed.submit(job("unknown", priority=(2,)))
        assert list(endings(one_timed, 2)) == ["urgent", "unknown"]
        assert one_timed.wait(0.3) == ()
        assert one_timed.running() == ()

        # What waits is given as soon as there is time for it.
        one_timed.left = math.inf
        one_timed.submit(job("later", priority=(1,)))
        assert list(endings(one_timed, 2)) == ["long", "later"]

        # What is lost while there is time left is a loss like any other; what is lost at the end is not.
        assert killed_sleeper(one_timed, tmp_path / "early") == Lost(killed)
        one_timed.left = 60
        late = killed_sleeper(one_timed, tmp_path / "late")
        assert late == Lost(f"its Slurm job's time was over: {killed}", had_all_time=False)

    def test_the_first_attempt_in_a_slot_had_all_its_time(self, tmp_path: Path) -> None:
        with Timed(1) as fresh:
            fresh.left = 60
            how = killed_sleeper(fresh, tmp_path / "pid")
            assert isinstance(how, Lost)
            assert how.had_all_time


def test_the_slot_that_is_idle_longest_is_given_the_next_job(two: Dispatcher) -> None:
    slots = []
    for number in range(6):
        two.submit(job(f"job-{number}", "slot"))
        (how,) = endings(two, 1).values()
        assert isinstance(how, Returned)
        slots.append(how.value)
    assert len(set(slots)) == 2
    assert slots[:2] * 3 == slots


def passes(ending: Ending) -> str | None:
    return None if ending == Returned('"asked"') else f"no: {ending}"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where attempts note that they ran."""
    return tmp_path / "notes"


Refusal = Callable[[Ending], str | None]


def asking(inline: bool, notes: Path, refusal: Refusal = passes, unlucky: int = 0, generations: int = 0) -> Dispatcher:
    """A dispatcher of one slot with a preflight that is noted, and ended from outside the first `unlucky` times."""
    payload = {"file": str(notes), "word": "asked", "unlucky": unlucky, "generations": generations}
    return open_dispatcher(1, inline, preflight=Preflight(job("preflight", "noted", payload), refusal))


def training(notes: Path, unlucky: int = 0, generations: int = 0) -> Job:
    return job("job", "noted", {"file": str(notes), "word": "trained", "unlucky": unlucky, "generations": generations})


class TestPreflight:
    def test_it_comes_before_any_job_and_once(self, notes: Path) -> None:
        with asking(True, notes) as dispatcher:
            for _ in range(2):
                dispatcher.submit(training(notes))
                assert endings(dispatcher, 1) == {"job": Returned('"trained"')}
        assert notes.read_text().split() == ["asked", "trained", "trained"]

    def test_a_refusal_stops_the_study_before_any_job(self, notes: Path) -> None:
        with asking(True, notes, lambda _: "it has no torch: install it") as dispatcher:
            dispatcher.submit(training(notes))
            for _ in range(2):
                with pytest.raises(Stopped, match=r"^it has no torch: install it$"):
                    endings(dispatcher, 1)
            assert dispatcher.running() == ()
        assert notes.read_text().split() == ["asked"]

    @pytest.mark.parametrize("inline", [True, False], ids=["inline", "dask"])
    def test_an_answer_that_was_lost_is_asked_for_again(self, inline: bool, notes: Path) -> None:
        with asking(inline, notes, unlucky=PREFLIGHT_ATTEMPTS - 1) as dispatcher:
            dispatcher.submit(training(notes))
            assert endings(dispatcher, 1) == {"job": Returned('"trained"')}
        assert notes.read_text().split() == [*["asked"] * PREFLIGHT_ATTEMPTS, "trained"]

    @pytest.mark.parametrize("inline", [True, False], ids=["inline", "dask"])
    def test_answers_that_are_always_lost_are_an_answer(self, inline: bool, notes: Path) -> None:
        with asking(inline, notes, unlucky=1000) as dispatcher:
            dispatcher.submit(training(notes))
            with pytest.raises(Stopped, match=r"^no: Lost.*SIGKILL"):
                endings(dispatcher, 1)
        assert notes.read_text().split() == ["asked"] * PREFLIGHT_ATTEMPTS

    def test_an_entry_that_is_not_there_is_told(self) -> None:
        preflight = Preflight(Job("preflight", "no_such_module:entry", "{}"), passes)
        with (
            open_dispatcher(1, inline=True, preflight=preflight) as dispatcher,
            pytest.raises(Stopped, match=r"^no: Raised\(kind='ModuleNotFoundError'"),
        ):
            endings(dispatcher, 1)

    def test_workers_that_die_while_they_are_asked_or_at_work_are_replaced_and_asked(self, notes: Path) -> None:
        with asking(False, notes, unlucky=1, generations=2) as opened:  # attempt, launcher, worker
            opened.submit(training(notes, unlucky=1, generations=2))
            assert isinstance(endings(opened, 1)["job"], Lost)
            opened.submit(training(notes))
            assert endings(opened, 1) == {"job": Returned('"trained"')}
        assert notes.read_text().split() == ["asked", "asked", "trained", "asked", "trained"]

    def test_closing_does_not_wait_for_it(self) -> None:
        asked = Preflight(job("preflight", "sleeps", {"seconds": 60}), passes)
        started = time.monotonic()
        with open_dispatcher(1, inline=True, preflight=asked) as dispatcher:
            dispatcher.submit(job("job"))
            assert dispatcher.wait(0.3) == ()
        assert time.monotonic() - started < 30
        assert dispatcher.wait(0) == ()


def test_a_frozen_launcher_is_given_up_with_its_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "_FROZEN_LOOKS", 3)
    pid_file = tmp_path / "pid"
    with Inline() as inline:
        inline.submit(job("frozen", "sleeps", {"seconds": 60, "pid_file": str(pid_file)}))
        assert eventually(pid_file.exists)
        attempt = psutil.Process(int(pid_file.read_text()))
        launcher = attempt.parent()
        launcher.suspend()
        ending = endings(inline, 1)["frozen"]
        assert ending == Lost("its launcher was frozen: no sign of life for 3 s; it was killed")
        assert gone([attempt, launcher])
        inline.submit(job("next"))
        assert endings(inline, 1) == {"next": Returned("null")}


def test_a_launcher_heard_to_end_is_replaced_though_it_cannot_be_reaped_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel closes a dying process's socket first; on a busy machine a job may come in between."""
    pid_file = tmp_path / "pid"
    with Inline() as inline:
        inline.submit(job("sleeper", "sleeps", {"seconds": 60, "pid_file": str(pid_file)}))
        assert eventually(pid_file.exists)
        monkeypatch.setattr(subprocess.Popen, "poll", lambda _: None)
        psutil.Process(int(pid_file.read_text())).parent().kill()
        assert isinstance(endings(inline, 1)["sleeper"], Lost)
        inline.submit(job("next"))
        assert endings(inline, 1) == {"next": Returned("null")}


def test_an_attempt_may_be_silent_for_as_long_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is its launcher that must be heard of; what the attempt may do is the job's own limit."""
    monkeypatch.setattr(slot, "_FROZEN_LOOKS", 4)
    with Inline() as inline:
        inline.submit(job("silent", "hangs_with_the_lock_for", {"seconds": 8}))
        assert endings(inline, 1) == {"silent": Returned("slept")}


def test_news_is_told_once_and_in_order() -> None:
    class Newsworthy(Inline):
        def befall(self, *lines: str) -> None:
            for line in lines:
                self._news.put(line)

    with Newsworthy() as opened:
        assert opened.news() == ()
        opened.befall("a job was asked for", "it has ended")
        assert opened.news() == ("a job was asked for", "it has ended")
        assert opened.news() == ()


@pytest.mark.parametrize(
    ("worker", "sharing", "visible", "gpu"),
    [
        ("grownn-3-0", 1, "", None),
        ("grownn-3-0", 1, "0", "0"),
        ("grownn-3-1", 2, "4", "4"),  # two of a job's workers share its one GPU
        *((f"grownn-3-{n}", 2, "4,7", "47"[n // 2]) for n in range(4)),
        *((f"grownn-3-{n}", 1, "GPU-a,GPU-b", f"GPU-{'ab'[n]}") for n in range(2)),
        ("grownn-12", 1, "2", "2"),  # a job of one worker: its number is the job's
        *((str(n), 1, "0,1", str(n % 2)) for n in range(5)),  # on this machine
        ("tls://127.0.0.1:4711-x", 1, "5,6", "5"),
    ],
)
def test_the_workers_of_a_job_share_its_gpus_evenly(worker: str, sharing: int, visible: str, gpu: str | None) -> None:
    expected = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
    assert gpu_of(worker, sharing, visible_gpus({"CUDA_VISIBLE_DEVICES": visible}, None)) == expected
    assert gpu_of(worker, sharing, visible_gpus({}, None)) == {}


def test_workers_here_share_all_gpus_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("null", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible_gpus({}, tmp_path) == ()
    for number in (2, 3, 11):
        (tmp_path / f"nvidia{number}").touch()
    assert visible_gpus({}, tmp_path) == ("0", "1", "2")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == ()
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "GPU-a"}, tmp_path) == ("GPU-a",)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(local, "DEVICES", tmp_path)
    with open_dispatcher(2, inline=False) as opened:
        for key in "ab":  # at the same time, so in different workers
            opened.submit(job(key, "gpu_seen", {"folder": str(tmp_path), "count": 2}))
        seen = {ending.value for ending in endings(opened, 2).values() if isinstance(ending, Returned)}
    assert seen == {"0", "1"}


def test_a_private_folder_of_ours_clears_up_what_was_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "worker-1.log").touch()
    (tmp_path / "grownn-mine").mkdir()  # no lock in it: not one of ours
    living, abandoned = Scratch(tmp_path), Scratch(tmp_path)
    (abandoned.path / "key.pem").touch()
    os.close(abandoned._lock)  # as the kernel does for a process that was killed
    third = Scratch(tmp_path)
    names = {"worker-1.log", "grownn-mine", living.path.name, third.path.name}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert stat.S_IMODE(third.path.stat().st_mode) == 0o700
    for scratch in (living, third):
        scratch.remove()
        scratch.remove()
    assert {path.name for path in tmp_path.iterdir()} == {"worker-1.log", "grownn-mine"}
    with pytest.raises(FileNotFoundError):
        Scratch(tmp_path / "nowhere")
