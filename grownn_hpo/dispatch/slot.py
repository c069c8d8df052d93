"""A slot: room for one attempt at a time, held by the process that owns its launcher."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from grownn_hpo.dispatch.endings import Ending, Job, Lost, ending_from_json
from grownn_hpo.dispatch.scratch import Scratch

# One thread per slot, before any library is imported: more would slow each other down, and would change the results.
# Hashes are fixed so that the order of a set in somebody's environment cannot differ between attempts.
ENVIRONMENT: Mapping[str, str] = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}

# The launcher finds modules where its owner does (`-P`: and not in the folder it happens to start in).
_BOOT = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from grownn_hpo.dispatch.launcher import main
main(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
"""

_CLOSE_SECONDS = 2.0
_LOOK_SECONDS = 1.0
_FROZEN_LOOKS = 30
"""A launcher that said nothing through so many looks is frozen: it is heard about once a second."""
_IMPORTING_LOOKS = 600  # until it has said its first word; from a network file system imports may take minutes
_LOG_BYTES = 2000


class Slot:
    """Runs jobs one after another, each in a process forked from a launcher with `preload` imported.

    The launcher starts with the slot, so that the imports are under way before the first job, and again with the next
    job whenever it has died; `variables` are laid over its environment. `run` and `close` may be called from different
    threads.
    """

    def __init__(self, preload: Sequence[str] = (), variables: Mapping[str, str] | None = None) -> None:
        self._preload = tuple(preload)
        self._variables = dict(variables or {})
        self._lock = threading.Lock()
        self._closed = False
        self._launcher: _Launcher | None = _Launcher(self._preload, self._variables)

    def run(self, job: Job) -> Ending:
        """Run one attempt to its ending; `Lost` if it cannot be started, the launcher dies or the slot is closed."""
        with self._lock:
            if self._closed:
                return Lost("the slot was closed before the attempt began")
            if self._launcher is None or not self._launcher.alive:
                self._discard()
                try:
                    self._launcher = _Launcher(self._preload, self._variables)
                except OSError as error:  # no room for a temporary file, no memory or number for a process
                    return Lost(f"no launcher of attempts could be started: {error}")
            launcher = self._launcher
        ending = launcher.run(job)
        return Lost("the slot was closed") if self._closed else ending

    def close(self) -> None:
        """End the running attempt and the launcher; leaves no process and no file. Returns within seconds."""
        with self._lock:
            self._closed = True
            self._discard()

    def _discard(self) -> None:
        if self._launcher is not None:
            self._launcher.close()
            self._launcher = None


class _Frozen(Exception):
    """A launcher is there, and gives no sign of life."""


class _Launcher:
    """The owner's end of a `launcher` process."""

    def __init__(self, preload: Sequence[str], variables: Mapping[str, str]) -> None:
        self._scratch = Scratch()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the launcher)
        self._socket, theirs = socket.socketpair()
        self._heard, self._spoke = b"", False
        self._lost = False
        path = [entry or str(Path.cwd()) for entry in sys.path]
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-c", _BOOT),
                    *(json.dumps(path), str(theirs.fileno()), str(self._scratch.path), *preload),
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **ENVIRONMENT, **variables},
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        # A dying process is heard to end before it can be reaped: its files are closed first.
        return not self._lost and self._process.poll() is None

    def run(self, job: Job) -> Ending:
        pid = None
        try:
            self._socket.sendall(job.to_json().encode() + b"\n")
            if started := self._line():
                pid = json.loads(started)["started"]
            if ended := self._line():
                return ending_from_json(ended)
        except _Frozen as frozen:
            self._process.kill()
            self._process.wait()
            return Lost(str(frozen))
        except (OSError, ValueError):  # it died before it read the job, or in the middle of a line
            pass
        self._lost = True
        if pid is not None:
            # The kernel has ended the attempt with its parent; what it started by exec is still in its group.
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        return Lost(f"the launcher of attempts ended; it said: {self._said() or 'nothing'}")

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # also wakes a `run` that waits in another thread
        self._process.terminate()  # heeded only while it imports
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:  # frozen
            self._process.kill()
            self._process.wait()
        self._socket.close()
        self._log.close()
        self._scratch.remove()

    def _line(self) -> bytes:
        """Its next line; empty once it has ended. Raises _Frozen.

        Silence is counted in looks, not by the clock: a machine that slept, and a driver stopped with Ctrl-Z, have
        looked but once in all that time.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        silent = 0
        while True:
            line, end, rest = self._heard.partition(b"\n")
            if end:
                self._heard, self._spoke = rest, True
                if line:  # an empty one is a sign of life and no more
                    return line
            elif poll.poll(_LOOK_SECONDS * 1000):
                silent = 0
                chunk = self._socket.recv(1 << 16)
                if not chunk:
                    return b""
                self._heard += chunk
            else:
                silent += 1
                if silent >= (_FROZEN_LOOKS if self._spoke else _IMPORTING_LOOKS):
                    raise _Frozen(
                        f"its launcher was frozen: no sign of life for {silent * _LOOK_SECONDS:.0f} s; it was killed"
                    )

    def _said(self) -> str:
        with suppress(ValueError):  # closed meanwhile
            self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - _LOG_BYTES))
            return self._log.read().decode(errors="replace").strip()
        return ""
