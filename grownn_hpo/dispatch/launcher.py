"""The fork server behind one slot: it imports what attempts need once, forks them, and watches over them.

Why not multiprocessing's: that one re-imports the driver's main module in every child, needs a worker that may have
children, and keeps watch over nobody. Here the parent of the attempt *is* the watchdog, in a single thread, so that the
kernel's own links (parent-death signal, adoption of orphans, end of file on a socket) hold the chain
driver - worker - launcher - attempt together whichever of them is killed.

The owner speaks first and both sides end their lines with a newline:

    owner:     <Job as JSON>
    launcher:  {"started": <pid>}
    launcher:  <Ending as JSON>

with empty lines from the launcher in between, about one a second, by which the owner knows that it is not frozen;
and when the owner's end closes, everything here ends.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from grownn_hpo.dispatch.attempt import TELL_WHERE, attempt
from grownn_hpo.dispatch.endings import (
    GIB,
    Died,
    Ending,
    Job,
    Lost,
    OutOfMemory,
    Raised,
    Stalled,
    ending_from_json,
    ending_to_json,
)
from grownn_hpo.dispatch.processes import (
    adopt_orphans,
    descendants,
    end_descendants,
    exiting,
    oom_counter,
    oom_kills,
    proportional_bytes,
    resident_bytes,
)

WATCH_SECONDS = 0.2
TELLING_SECONDS = 0.3  # what a stalled attempt is given to print where it stands
TAIL_BYTES = 16 * 1024
ALIVE_SECONDS = 1.0

# An attempt does not send itself these: schedulers, shells and people do.
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(control: int, scratch: str, preload: list[str]) -> None:
    """Serve the owner at the other end of the socket `control` until it closes; then leave nothing behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    adopt_orphans()
    for module in preload:
        try:
            importlib.import_module(module)
        except Exception as error:  # an attempt that needs it will say so in its own ending
            print(f"{module} is not preloaded: {error!r}", file=sys.stderr)
    # Until here TERM ends us, so that an owner need not wait for imports; from here on, its going away does. A cluster
    # sends TERM to all of a job's processes at once, and somebody must clear up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.freeze()  # or the first collection in each attempt would copy every page of the imports
    try:
        with socket.socket(fileno=control) as owner, owner.makefile("rb") as requests:
            _say_alive(owner)
            while line := requests.readline():
                ending = _Watch(owner, Path(scratch)).over(Job.from_json(line.decode()))
                if ending is None:
                    break
                owner.sendall(ending_to_json(ending).encode() + b"\n")
    except (BrokenPipeError, ConnectionResetError):
        pass  # the owner has gone, as at the end of its lines
    finally:
        end_descendants()
        shutil.rmtree(scratch, ignore_errors=True)


def ending_of(
    status: int, answer: Ending | None, ended_for: Stalled | OutOfMemory | None, oom_kill: bool, tail: str
) -> Ending:
    """What an attempt came to.

    `status` as in `Died.exit_code`; `answer`, what it said itself in time; `ended_for`, why the watchdog ended it;
    `oom_kill`, whether the kernel killed something in its cgroup for want of memory just then; `tail`, the end of its
    output.
    """
    if answer is not None:  # it had finished, whatever befell it in the instant after
        return replace(answer, output_tail=tail) if isinstance(answer, Raised) else answer
    if isinstance(ended_for, Stalled):
        return replace(ended_for, output_tail=tail)
    if ended_for is not None:
        return ended_for
    if status == -signal.SIGKILL and oom_kill:
        return OutOfMemory("the kernel killed it for want of memory")
    if -status in _FROM_OUTSIDE:
        return Lost(f"the attempt was ended by {Died(status).cause} from outside")
    return Died(status, tail)


