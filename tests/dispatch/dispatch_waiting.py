"""Waiting, with a limit, for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import psutil


def eventually(holds: Callable[[], bool], within: float = 10) -> bool:
    deadline = time.monotonic() + within
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def alive(process: psutil.Process) -> bool:
    """A zombie is not: it only waits for whoever asked to be told."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pid_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and alive(psutil.Process(pid))


def gone(processes: Iterable[psutil.Process], within: float = 3) -> bool:
    """Tens of milliseconds if the cores are free."""
    watched = list(processes)
    return eventually(lambda: not any(map(alive, watched)), within)
