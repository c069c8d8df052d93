"""Tidy tables: one row per evaluation, and one per segment, with the hyperparameters in columns of their own."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from grownn_hpo.report.mirror.view import ArmView
from grownn_hpo.report.table import COLUMNS, hyperparameters, table_rows
from grownn_hpo.search.ladder import Ladder

if TYPE_CHECKING:
    import pyarrow as pa

Row = Mapping[str, JsonValue]

POINTS = (
    *("study", "arm", "bracket", "config", "rung", "seed", "env", "depth", "env_steps"),
    *("mean_return", "std_return", "mean_length", "success_rate", "episodes"),
)
SEGMENTS = ("study", "arm", *COLUMNS, "success_rate", "seconds", "detail")
"""The ledger's columns, and what of a segment a ledger leaves out."""

_INTEGERS = {"bracket", "config", "rung", "seed", "depth", "env_steps", "episodes"}
_TEXTS = {"study", "arm", "env", "status", "detail", "parent_sha256", "checkpoint_sha256"}


def points(arm: ArmView) -> Iterator[Row]:
    """A row per evaluation of a finished segment, in the ledger's order; `env_steps` is the lineage's total."""
    terms = arm.record.arm
    ladder, names = Ladder.of(terms), hyperparameters(terms)
    for segment in sorted(arm.record.curves):
        chosen = arm.record.configurations[segment.config]
        of_segment = {
            "study": arm.study,
            "arm": arm.name,
            "bracket": ladder.bracket_of(segment.config),
            **asdict(segment),
            "env": terms.env_of(segment.rung),
            "depth": terms.rungs[segment.rung - 1].depth,
        }
        for point in arm.record.curves[segment]:
            yield of_segment | asdict(point) | {name: chosen.get(name) for name in names}


def segments(arm: ArmView) -> Iterator[Row]:
    """A row per finished segment, in the ledger's order: the ledger's own columns and a few more."""
    record = arm.record
    results = {result.segment: result for result in record.results}
    configurations = {config: dict(values) for config, values in record.configurations.items()}
    for segment, row in zip(sorted(results), table_rows(record.arm, results, configurations), strict=True):
        result = results[segment]
        more = {"success_rate": result.success_rate, "seconds": record.seconds.get(segment), "detail": result.detail}
        yield {"study": arm.study, "arm": arm.name, **row, **more}


def write_csv(arms: Sequence[ArmView], folder: Path) -> None:
    """Writes `points.csv` and `segments.csv`; floats read back exactly, and what is absent is empty."""
    for name, columns, rows in _tables(arms):
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        (folder / f"{name}.csv").write_text(buffer.getvalue(), encoding="utf-8")


def write_parquet(arms: Sequence[ArmView], folder: Path) -> None:
    """Writes `points.parquet` and `segments.parquet`, typed: also where a column holds nothing yet."""
    import pyarrow as pa
    from pyarrow import parquet

    for name, columns, rows in _tables(arms):
        types = {column: _type(column, [row.get(column) for row in rows]) for column in columns}
        arrays = [pa.array([_as(types[c], row.get(c)) for row in rows], types[c]) for c in columns]
        parquet.write_table(pa.table(arrays, names=list(columns)), folder / f"{name}.parquet")


def _tables(arms: Sequence[ArmView]) -> Iterator[tuple[str, Sequence[str], list[Row]]]:
    names = [*dict.fromkeys(name for arm in arms for name in hyperparameters(arm.record.arm))]
    yield "points", (*POINTS, *names), [row for arm in arms for row in points(arm)]
    yield "segments", (*SEGMENTS, *names), [row for arm in arms for row in segments(arm)]


def _type(column: str, values: Sequence[JsonValue]) -> pa.DataType:
    """A column's type: by its name or, for a hyperparameter, the narrowest that takes all of its values."""
    import pyarrow as pa

    if column in _INTEGERS:
        return pa.int64()
    if column in _TEXTS:
        return pa.string()
    if column in POINTS or column in SEGMENTS:
        return pa.float64()
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool} and kinds:
        return pa.bool_()
    if kinds <= {int} and kinds:
        return pa.int64()
    return pa.float64() if kinds <= {int, float} else pa.string()


def _as(kind: pa.DataType, value: JsonValue) -> JsonValue:
    import pyarrow as pa

    return str(value) if value is not None and kind == pa.string() else value
