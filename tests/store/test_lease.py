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
from grownn_hpo.store.lease import Lease, holder, is_driven

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
    assert not is_driven(path)
    with Lease(path, take_over=True):
        assert str(os.getpid()) in holder(path)
    with Lease(path):
        pass


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
