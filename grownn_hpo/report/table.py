"""The ledger as a table: one row per segment, and nothing in it that depends on time, machine or number of attempts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Literal, cast

from pydantic import JsonValue

from grownn_hpo.report.environments import environment_numbers
from grownn_hpo.search.ladder import Ladder
from grownn_hpo.spec import Arm
from grownn_hpo.store.arm import Configuration
from grownn_hpo.store.known import read_known
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment, SegmentResult

COLUMNS = (
    *("bracket", "config", "rung", "seed", "status", "mean_return", "env_steps", "depth"),
    *("growth_difference", "parent_sha256", "checkpoint_sha256"),
)

ENVIRONMENT = "environment"


def table(folder: ArmFolder, form: Literal["csv", "json"], environments: bool = False) -> str:
    """The arm's ledger as text. Floats are written so that they read back exactly; what is absent is empty, or null.

    `environments` adds a column: the number of the environment, in the order of time, that computed the row.
    """
    known = read_known(folder)
    rows = list(table_rows(known.arm, known.ledger.results, known.configurations))
    if environments:
        numbers = environment_numbers(folder, known.ledger.entries)
        rows = [row | {ENVIRONMENT: numbers[segment]} for segment, row in zip(sorted(numbers), rows, strict=True)]
    if form == "json":
        return json.dumps(rows, indent=1) + "\n"
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*COLUMNS, *hyperparameters(known.arm), *([ENVIRONMENT] if environments else [])])
    writer.writerows([["" if v is None else v for v in row.values()] for row in rows])
    return buffer.getvalue()


def table_rows(
    arm: Arm, results: Mapping[Segment, SegmentResult], configurations: Mapping[int, Configuration]
) -> Iterator[dict[str, JsonValue]]:
    """The ledger's rows, by configuration, rung and seed."""
    ladder, names = Ladder.of(arm), hyperparameters(arm)
    for segment in sorted(results):
        result = results[segment]
        configuration = configurations[segment.config]
        own = (ladder.bracket_of(segment.config), segment.config, segment.rung, segment.seed, str(result.status))
        rest = (getattr(result, name) for name in COLUMNS[len(own) :])
        yield dict(zip(COLUMNS, (*own, *rest), strict=True)) | {n: configuration.get(n) for n in names}


def hyperparameters(arm: Arm) -> tuple[str, ...]:
    """The names of the arm's hyperparameters, in the search space's order."""
    listed = cast("list[dict[str, str]]", arm.space["hyperparameters"])
    return tuple(entry["name"] for entry in listed)
