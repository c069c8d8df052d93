"""Every error a user can meet, and the exit code it ends with.

GrowNNError                 1  anything that is not the user's doing
├── InputError              2  the study file, the command or the folder is at fault; nothing was written
└── Stopped                 3  stopped early; `grownn resume` goes on from here
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class GrowNNError(Exception):
    """The root of this package's errors; the message is for a person."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input: where it is, what stands there, and the rule it breaks."""

    file: str
    key: str
    value: object
    rule: str

    def __str__(self) -> str:
        place = f"{self.file}: {self.key}" if self.key else self.file
        shown = repr(self.value)
        shown = shown if len(shown) <= 120 else shown[:117] + "..."
        return f"{place} = {shown}: {self.rule}"


class InputError(GrowNNError):
    """The input is at fault; nothing was written."""

    exit_code = 2

    def __init__(self, faults: Fault | Sequence[Fault] | str) -> None:
        if isinstance(faults, Fault):
            faults = (faults,)
        self.faults: tuple[Fault, ...] = () if isinstance(faults, str) else tuple(faults)
        super().__init__(faults if isinstance(faults, str) else "\n".join(map(str, self.faults)))


class Stopped(GrowNNError):
    """The study stopped early and can be resumed."""

    exit_code = 3