class _Watch:
    """Over one attempt, from its fork to the end of its last descendant."""

    def __init__(self, owner: socket.socket, scratch: Path) -> None:
        self._owner = owner
        self._scratch = scratch
        self._answer = bytearray()
        self._output = bytearray()
        self._status: int | None = None
        self._ended_for: Stalled | OutOfMemory | None = None
        self._oom_counter = oom_counter(os.getpid())
        self._oom_kills = deque([oom_kills(self._oom_counter)], maxlen=2)

    def over(self, job: Job) -> Ending | None:
        """Fork the attempt and return its ending; None if the owner went away meanwhile."""
        folder = self._scratch / "attempt"
        folder.mkdir()
        wake_out, wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        output_out, output_in = os.pipe2(os.O_CLOEXEC)
        answer_out, answer_in = os.pipe2(os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_in)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        me = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            signal.set_wakeup_fd(-1)
            for which in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(which, signal.SIG_DFL)
            os.close(self._owner.detach())
            for descriptor in (wake_out, wake_in, output_out, answer_out):
                os.close(descriptor)
            attempt(job, me, output_in, answer_in, folder)
        try:
            os.close(output_in)
            os.close(answer_in)
            self._owner.sendall(json.dumps({"started": self._pid}).encode() + b"\n")
            return self._until_the_end(job, wake_out, output_out, answer_out)
        finally:
            end_descendants()
            signal.set_wakeup_fd(-1)
            for descriptor in (wake_out, wake_in, output_out, answer_out):
                os.close(descriptor)
            shutil.rmtree(folder, ignore_errors=True)

    def _until_the_end(self, job: Job, wake: int, output: int, answer: int) -> Ending | None:
        for pipe in (output, answer):
            os.set_blocking(pipe, False)
        beaten = looked = told = time.monotonic()
        kill_at = float("inf")
        with selectors.DefaultSelector() as selector:
            for descriptor in (self._owner.fileno(), wake, output, answer):
                selector.register(descriptor, selectors.EVENT_READ)
            while self._status is None:
                ready = {key.fd for key, _ in selector.select(WATCH_SECONDS)}
                now = time.monotonic()
                if self._owner.fileno() in ready:
                    return None  # it says nothing while an attempt runs: this is its end
                if now - told >= ALIVE_SECONDS:
                    told = now
                    _say_alive(self._owner)
                if wake in ready:
                    os.read(wake, 1 << 16)
                    self._reap()
                for pipe, hear in ((output, self._hear_output), (answer, self._hear_answer)):
                    if pipe in ready:
                        # One read at a time: a flood of output must not keep us from the watch.
                        chunk = os.read(pipe, 1 << 16)
                        hear(chunk)
                        if not chunk:
                            selector.unregister(pipe)  # closed by the attempt
                        elif pipe == answer:
                            beaten = now
                if now >= kill_at:
                    self._kill()
                elif self._ended_for is None and now - beaten > job.stalled_seconds:
                    self._ended_for = Stalled(now - beaten)
                    os.kill(self._pid, TELL_WHERE)
                    kill_at = now + TELLING_SECONDS
                elif self._ended_for is None and now - looked >= WATCH_SECONDS:
                    looked = now
                    self._count_oom_kills()
                    if job.memory_gib is not None:
                        self._hold_to(job.memory_gib)
        # The last count may have been read after the kill that we look for: compare with the one before.
        oom_kill = oom_kills(self._oom_counter) > self._oom_kills[0]
        end_descendants()  # before the last of the output is read, or they could go on writing
        self._hear_output(_drain(output))
        self._hear_answer(_drain(answer))
        return ending_of(
            self._status, self._said(), self._ended_for, oom_kill, bytes(self._output).decode(errors="replace")
        )

    def _hear_output(self, chunk: bytes) -> None:
        self._output += chunk
        del self._output[:-TAIL_BYTES]

    def _hear_answer(self, chunk: bytes) -> None:
        if self._ended_for is None:  # the signal that asks where it stands may itself free it: too late
            self._answer += chunk if self._answer else chunk.lstrip(b"\n")  # beats have done their work by arriving

    def _count_oom_kills(self) -> None:
        counter = oom_counter(self._pid)
        if exiting(self._pid):
            return  # it may already seem to be in the root's cgroup
        if counter != self._oom_counter:  # it was moved to another cgroup
            self._oom_counter = counter
            self._oom_kills.clear()
        self._oom_kills.append(oom_kills(counter))

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                if ended[0] == self._pid:
                    self._status = os.waitstatus_to_exitcode(ended[1])

    def _hold_to(self, memory_gib: float) -> None:
        tree = [self._pid, *descendants(self._pid)]
        limit = memory_gib * GIB
        # The cheap sum counts shared pages once per process, so it only ever errs towards the exact one.
        if resident_bytes(tree) > limit and (held := proportional_bytes(tree)) > limit:
            self._ended_for = OutOfMemory(f"held {held / GIB:.2f} GiB, its limit is {memory_gib:g} GiB")
            self._kill()

    def _kill(self) -> None:
        if self._status is None:  # not reaped yet, so the number is still its own
            os.kill(self._pid, signal.SIGKILL)

    def _said(self) -> Ending | None:
        """The attempt's own ending, if it came to give it whole."""
        return ending_from_json(bytes(self._answer)) if self._answer.endswith(b"\n") else None


def _say_alive(owner: socket.socket) -> None:
    """An empty line, unless the owner, frozen itself, has left no room for one."""
    with suppress(BlockingIOError):
        owner.send(b"\n", socket.MSG_DONTWAIT)


def _drain(descriptor: int) -> bytes:
    """What can be read from a non-blocking descriptor now; empty at its end."""
    chunks = []
    with suppress(BlockingIOError):
        while chunk := os.read(descriptor, 1 << 16):
            chunks.append(chunk)
    return b"".join(chunks)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
