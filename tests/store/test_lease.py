"""The lease: one driver an arm, whoever dies how."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from grownn_hpo.errors import InputError
from grownn_hpo.store.lease import Lease, holder, is_driven, read_token

HOLDER = """
import sys
from pathlib import Path
from grownn_hpo.store.lease import Lease
with Lease(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def held_elsewhere(path: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease until it is told, or killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_driver_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    with held_elsewhere(path, SLURM_JOB_ID="4242") as process:
        assert is_driven(path)
        for take_over in (False, True):  # taking over is for other hosts: here the kernel knows better
            with pytest.raises(InputError) as refused, Lease(path, take_over):
                pass
            for part in (str(tmp_path), str(process.pid), socket.gethostname(), "Slurm job 4242", "grownn status"):
                assert part in str(refused.value)


def test_the_kernel_frees_a_killed_drivers_lease(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    with held_elsewhere(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_driven(path)
        assert str(process.pid) in holder(path)
        with Lease(path):
            assert str(os.getpid()) in holder(path)


def test_a_lease_ends_with_its_block(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    assert not is_driven(path)
    for _ in range(2):
        with Lease(path):
            assert is_driven(path)
            with pytest.raises(InputError, match="driven already"), Lease(path):
                pass
            assert is_driven(path)
        assert not is_driven(path)
        assert holder(path) == "a driver that did not write its name"
    with pytest.raises(KeyError), Lease(path):
        raise KeyError
    assert not is_driven(path)


def test_another_hosts_lease_is_taken_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    left = json.dumps({"host": "node17", "pid": 99, "job": None, "since": "2026-11-22T10:00:00+0000"})
    path.write_text(left)
    with pytest.raises(InputError, match=r"process 99 on node17, since 2026.*--take-over"), Lease(path):
        pass
    assert path.read_text() == left
    assert is_driven(path)  # as far as can be told from here
    with Lease(path, take_over=True):
        assert str(os.getpid()) in holder(path)
    with Lease(path):
        pass


LEFT = {"host": "node17", "pid": 99, "job": "4242", "cluster": "alpha", "since": "2026-11-22T10:00:00+0000"}


class Slurm:
    """What Slurm answers, and what it was asked."""

    def __init__(self, answer: bool | None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, job: str, cluster: str | None) -> bool | None:
        self.asked.append((job, cluster))
        return self.answer


@pytest.fixture
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_CLUSTER_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_job")
def test_a_requeued_job_takes_its_own_lease_wherever_it_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lease.json"
    path.write_text(json.dumps(LEFT))
    monkeypatch.setenv("SLURM_JOB_ID", "4242")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "beta")  # where 4242 is somebody else's number
    with pytest.raises(InputError, match="cannot be checked"), Lease(path):
        pass
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "alpha")
    slurm = Slurm(True)  # of course it is there: it is this one
    with Lease(path, job_is_there=slurm) as lease:
        assert "99 on node17, Slurm job 4242" in str(lease.taken_from)
        assert "earlier start of this job" in str(lease.taken_from)
        assert json.loads(path.read_text())["job"] == "4242"
    assert slurm.asked == []


@pytest.mark.usefixtures("no_job")
def test_another_jobs_lease_is_taken_once_slurm_says_that_the_job_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    left = json.dumps(LEFT)
    path.write_text(left)
    for answer, told in ((True, r"4242, .*Slurm still has.*scancel 4242.*--take-over"), (None, "cannot be checked")):
        slurm = Slurm(answer)
        with pytest.raises(InputError, match=told), Lease(path, job_is_there=slurm):
            pass
        assert slurm.asked == [("4242", "alpha")]
        assert path.read_text() == left
        assert is_driven(path)  # as far as can be told from here
    with Lease(path, job_is_there=Slurm(False)) as lease:
        assert "Slurm says that this job has ended" in str(lease.taken_from)
    with Lease(path) as lease:
        assert lease.taken_from is None


@pytest.mark.usefixtures("no_job")
@pytest.mark.parametrize("changed", [{"job": None}, {"job": 4242}, {"job": ["4242"]}, {"cluster": 5}])
def test_slurm_is_asked_only_of_jobs(tmp_path: Path, changed: dict[str, object]) -> None:
    path = tmp_path / "lease.json"
    path.write_text(json.dumps(LEFT | changed))
    slurm = Slurm(False)
    with pytest.raises(InputError, match="cannot be checked"), Lease(path, job_is_there=slurm):
        pass
    assert slurm.asked == []


def test_slurm_is_not_asked_on_the_same_host_nor_when_told(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    slurm = Slurm(True)
    path.write_text(json.dumps(LEFT | {"host": socket.gethostname()}))
    with Lease(path, job_is_there=slurm) as lease:  # the kernel knows that it is free
        assert lease.taken_from is None
    path.write_text(json.dumps(LEFT))
    with Lease(path, take_over=True, job_is_there=slurm) as lease:
        assert "as told" in str(lease.taken_from)
    assert slurm.asked == []


def test_the_token_is_another_each_time_and_goes_with_the_lease(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    assert read_token(path) is None
    tokens = set()
    for _ in range(3):
        with Lease(path) as lease:
            assert read_token(path) == lease.token
            tokens.add(lease.token)
        assert read_token(path) is None
    assert len(tokens) == 3
    assert {len(token) for token in tokens} == {32}
    path.write_text('{"token": 5}')
    assert read_token(path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00\x00", "null", '"text"'])
def test_a_torn_lease_only_loses_its_holders_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lease.json"
    path.write_text(content)
    assert holder(path) == "a driver that did not write its name"
    with Lease(path):
        assert str(os.getpid()) in holder(path)


def test_a_lease_that_is_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "lease.json").symlink_to(precious)
    with pytest.raises(InputError, match="symbolic link"), Lease(tmp_path / "lease.json"):
        pass
    assert precious.read_text() == "mine"


def test_a_lease_that_cannot_be_written_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lease.json"

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), Lease(path):
        pass
    monkeypatch.undo()
    assert not is_driven(path)
    with Lease(path):
        pass
