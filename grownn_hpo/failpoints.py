"""Places where the program can be made to fail on purpose: one before every step that is meant to last.

They are off unless the environment variable GROWNN_FAILPOINTS is set, which is read once, by the first import here:

    GROWNN_FAILPOINTS="LOG [ROLE:NAME@N=EFFECT]..."

LOG      a file to which every pass of a failpoint adds a line, `ROLE NAME PID`
ROLE     who passes: `driver`, `segment`, or `*` for both
NAME     the failpoint's name or a shell's pattern of names: `result.rename`, `*.fsync`, `*`
N        which pass by this role of these names, from 1, counted in LOG: over all processes, and over restarts; `3+` is
         the third and every later one
EFFECT   `kill`, SIGKILL of the process that passes; `torn`, half of the bytes of a write or an append, and then that;
         or the name of an errno, such as EIO, ESTALE or ENOSPC, raised as an OSError

What comes to pass comes before the step. A kill after a step is one before the next: nothing that lasts lies between.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shlex
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

VARIABLE = "GROWNN_FAILPOINTS"
KILL, TORN = "kill", "torn"
TEARABLE = (".write", ".append")
"""How the names of the failpoints end at which bytes are written."""

_FORM = re.compile(r"(?P<role>[a-z*]+):(?P<name>[a-z_.*?]+)@(?P<nth>[1-9][0-9]*)(?P<on>\+?)=(?P<effect>[A-Za-z]+)")


class Role(StrEnum):
    """Who passes a failpoint: the program as it was started, or an attempt at a segment."""

    DRIVER = "driver"
    SEGMENT = "segment"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to happen at which pass."""

    role: str
    name: str
    nth: int
    and_later: bool
    effect: str

    @classmethod
    def read(cls, text: str) -> Order:
        """The order that `text` gives; ValueError if it gives none."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{VARIABLE}: {text!r} is no order: one reads ROLE:NAME@N=EFFECT, N from 1, or from N on N+"
            )
        role, name, nth, on, effect = found.groups()
        if role not in ("*", *Role):
            raise ValueError(f"{VARIABLE}: {text!r}: the role is one of {', '.join(Role)}, *")
        if effect not in (KILL, TORN) and effect not in errno.errorcode.values():
            raise ValueError(f"{VARIABLE}: {text!r}: the effect is {KILL}, {TORN} or the name of an errno")
        if effect == TORN and not name.endswith(TEARABLE):
            raise ValueError(f"{VARIABLE}: {text!r}: only what ends in {' or '.join(TEARABLE)} can be torn")
        return cls(role, name, int(nth), bool(on), effect)

    def means(self, role: str, name: str) -> bool:
        return self.role in ("*", role) and fnmatchcase(name, self.name)


@dataclass(frozen=True, slots=True)
class Armed:
    """The variable's content: where passes are counted, and what is to happen at some of them."""

    log: Path
    orders: tuple[Order, ...]

    @classmethod
    def read(cls, text: str) -> Armed:
        """What `text` says; ValueError if it cannot be understood."""
        log, *orders = shlex.split(text) or [""]
        if not Path(log).is_absolute():
            raise ValueError(f"{VARIABLE}: begins with {log!r}: must begin with the absolute path of the log of passes")
        return cls(Path(log), tuple(map(Order.read, orders)))

    def due(self, role: str, name: str) -> str | None:
        """Log a pass; the effect that is ordered for it, if any."""
        with self.log.open("a+") as log:
            fcntl.flock(log, fcntl.LOCK_EX)  # counting and adding are one step among processes and threads
            log.write(f"{role} {name} {os.getpid()}\n")
            log.flush()
            if not self.orders:
                return None
            log.seek(0)
            passes = [line.split()[:2] for line in log]
        for order in self.orders:
            if order.means(role, name):
                nth = sum(order.means(*each) for each in passes)
                if nth == order.nth or (order.and_later and nth > order.nth):
                    return order.effect
        return None


_armed: Armed | None = None
_role = Role.DRIVER


def arm(text: str | None) -> None:
    """Turn the failpoints on as the variable's content `text` says, or off. For processes forked from a warm one."""
    global _armed
    _armed = Armed.read(text) if text else None


def act_as(role: Role) -> None:
    """Say what this process is, from now on."""
    global _role
    _role = role


def meet(name: str, path: Path | str | None = None, tear: Callable[[], object] | None = None) -> None:
    """Pass the failpoint `name`, before a step on the file at `path`; raises the OSError that is ordered, if any.

    `tear` does half of the step, where there is such a thing.
    """
    if _armed is None:
        return
    effect = _armed.due(_role, name)
    if effect is None:
        return
    if effect == TORN and tear is not None:
        tear()
    if effect in (KILL, TORN):
        os.kill(os.getpid(), signal.SIGKILL)
    number = getattr(errno, effect)
    raise OSError(number, os.strerror(number), None if path is None else str(path))


arm(os.environ.get(VARIABLE))
