"""What every dispatcher promises, asked of each for real: processes are started, crash, hang and are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dispatch_waiting import alive, eventually, gone, pid_alive

from grownn_hpo.dispatch import (
    Died,
    Dispatcher,
    Ending,
    Job,
    Lost,
    OutOfMemory,
    Raised,
    Returned,
    Stalled,
    open_dispatcher,
)

MALLOC_TRIM = os.environ.get("MALLOC_TRIM_THRESHOLD_")  # before Dask could set it, here too


@pytest.fixture(scope="module", params=["inline", "dask"])
def dispatcher(request: pytest.FixtureRequest) -> Iterator[Dispatcher]:
    with open_dispatcher(1, request.param == "inline", preload=("this_module_is_not_there", "decimal")) as opened:
        yield opened


def job(entry: str, payload: object = None, key: str = "job", **rest: object) -> Job:
    return Job(key, f"dispatch_entries:{entry}", json.dumps(payload), **rest)  # type: ignore[arg-type]


def ending(dispatcher: Dispatcher, wanted: Job, within: float = 20) -> Ending:
    dispatcher.submit(wanted)
    return next_ending(dispatcher, wanted.key, within)


def next_ending(dispatcher: Dispatcher, key: str, within: float = 20) -> Ending:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if back := dispatcher.wait(deadline - time.monotonic()):
            ((ended, how),) = back
            assert ended == key
            return how
    raise AssertionError(f"{key} has not ended within {within} s")


class TestEndings:
    def test_an_answer_comes_back_as_it_was_given(self, dispatcher: Dispatcher) -> None:
        payload = {"text": "Größe\n\x00", "number": 0.1}
        assert ending(dispatcher, job("echo", payload)) == Returned(json.dumps(payload))

    def test_a_large_payload_goes_there_and_back(self, dispatcher: Dispatcher) -> None:
        payload = "x" * 20_000_000
        assert ending(dispatcher, job("echo", payload)) == Returned(json.dumps(payload))

    def test_an_exception_keeps_its_traceback_and_what_was_printed(self, dispatcher: Dispatcher) -> None:
        how = ending(dispatcher, job("raises"))
        assert isinstance(how, Raised)
        assert (how.kind, how.message) == ("LookupError", "no such room: Москва")
        assert how.output_tail == "said before\n"
        assert 'in raises\n    raise LookupError("no such room' in how.traceback
        assert "grownn_hpo/dispatch" not in how.traceback

    @pytest.mark.parametrize(
        ("entry", "kind"),
        [
            ("dispatch_entries:absent", "AttributeError"),
            ("no_such_module:entry", "ModuleNotFoundError"),
            ("dispatch_entries:not_text", "TypeError"),
        ],
    )
    def test_an_entry_that_cannot_be_called_so_raises(self, dispatcher: Dispatcher, entry: str, kind: str) -> None:
        how = ending(dispatcher, Job("job", entry, "{}"))
        assert isinstance(how, Raised)
        assert how.kind == kind

    @pytest.mark.parametrize(
        ("order", "code", "cause"),
        [
            ({"signal": "SIGSEGV"}, -signal.SIGSEGV, "SIGSEGV"),
            ({"signal": "SIGABRT"}, -signal.SIGABRT, "SIGABRT"),
            ({"exit": 3}, 3, "exit code 3"),
            ({"exit": "a reason"}, 1, "exit code 1"),
            ({"_exit": 0}, 0, "exit code 0"),
        ],
    )
    def test_a_death_keeps_its_cause_and_the_last_words(
        self, dispatcher: Dispatcher, order: dict[str, object], code: int, cause: str
    ) -> None:
        how = ending(dispatcher, job("ends_itself", order))
        assert isinstance(how, Died)
        assert (how.exit_code, how.cause) == (code, cause)
        assert how.output_tail.startswith("last words\n")

    def test_a_segmentation_fault_tells_where_it_happened(self, dispatcher: Dispatcher) -> None:
        how = ending(dispatcher, job("reads_null"))
        assert isinstance(how, Died)
        assert how.cause == "SIGSEGV"
        assert "in reads_null" in how.output_tail

    @pytest.mark.parametrize(("entry", "frame"), [("sleeps", "in sleeps"), ("hangs_with_the_lock", "in hangs_with")])
    def test_an_attempt_without_beats_is_ended_and_tells_where_it_hung(
        self, dispatcher: Dispatcher, entry: str, frame: str
    ) -> None:
        started = time.monotonic()
        how = ending(dispatcher, job(entry, {"seconds": 60}, stalled_seconds=0.5))
        assert isinstance(how, Stalled)
        assert 0.5 < how.seconds < 10
        assert frame in how.output_tail
        assert time.monotonic() - started < 20

    def test_a_frozen_attempt_is_ended(self, dispatcher: Dispatcher) -> None:
        how = ending(dispatcher, job("ends_itself", {"signal": "SIGSTOP"}, stalled_seconds=0.5))
        assert isinstance(how, Stalled)

    def test_beats_keep_an_attempt_alive(self, dispatcher: Dispatcher) -> None:
        order = {"seconds": 1.2, "beating": True}
        assert ending(dispatcher, job("sleeps", order, stalled_seconds=0.5)) == Returned("slept")

    def test_a_flood_of_output_does_not_hold_up_the_watch(self, dispatcher: Dispatcher) -> None:
        assert isinstance(ending(dispatcher, job("shouts_forever", stalled_seconds=0.5)), Stalled)

    def test_an_attempt_over_its_memory_limit_is_ended(self, dispatcher: Dispatcher) -> None:
        how = ending(dispatcher, job("holds", {"mib": 400, "seconds": 60}, memory_gib=0.2))
        assert isinstance(how, OutOfMemory)
        assert "its limit is 0.2 GiB" in how.detail

    def test_memory_shared_with_forks_counts_once(self, dispatcher: Dispatcher) -> None:
        order = {"mib": 150, "seconds": 1, "forks": 3}
        assert ending(dispatcher, job("holds", order, memory_gib=0.3)) == Returned(str(150 * 2**20))

    @pytest.mark.parametrize("entry", ["memory_error", "torch_memory_error"])
    def test_a_memory_error_is_out_of_memory(self, dispatcher: Dispatcher, entry: str) -> None:
        assert isinstance(ending(dispatcher, job(entry)), OutOfMemory)

    def test_a_kill_by_the_kernel_for_want_of_memory_is_out_of_memory(
        self, dispatcher: Dispatcher, small_cgroup: Path
    ) -> None:
        how = ending(dispatcher, job("fills_cgroup", {"tasks": str(small_cgroup), "mib": 300}))
        assert how == OutOfMemory("the kernel killed it for want of memory")

    def test_what_the_kernel_kills_elsewhere_for_want_of_memory_is_not_this_attempts_want(
        self, dispatcher: Dispatcher, tmp_path: Path, small_cgroup: Path
    ) -> None:
        pid = start_sleeper(dispatcher, tmp_path)
        fills = "import sys, os; open(sys.argv[1], 'w').write(str(os.getpid())); bytearray(300 * 2**20)"
        neighbour = subprocess.run([sys.executable, "-c", fills, str(small_cgroup)], check=False)
        os.kill(pid, signal.SIGKILL)
        assert neighbour.returncode == -signal.SIGKILL
        assert isinstance(next_ending(dispatcher, "sleeper", within=10), Lost)

    @pytest.mark.parametrize("which", [signal.SIGKILL, signal.SIGTERM])
    def test_a_kill_from_outside_is_a_loss(self, dispatcher: Dispatcher, tmp_path: Path, which: signal.Signals) -> None:
        pid = start_sleeper(dispatcher, tmp_path)
        os.kill(pid, which)
        how = next_ending(dispatcher, "sleeper", within=10)
        assert how == Lost(f"the attempt was ended by {which.name} from outside")
        assert ending(dispatcher, job("echo")) == Returned("null")

    def test_a_killed_launcher_is_a_loss_and_is_replaced(self, dispatcher: Dispatcher, tmp_path: Path) -> None:
        pid = start_sleeper(dispatcher, tmp_path)
        attempt = psutil.Process(pid)
        attempt.parent().kill()
        assert isinstance(next_ending(dispatcher, "sleeper", within=10), Lost)
        assert gone([attempt])
        assert ending(dispatcher, job("echo")) == Returned("null")

    def test_a_launcher_killed_while_idle_is_replaced_unnoticed(self, dispatcher: Dispatcher, tmp_path: Path) -> None:
        pid = start_sleeper(dispatcher, tmp_path, seconds=0.3)
        launcher = psutil.Process(pid).parent()
        assert next_ending(dispatcher, "sleeper") == Returned("slept")
        launcher.kill()
        assert eventually(lambda: not alive(launcher))
        assert ending(dispatcher, job("echo")) == Returned("null")


class TestSurroundings:
    def test_an_attempt_stands_apart(self, dispatcher: Dispatcher) -> None:
        how = ending(dispatcher, job("surroundings"))
        assert isinstance(how, Returned)
        found = json.loads(how.value)
        assert found["leads_session"]
        assert found["sigint_ignored"]
        assert found["stdin"] == ""
        assert found["terminals"] == [False, False, False]
        assert found["environ"] == {
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
            "MALLOC_TRIM_THRESHOLD_": MALLOC_TRIM,
        }
        assert "decimal" in found["modules"], "preloaded, though a module before it could not be imported"
        assert not {"dask", "distributed", "smac"} & set(found["modules"])
        # Output twice, beats, standard input and the folder being listed: nothing of the launcher's.
        assert len(found["descriptors"]) <= 5, found["descriptors"]

    def test_each_attempt_has_a_process_of_its_own(self, dispatcher: Dispatcher) -> None:
        pids = set()
        for _ in range(3):
            how = ending(dispatcher, job("surroundings"))
            assert isinstance(how, Returned)
            pids.add(json.loads(how.value)["pid"])
        assert len(pids) == 3

    def test_nothing_an_attempt_started_outlives_it(self, dispatcher: Dispatcher, tmp_path: Path) -> None:
        how = ending(dispatcher, job("family", {"pid_file": str(tmp_path / "pids"), "seconds": 0}))
        assert isinstance(how, Returned)
        pids = json.loads(how.value)
        assert len(pids) == 4
        assert not any(map(pid_alive, pids))

    def test_a_forked_child_does_not_answer_for_its_parent(self, dispatcher: Dispatcher) -> None:
        assert ending(dispatcher, job("comes_back_twice")) == Returned("None")

    def test_temporary_files_go_with_the_attempt(self, dispatcher: Dispatcher) -> None:
        how = ending(dispatcher, job("leaves_files"))
        assert isinstance(how, Returned)
        assert "grownn-" in how.value
        assert not Path(how.value).exists()

    def test_output_reaches_no_terminal(self, dispatcher: Dispatcher, capfd: pytest.CaptureFixture[str]) -> None:
        how = ending(dispatcher, job("shouts"))
        assert isinstance(how, Raised)
        assert len(how.output_tail) <= 16 * 1024
        assert how.output_tail.endswith("� the end\n") or how.output_tail.endswith("x\n")
        assert "� the end" in how.output_tail
        assert capfd.readouterr() == ("", "")


class TestOrder:
    def test_smaller_priorities_first_then_in_the_order_submitted(self, dispatcher: Dispatcher, tmp_path: Path) -> None:
        start_sleeper(dispatcher, tmp_path, seconds=0.5)
        order = {"a": (2, 0), "b": (-3, 1), "c": (-3, 0), "d": (2, 0), "e": (0,)}
        for key, priority in order.items():
            dispatcher.submit(job("echo", key=key, priority=priority))
        assert dispatcher.running() == ("sleeper",)
        ended: list[str] = []
        while len(ended) < 6:
            ended += [key for key, _ in dispatcher.wait(10)]
        assert ended == ["sleeper", "c", "b", "e", "a", "d"]
        assert dispatcher.running() == ()

    def test_a_key_is_taken_until_its_ending_was_handed_over(self, dispatcher: Dispatcher) -> None:
        dispatcher.submit(job("echo"))
        with pytest.raises(ValueError, match=r"job job: one with this key has not ended"):
            dispatcher.submit(job("echo"))
        assert next_ending(dispatcher, "job") == Returned("null")
        assert ending(dispatcher, job("echo")) == Returned("null")

    def test_waiting_ends_in_time(self, dispatcher: Dispatcher) -> None:
        started = time.monotonic()
        assert dispatcher.wait(0.2) == ()
        assert 0.2 <= time.monotonic() - started < 1
        assert dispatcher.wait(0) == ()

    def test_waking_ends_the_wait_of_now_or_of_next(self, dispatcher: Dispatcher) -> None:
        started = time.monotonic()
        threading.Timer(0.1, dispatcher.wake).start()
        assert dispatcher.wait(10) == ()
        dispatcher.wake()
        assert dispatcher.wait(10) == ()
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("kind", ["inline", "dask"])
def test_closing_ends_what_runs_and_leaves_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    before = set(psutil.Process().children(recursive=True))
    with open_dispatcher(1, kind == "inline", preload=()) as dispatcher:
        dispatcher.submit(job("family", {"pid_file": str(tmp_path / "pids"), "seconds": 60}))
        dispatcher.submit(job("echo", key="queued"))
        assert eventually((tmp_path / "pids").exists)
        started = time.monotonic()
    assert time.monotonic() - started < 10  # nothing was waited for: 0.3 s on a machine that is not busy
    assert not any(map(pid_alive, json.loads((tmp_path / "pids").read_text())))
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [child for child in left if "resource_tracker" not in " ".join(child.cmdline())]
    assert list((tmp_path / "temporary").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"temporary", "pids"}
    dispatcher.close()  # a second time is nothing
    with pytest.raises(ValueError, match="is closed"):
        dispatcher.submit(job("echo"))


def start_sleeper(dispatcher: Dispatcher, folder: Path, seconds: float = 60) -> int:
    """Start an attempt that sleeps, under the key `sleeper`, and return its process."""
    pid_file = folder / "pid"
    dispatcher.submit(job("sleeps", {"seconds": seconds, "pid_file": str(pid_file)}, key="sleeper"))
    assert eventually(pid_file.exists)
    assert dispatcher.running() == ("sleeper",)
    return int(pid_file.read_text())


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """The file that puts a process into a cgroup of 100 MiB."""
    for root, limit, members in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "tasks"),
        (Path("/sys/fs/cgroup"), "memory.max", "cgroup.procs"),
    ):
        group = root / f"grownn-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(100 * 2**20))
        except OSError:
            if group.exists():
                group.rmdir()
            continue
        yield group / members
        assert eventually(lambda: not (group / members).read_text())  # noqa: B023 (called at once)
        group.rmdir()
        return
    pytest.skip("making a memory cgroup needs root and a writable /sys/fs/cgroup")
