"""Who drives an arm now. Two drivers on one arm would waste work; the second refuses and names the first.

The lease is an operating-system lock on `lease.json`, which the kernel lets go when its holder dies, however it dies;
the file says who that is. A lock does not reach across hosts on every network file system, so a lease that another host
wrote and never released is taken only if its driver is surely gone: it was an earlier start of this very Slurm job, or
Slurm says that its job has ended. Else one has to be told to.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pwd
import secrets
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from pydantic_core import from_json

from grownn_hpo import failpoints
from grownn_hpo.errors import InputError
from grownn_hpo.files import PASSING, open_regular
from grownn_hpo.store.commit import read_if_there
from grownn_hpo.store.storage import persevering

JobIsThere = Callable[[str, str | None], bool | None]
"""Whether Slurm still has the job of that id, of the cluster of that name; None if that cannot be told."""


class Lease:
    """Held from `with` to its end; entering raises InputError if somebody else drives, or may do so.

    `token` is random, of this holding alone: who reads it at `path` sees the same folder. `taken_from` says in words
    whose lease, left on another host, was taken; None if there was none.
    """

    def __init__(self, path: Path, take_over: bool = False, job_is_there: JobIsThere | None = None) -> None:
        self._path = path
        self._take_over = take_over
        self._job_is_there = job_is_there
        self._descriptor: int | None = None
        self.token = secrets.token_hex(16)
        self.taken_from: str | None = None

    def __enter__(self) -> Lease:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, 0o644)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise InputError(f"{self._path}: is a symbolic link, and may lead anywhere; remove it") from None
            if error.errno in (errno.EISDIR, errno.ENXIO):
                raise InputError(f"{self._path}: is no file; remove it, for a driver has to lock it") from None
            raise
        try:
            self._refuse_foreign(descriptor)
            if not _lock(descriptor):
                raise InputError(
                    f"{self._path.parent}: is being driven already by {holder(self._path)}; watch it with"
                    f" `grownn status {self._path.parent}`, or stop it first"
                )
            left = _read(self._path)
            self.taken_from = None
            if left.get("host") not in (None, socket.gethostname()):
                self.taken_from = f"{_in_words(left)}: {self._why_gone(left)}"
            self._descriptor = descriptor
            self._write(
                "take",
                {
                    "host": socket.gethostname(),
                    "pid": os.getpid(),
                    "job": os.environ.get("SLURM_JOB_ID"),
                    "cluster": os.environ.get("SLURM_CLUSTER_NAME"),
                    "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                    "token": self.token,
                },
            )
        except BaseException:  # without `__exit__`, which is never called for this one
            os.close(descriptor)
            self._descriptor = None
            raise
        return self

    def _refuse_foreign(self, descriptor: int) -> None:
        """InputError where the lease is no file, or its folder another user's: what we wrote there would be theirs."""
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(f"{self._path}: is no file; remove it, for a driver has to lock it")
        owner = self._path.parent.stat().st_uid
        if owner != os.geteuid():
            raise InputError(
                f"{self._path.parent}: belongs to user {_user(owner)}, and this is {_user(os.geteuid())}: go on as that"
                " user, or copy the folder to have one of your own"
            )

    def _why_gone(self, left: dict[str, object]) -> str:
        """Why the driver that left this lease on another host is gone; InputError if it may not be."""
        if self._take_over:
            return "taken over as told"
        job, cluster = left.get("job"), left.get("cluster")
        what = "which cannot be checked from here; once that driver is surely gone"
        if isinstance(job, str) and (cluster is None or isinstance(cluster, str)):
            if (job, cluster) == (os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_CLUSTER_NAME")):
                return "an earlier start of this job, which Slurm has requeued"
            there = None if self._job_is_there is None else self._job_is_there(job, cluster)
            if there is False:
                return "Slurm says that this job has ended"
            if there:
                what = f"which Slurm still has; end it (scancel {job}), and only if it does not go"
        raise InputError(
            f"{self._path.parent}: a lease was left by {_in_words(left)}, {what}:"
            f" grownn resume {self._path.parent} --take-over"
        )

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # a full disk must not hide why the study stopped
                self._write("release", {})
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, why: str, content: dict[str, object]) -> None:
        # In place, not renamed: the lock belongs to this file, and a torn text only loses the holder's name.
        assert self._descriptor is not None
        descriptor, data = self._descriptor, json.dumps(content).encode()

        def write() -> None:
            os.ftruncate(descriptor, 0)
            half = data[: len(data) // 2]
            failpoints.meet(f"lease.{why}.write", self._path, lambda: os.pwrite(descriptor, half, 0))
            os.pwrite(descriptor, data, 0)
            failpoints.meet(f"lease.{why}.fsync", self._path)
            os.fsync(descriptor)

        persevering(write)


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


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
    """Whether a driver holds the lease at `path` now; what another host has not let go cannot be checked from here."""
    try:
        file = open_regular(path)
    except OSError as error:
        if error.errno in PASSING:
            raise
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        file.close()
    return _read(path).get("host") not in (None, socket.gethostname())


def holder(path: Path) -> str:
    """The lease's holder in words."""
    return _in_words(_read(path))


def read_token(path: Path) -> str | None:
    """The token of the lease at `path` as it is seen from here; None if nobody holds it, or the file is not seen."""
    try:
        token = _read(path).get("token")
    except OSError:
        return None
    return token if isinstance(token, str) else None


def _in_words(content: dict[str, object]) -> str:
    if not content:
        return "a driver that did not write its name"
    job = f", Slurm job {content['job']}" if content.get("job") else ""
    return f"process {content.get('pid')} on {content.get('host')}{job}, since {content.get('since')}"


def _read(path: Path) -> dict[str, object]:
    try:
        content = from_json(read_if_there(path), allow_inf_nan=False)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
