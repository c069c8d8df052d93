"""Which rows of a ledger were computed in which environment, where a study was gone on with in another one.

The table itself never says so: equal segments have equal rows. What is recorded is the attempts that counted when
somebody went on with `--accept-environment`; an attempt that counts now and was none of those is of the present one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from grownn_hpo.environment import changes
from grownn_hpo.store.arm import read_earlier, read_environment, read_workers
from grownn_hpo.store.ledger import Entry
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment


@dataclass(frozen=True, slots=True)
class EnvironmentShare:
    """One environment, counted from 1 in the order of time: how many of the ledger's segments it computed.

    `changes` are a line for each thing in which it differs from the last one.
    """

    number: int
    segments: int
    changes: tuple[str, ...]
    environment: dict[str, JsonValue]


def environment_numbers(folder: ArmFolder, entries: Mapping[Segment, Entry]) -> dict[Segment, int]:
    """The number of the environment that each segment was computed in."""
    earlier = read_earlier(folder)
    of_attempt = {attempt: number for number, each in enumerate(earlier, 1) for attempt in each.attempts}
    present = len(earlier) + 1
    return {segment: of_attempt.get(f"{segment}/{entry.attempt}", present) for segment, entry in entries.items()}


def environment_shares(folder: ArmFolder, entries: Mapping[Segment, Entry]) -> tuple[EnvironmentShare, ...]:
    """The environments of an arm, the present one last; none where there never was another."""
    earlier = read_earlier(folder)
    if not earlier:
        return ()
    numbers = [*environment_numbers(folder, entries).values()]
    present = read_environment(folder) | {"workers": _workers(folder)}
    every = [*(each.environment for each in earlier), present]
    return tuple(
        EnvironmentShare(number, numbers.count(number), tuple(_changes(environment, present)), environment)
        for number, environment in enumerate(every, 1)
    )


def _workers(folder: ArmFolder) -> JsonValue:
    return dict(read_workers(folder) or {})


def _changes(environment: dict[str, JsonValue], present: dict[str, JsonValue]) -> list[str]:
    lines = changes(environment, present)
    before, now = environment.get("workers"), present["workers"]
    return [*lines, f"workers: were {before}, are {now}"] if before and now and before != now else lines
