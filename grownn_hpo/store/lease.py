"""Who drives an arm now. Two drivers on one arm would waste work; the second refuses and names the first.

The lease is an operating-system lock on `lease.json`, which the kernel lets go when its holder dies, however it dies;
the file says who that is. A lock does not reach across hosts on every network file system, so a lease that another host
wrote and never released is not taken without being told to.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import time
from pathlib import Path
from types import TracebackType

from grownn_hpo.errors import InputError


class Lease:
    """Held from `with` to its end; entering raises InputError if somebody else drives."""

    def __init__(self, path: Path, take_over: bool = False) -> None:
        self._path = path
        self._take_over = take_over
        self._descriptor: int | None = None
        self.token = secrets.token_hex(16)

    def __enter__(self) -> Lease:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise InputError(f"{self._path}: is a symbolic link, and may lead anywhere; remove it") from None
        if not _lock(descriptor):
            os.close(descriptor)
            raise InputError(
                f"{self._path.parent}: is being driven already by {holder(self._path)}; watch it with"
                f" `grownn status {self._path.parent}`, or stop it first"
            )
        left_by = _read(self._path)
        elsewhere = left_by.get("host") not in (None, socket.gethostname())
        if elsewhere and not self._take_over:
            os.close(descriptor)
            raise InputError(
                f"{self._path.parent}: a lease was left by {holder(self._path)}, which cannot be checked from here;"
                f" once that driver is surely gone: grownn resume {self._path.parent} --take-over"
            )
        self._descriptor = descriptor
        try:
            self._write(
                {
                    "host": socket.gethostname(),
                    "pid": os.getpid(),
                    "job": os.environ.get("SLURM_JOB_ID"),
                    "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                    "token": self.token,
                }
            )
        except OSError:  # without `__exit__`, which is never called for this one
            os.close(descriptor)
            self._descriptor = None
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # a full disk must not hide why the study stopped
                self._write({})
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, content: dict[str, object]) -> None:
        # In place, not renamed: the lock belongs to this file, and a torn text only loses the holder's name.
        assert self._descriptor is not None
        data = json.dumps(content).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, data, 0)
        os.fsync(self._descriptor)


def _lock(descriptor: int) -> bool:
    for pause in (0.05, 0.1, 0.2, None):  # a reader that asks `is_driven` holds the lock for an instant
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if pause is not None:
                time.sleep(pause)
        else:
            return True
    return False


def is_driven(path: Path) -> bool:
    """Whether a driver on this host holds the lease at `path` now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(path: Path) -> str:
    """The lease's holder in words."""
    content = _read(path)
    if not content:
        return "a driver that did not write its name"
    job = f", Slurm job {content['job']}" if content.get("job") else ""
    return f"process {content.get('pid')} on {content.get('host')}{job}, since {content.get('since')}"


def read_token(path: Path) -> str | None:
    """The token that the lease's holder drew when it took it; None if it cannot be read."""
    token = _read(path).get("token")
    return token if isinstance(token, str) else None


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text() or "{}")
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
