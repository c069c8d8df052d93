"""Kills in the chain driver - worker - launcher - attempt, and what strangers can reach, all for real."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from dispatch_waiting import eventually, gone

from grownn_hpo.dispatch import Dispatcher, Ending, Job, Lost, Returned, open_dispatcher

HERE = Path(__file__).parent
RESTART_SECONDS = 20  # of a Dask worker, with another process or two on the core


@pytest.fixture(scope="module")
def local() -> Iterator[Dispatcher]:
    with open_dispatcher(2, inline=False, preload=()) as opened:
        yield opened


def sleeper(key: str, folder: Path, seconds: float, **rest: object) -> Job:
    payload = json.dumps({"seconds": seconds, "pid_file": str(folder / key)})
    return Job(key, "dispatch_entries:sleeps", payload, **rest)  # type: ignore[arg-type]


def ending_of_all(dispatcher: Dispatcher, count: int, within: float = 30) -> dict[str, Ending]:
    endings: dict[str, Ending] = {}
    deadline = time.monotonic() + within
    while len(endings) < count and time.monotonic() < deadline:
        endings.update(dispatcher.wait(0.2))
    return endings


class TestWorkers:
    def test_a_killed_worker_loses_its_job_alone_and_is_replaced(self, local: Dispatcher, tmp_path: Path) -> None:
        for key in ("killed", "spared"):
            local.submit(sleeper(key, tmp_path, 60 if key == "killed" else 2))
        local.submit(Job("queued", "dispatch_entries:echo", '"patience"'))
        assert eventually(lambda: (tmp_path / "killed").exists() and (tmp_path / "spared").exists())
        attempt = psutil.Process(int((tmp_path / "killed").read_text()))
        worker = attempt.parent().parent()
        assert worker.parent().pid == os.getpid()
        killed = time.monotonic()
        worker.kill()
        endings = ending_of_all(local, 1)
        assert isinstance(endings["killed"], Lost)
        assert time.monotonic() - killed < 10
        assert gone([attempt])
        endings |= ending_of_all(local, 2)
        assert endings["spared"] == Returned("slept")
        assert endings["queued"] == Returned('"patience"')

        # Both slots are there again: two jobs run at a time.
        for key in ("third", "fourth"):
            local.submit(sleeper(key, tmp_path, 60))
        assert eventually(lambda: len(local.running()) == 2, RESTART_SECONDS)
        for key in ("third", "fourth"):
            assert eventually((tmp_path / key).exists)
            os.kill(int((tmp_path / key).read_text()), signal.SIGKILL)
        assert {type(ending) for ending in ending_of_all(local, 2).values()} == {Lost}

    def test_many_jobs_all_end_once_while_workers_are_killed(self, local: Dispatcher, tmp_path: Path) -> None:
        keys = [f"job-{number}" for number in range(60)]
        for key in keys:
            local.submit(sleeper(key, tmp_path, 0.05))
        ended: list[str] = []
        lost = 0
        deadline = time.monotonic() + 60
        for due in (10, 30):
            while len(ended) < due and time.monotonic() < deadline:
                ended += [key for key, _ in local.wait(1)]
            workers = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
            workers[0].kill()
        while len(ended) < len(keys) and time.monotonic() < deadline:
            for key, ending in local.wait(1):
                ended.append(key)
                lost += isinstance(ending, Lost)
        assert sorted(ended) == sorted(keys)
        assert lost <= 2
        assert local.wait(0.3) == ()

    def test_nothing_listens_beyond_loopback_or_without_certificates(self, local: Dispatcher) -> None:
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = [
            connection.laddr
            for process in family
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert len(listening) >= 5, "a scheduler, and two each of nannies and workers"
        assert {address.ip for address in listening} == {"127.0.0.1"}
        stranger = ssl.create_default_context()
        stranger.check_hostname = False
        stranger.verify_mode = ssl.CERT_NONE
        for address in listening:
            with (
                socket.create_connection(address, timeout=5) as plain,
                pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"),
                stranger.wrap_socket(plain) as encrypted,
            ):
                encrypted.recv(1)


@contextmanager
def driver(kind: str, entry: str, *payloads: object, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A driver in a session of its own, once all its jobs run."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "dispatch_driver.py"), kind, entry, *map(json.dumps, payloads)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environ},
    )
    try:
        assert process.stdout
        said = [process.stdout.readline()]
        while said[-1] not in ("up\n", ""):
            said.append(process.stdout.readline())
        assert said[-1] == "up\n", said
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", ["inline", "dask"])
class TestDrivers:
    @pytest.mark.parametrize("victims", ["the driver", "all but the attempts", "all but the launchers"])
    def test_no_process_outlives_a_killed_driver(self, kind: str, victims: str, tmp_path: Path) -> None:
        pid_file = tmp_path / "pids"
        with driver(kind, "family", {"pid_file": str(pid_file), "seconds": 60}) as process:
            assert eventually(pid_file.exists)
            family = [psutil.Process(pid) for pid in json.loads(pid_file.read_text())]
            launcher = family[0].parent()
            chain = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            assert {*family, launcher} < {*chain}
            if victims == "the driver":
                doomed = chain[:1]
                survivors = chain
            elif victims == "all but the attempts":
                doomed = [member for member in chain if member not in family]
                survivors = family[:3]  # not what the entry started by exec: only a living launcher or worker finds it
            else:
                doomed = [member for member in chain if member not in family and member != launcher]
                survivors = chain
            for member in doomed:
                member.kill()
            assert gone(survivors)
            for member in family:
                if member.is_running():
                    member.kill()

    def test_the_next_driver_clears_up_after_one_that_was_killed(self, kind: str, tmp_path: Path) -> None:
        entry = "family", {"pid_file": str(tmp_path / "pids"), "seconds": 60}
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        with driver(kind, *entry, TMPDIR=str(temporary)) as living:
            assert eventually((tmp_path / "pids").exists)
            in_use = set(temporary.iterdir())
            assert in_use
            with driver(kind, *entry, TMPDIR=str(temporary)) as process:
                chain = psutil.Process(process.pid).children(recursive=True)
                for member in (process, *chain):
                    member.kill()
                assert gone(chain)
            assert set(temporary.iterdir()) > in_use
            with driver("inline", "echo", None, TMPDIR=str(temporary)) as process:
                process.communicate(timeout=30)
            assert set(temporary.iterdir()) == in_use
            assert living.poll() is None

    def test_no_process_survives_a_polite_end_of_all_at_once(self, kind: str, tmp_path: Path) -> None:
        pid_file = tmp_path / "pids"
        with driver(kind, "family", {"pid_file": str(pid_file), "seconds": 60}) as process:
            assert eventually(pid_file.exists)
            chain = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            assert {psutil.Process(pid) for pid in json.loads(pid_file.read_text())} < {*chain}
            for member in chain:  # as Slurm does at walltime; the attempt's children ignore it
                with suppress(psutil.NoSuchProcess):  # gone with the driver already
                    member.terminate()
            assert gone(chain)

    def test_an_interrupt_from_the_terminal_reaches_the_driver_alone(self, kind: str, tmp_path: Path) -> None:
        orders = [{"seconds": 1.5, "pid_file": str(tmp_path / name)} for name in "ab"]
        with driver(kind, "sleeps", *orders[: 1 if kind == "inline" else 2]) as process:
            assert eventually((tmp_path / "a").exists)
            os.killpg(process.pid, signal.SIGINT)  # as the terminal does: the whole foreground group
            time.sleep(0.3)
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=30)
        lines = out.splitlines()
        assert lines.count("interrupted") == 2
        assert sum("Returned(value='slept')" in line for line in lines) == (1 if kind == "inline" else 2)
        assert lines[-1] == "done"
        assert err == ""
        assert process.returncode == 0

    def test_nothing_of_attempts_or_workers_shows_on_the_terminal(self, kind: str) -> None:
        with driver(kind, "shouts", None) as process:
            _, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert err == ""
