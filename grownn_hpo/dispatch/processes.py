"""What the kernel tells of a process and its descendants, and what it does for us when one dies (Linux only).

psutil would tell the same, but finds children by reading every process of the machine: 20 ms on a busy node, several
times a second, on the core that trains.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

# <linux/prctl.h>
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_PF_EXITING = 0x4  # <linux/sched.h>

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def die_with_parent() -> None:
    """Have the kernel SIGKILL this process when the *thread* that forked it ends, however it ends."""
    if _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent ends, so that none can slip away."""
    if _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(pid: int) -> list[int]:
    """All living descendants of `pid`, parents before their children; empty once it has ended."""
    found: list[int] = []
    todo = [pid]
    while todo:
        with suppress(OSError):  # ended in between
            for task in Path(f"/proc/{todo.pop()}/task").iterdir():
                with suppress(OSError):
                    children = [int(child) for child in (task / "children").read_text().split()]
                    found += children
                    todo += children
    return found


def resident_bytes(pids: Iterable[int]) -> int:
    """The sum of their resident memory; pages that several share count several times."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    return total


def proportional_bytes(pids: Iterable[int]) -> int:
    """The sum of their proportional set sizes: a page of `n` processes counts 1/n to each; costs milliseconds."""
    total = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024
        except (OSError, StopIteration):  # ended, a zombie, or a kernel before 4.14
            total += resident_bytes([pid])
    return total


def exiting(pid: int) -> bool:
    """Whether the kernel has begun to take it down, or has done."""
    try:
        flags = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6]
    except OSError:
        return True
    return bool(int(flags) & _PF_EXITING)


def oom_counter(pid: int) -> Path:
    """The file in which the kernel counts what it kills for want of memory among `pid`'s memory cgroup alone.

    On a shared node others' processes are killed too, and so the whole machine's counter is only the last resort.
    """
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for kind, counter in (("memory", "memory.oom_control"), ("", "memory.events")):
                if kind in controllers.split(",") and kind in (mounts := _cgroup_mounts()):
                    root, where = mounts[kind]
                    file = Path(where, path.removeprefix(root).lstrip("/"), counter)
                    if file.exists():
                        return file
    return Path("/proc/vmstat")


def oom_kills(counter: Path) -> int:
    """The count in a file that `oom_counter` named; 0 where it has gone."""
    with suppress(OSError):
        for line in counter.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


@cache
def _cgroup_mounts() -> dict[str, tuple[str, str]]:
    """What part of the hierarchy is mounted where, for version 1's "memory" and, under "", version 2's."""
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():  # proc(5)
        place, _, what = line.partition(" - ")
        root, where = place.split()[3:5]
        kind, _, options = what.split()
        if kind == "cgroup" and "memory" in options.split(","):
            mounts["memory"] = (root, where)
        elif kind == "cgroup2":
            mounts[""] = (root, where)
    return mounts


def end_descendants(within_seconds: float = 2.0) -> None:
    """SIGKILL and reap every descendant of this process, which must have adopted its orphans."""
    deadline = time.monotonic() + within_seconds
    while (alive := descendants(os.getpid())) and time.monotonic() < deadline:
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        time.sleep(0.002)
