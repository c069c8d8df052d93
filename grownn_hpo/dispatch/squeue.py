"""What Slurm says of this user's jobs, asked by name."""

from __future__ import annotations

import getpass
import math
import re
import subprocess
from dataclasses import dataclass

_ANSWER_SECONDS = 60
_FORMAT = "%i|%T|%L|%N|%r"
_TIME = re.compile(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)")
_WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT")
_THERE = ("RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")


class QueueSilent(Exception):
    """Slurm could not be asked just now; this says nothing about any job."""


@dataclass(frozen=True, slots=True)
class Queued:
    """One job as `squeue` tells it: by its id, `waiting` or running (neither: it is ending), with seconds to go.

    `seconds_left` is infinite without a time limit and while the job waits; `reason` says what it waits for.
    """

    job_id: str
    state: str
    seconds_left: float
    node: str
    reason: str

    @property
    def waiting(self) -> bool:
        return self.state in _WAITING

    @property
    def running(self) -> bool:
        return self.state in _THERE


def queued(name: str) -> dict[str, Queued]:
    """This user's jobs of that name that have not ended, by their ids; raises QueueSilent if Slurm does not answer."""
    return read_queue(
        _ask("squeue", "--noheader", f"--user={getpass.getuser()}", f"--name={name}", f"--format={_FORMAT}")
    )


def cancel(job_ids: list[str]) -> None:
    """Cancel jobs, those that have ended already as well; raises QueueSilent if Slurm does not answer."""
    if job_ids:
        _ask("scancel", "--quiet", *job_ids)


def read_queue(text: str) -> dict[str, Queued]:
    """The jobs in what `squeue` printed in our format; raises QueueSilent for any other text."""
    found = {}
    for line in text.splitlines():
        try:
            job_id, state, left, node, reason = (field.strip() for field in line.split("|", 4))
        except ValueError:
            raise QueueSilent(f"squeue: printed {line!r}, which is not {_FORMAT}") from None
        found[job_id] = Queued(job_id, state, _seconds(left), node, reason)
    return found


def _seconds(left: str) -> float:
    """`[days-][hours:]minutes:seconds` as seconds; 0 for INVALID, Slurm's word past a job's end, else infinite."""
    if left == "INVALID":
        return 0.0
    match = _TIME.fullmatch(left)
    if match is None:
        return math.inf
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QueueSilent(f"{command[0]}: {error}") from error
    if done.returncode:
        raise QueueSilent(f"{command[0]}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout
