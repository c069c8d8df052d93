"""What is asked of a dispatcher, and the ways in which an attempt at it ends.

Both travel as JSON text between processes: nothing is pickled by this room, and nothing of a result is lost in between.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from signal import Signals

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Job:
    """One call of `entry` in a process of its own.

    `entry` is `"package.module:function"` with the signature `(payload: str, beat: Callable[[], None]) -> str`; payload
    and answer are JSON text. Jobs with a smaller `priority` start first, equals in the order submitted. The attempt is
    ended when it holds more than `memory_gib` or has not called `beat` for `stalled_seconds`. An attempt that has less
    than `useful_seconds` comes to nothing that would be kept: it is not begun in a slot that ends before that.
    """

    key: str
    entry: str
    payload: str
    priority: tuple[int, ...] = ()
    memory_gib: float | None = None
    stalled_seconds: float = math.inf
    useful_seconds: float = 0.0

    def __post_init__(self) -> None:
        module, _, function = self.entry.partition(":")
        if not (module and function):
            raise ValueError(f'entry = {self.entry!r}: must be "package.module:function"')
        if not self.stalled_seconds > 0:
            raise ValueError(f"stalled_seconds = {self.stalled_seconds!r}: must be above 0")
        if not self.useful_seconds >= 0:
            raise ValueError(f"useful_seconds = {self.useful_seconds!r}: must be at least 0")
        if self.memory_gib is not None and not self.memory_gib > 0:
            raise ValueError(f"memory_gib = {self.memory_gib!r}: must be above 0, or None for no limit")

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        values = json.loads(text)
        return cls(**{**values, "priority": tuple(values["priority"])})


@dataclass(frozen=True, slots=True)
class Returned:
    """The entry returned this text."""

    value: str


@dataclass(frozen=True, slots=True)
class Raised:
    """The entry raised an exception; `output_tail` is the end of what it had printed."""

    kind: str
    message: str
    traceback: str
    output_tail: str = ""


@dataclass(frozen=True, slots=True)
class Died:
    """The process ended without an answer: `exit_code` as in `subprocess`, minus the signal's number if by a signal."""

    exit_code: int
    output_tail: str = ""

    @property
    def cause(self) -> str:
        """Such as `SIGSEGV` or `exit code 3`."""
        return Signals(-self.exit_code).name if self.exit_code < 0 else f"exit code {self.exit_code}"


@dataclass(frozen=True, slots=True)
class Stalled:
    """The watchdog ended it after `seconds` without a beat; `output_tail` ends with where each thread stood."""

    seconds: float
    output_tail: str = ""


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """It went over its memory limit, or over the machine's."""

    detail: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Something around the attempt vanished; this says nothing about the job and never counts against it.

    `had_all_time`: it took all the time that a slot is there for, from the slot's beginning to its end.
    """

    reason: str
    had_all_time: bool = False


Ending = Returned | Raised | Died | Stalled | OutOfMemory | Lost

_ENDINGS: dict[str, type[Ending]] = {c.__name__: c for c in (Returned, Raised, Died, Stalled, OutOfMemory, Lost)}


def ending_to_json(ending: Ending) -> str:
    """One line of ASCII JSON, `{"ending": <type>, <its fields>}`."""
    return json.dumps({"ending": type(ending).__name__, **asdict(ending)})


def ending_from_json(text: str | bytes) -> Ending:
    """The inverse of `ending_to_json`; raises ValueError for any other text."""
    try:
        values = json.loads(text)
        kind = _ENDINGS[values.pop("ending")]
        if values.keys() != {f.name for f in fields(kind)}:
            raise KeyError(*values)
        return kind(**values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{text[:80]!r}...: is not an ending as `ending_to_json` writes it") from error
