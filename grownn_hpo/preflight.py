"""What a new worker is asked before it trains anything, and what its driver makes of the answer.

A worker in another environment would train, and silently give other bits; one that sees another results folder would
train for nobody.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from grownn_hpo.environment import PACKAGES, environment
from grownn_hpo.native.cpu import cpu_capability
from grownn_hpo.store.lease import read_token
from grownn_hpo.store.paths import ArmFolder

ENTRY = "grownn_hpo.preflight:attempt"
VISIBLE_SECONDS = 60.0
"""How long a new file may take to show on another machine: network file systems remember what was not there."""
CLOCK_SECONDS = 60.0
"""How far a worker's clock may be off."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker says of itself: where it is, what is installed, what it computes with, what it sees.

    `tokens` are those it read in the leases of the arms' folders, None where it read none; `unwritable` says why it
    could not write there, a line for each such folder. `clock` is its time in seconds since 1970.
    """

    host: str
    job: str | None
    versions: dict[str, str | None]
    cpu_capability: str
    gpus: tuple[str, ...]
    tokens: tuple[str | None, ...]
    unwritable: tuple[str, ...]
    clock: float


_REPORT = TypeAdapter(Report)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a worker computes with: equal machines give equal bits. `gpu` is None for segments trained on the CPU."""

    cpu_capability: str
    gpu: str | None


def payload(folders: Sequence[Path], tokens: Sequence[str | None], gpu: bool) -> str:
    """What a worker is asked: whether it sees these leases, and which GPUs it has, if the study trains on one."""
    return json.dumps({"folders": [str(folder.absolute()) for folder in folders], "tokens": [*tokens], "gpu": gpu})


def attempt(payload: str, beat: Callable[[], None]) -> str:
    """The preflight itself, in a process like any attempt's: the payload in, a report out."""
    asked = json.loads(payload)
    folders = [Path(folder) for folder in asked["folders"]]
    deadline = time.monotonic() + VISIBLE_SECONDS
    while (tokens := [read_token(ArmFolder(f).lease_file) for f in folders]) != asked[
        "tokens"
    ] and time.monotonic() < deadline:
        beat()
        time.sleep(1)
    report = Report(
        host=socket.gethostname(),
        job=os.environ.get("SLURM_JOB_ID"),
        versions=versions(environment()),
        cpu_capability=cpu_capability(),
        gpus=_gpus() if asked["gpu"] else (),
        tokens=tuple(tokens),
        unwritable=tuple(why for why in map(_unwritable, folders) if why),
        clock=time.time(),
    )
    return json.dumps(asdict(report))


def versions(environment: Mapping[str, object]) -> dict[str, str | None]:
    """The versions in an environment, by name, that must be those of the driver."""
    packages = environment["packages"]
    assert isinstance(packages, dict)
    found = {name: environment[name] for name in ("grownn_hpo", "python", "kernels")}
    found |= {name: packages.get(name) for name in PACKAGES}
    return {name: None if value is None else str(value) for name, value in found.items()}


def read_report(text: str) -> Report:
    """The report that `attempt` returned."""
    return _REPORT.validate_json(text)


def refusals(
    report: Report,
    expected: Mapping[str, str | None],
    tokens: Sequence[str | None],
    machine: Machine | None,
    gpu: bool,
    clock: float,
) -> list[str]:
    """Why this worker must not train for a driver with these versions, tokens and clock; empty if it may.

    `machine` is what the study's workers have computed with so far, None if none has yet. A worker on this very machine
    has this clock, however far that jumped since.
    """
    lines = [
        f"{name} is {report.versions.get(name) or 'missing'} there and {version or 'missing'} here"
        for name, version in expected.items()
        if report.versions.get(name) != version
    ]
    if lines:
        lines.append("install there what is here, or set `python` in the cluster profile to an interpreter that has it")
    if list(report.tokens) != list(tokens):
        lines.append(
            "it does not see the results folder that the driver writes to: choose --results on a file system that all"
            " nodes share"
        )
    lines += [f"it cannot write: {why}" for why in report.unwritable]
    if report.host != socket.gethostname() and abs(report.clock - clock) > CLOCK_SECONDS:
        lines.append(f"its clock is off by {report.clock - clock:+.0f} s, more than {CLOCK_SECONDS:.0f}: set it (NTP)")
    if gpu and not report.gpus:
        lines.append("the study trains on `device: cuda`, and it sees no GPU: ask for `gpus` in the cluster profile")
    elif machine is not None and machine_of(report, gpu) != machine:
        mine = machine_of(report, gpu)
        lines += [
            f"its {what} is {here}, the study's workers so far had {before}, and equal bits need equal ones: choose the"
            " nodes by `directives` in the cluster profile, such as --constraint=..., or resume knowingly with"
            " --accept-environment"
            for what, here, before in (
                ("CPU's instruction set", mine.cpu_capability, machine.cpu_capability),
                ("GPU", mine.gpu, machine.gpu),
            )
            if here != before
        ]
    return lines


def machine_of(report: Report, gpu: bool) -> Machine:
    """What the worker computes with."""
    return Machine(report.cpu_capability, report.gpus[0] if gpu and report.gpus else None)


def _gpus() -> tuple[str, ...]:
    import torch  # only a study on GPUs pays for it

    return tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def _unwritable(folder: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"{folder}: {error.strerror}"
