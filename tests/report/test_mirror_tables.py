"""The tidy tables, read back as users would."""

from __future__ import annotations

import csv
from pathlib import Path

import extras
import pytest
from mirror_samples import arm_of, configuration, record_of, return_of, view

from grownn_hpo.report.mirror.tables import POINTS, SEGMENTS, write_csv, write_parquet
from grownn_hpo.report.mirror.view import view_of
from grownn_hpo.trial import Segment, Trial


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_points_have_a_row_for_every_evaluation(tmp_path: Path) -> None:
    static = view_of(record_of(arm_of(trials=4, name="other")))
    write_csv([view(), static], tmp_path)
    rows = read_csv(tmp_path / "points.csv")
    assert list(rows[0])[: len(POINTS)] == list(POINTS)
    assert len(rows) == 2 * 2 * (14 + 4)  # evaluations, seeds, trials
    row = next(r for r in rows if (r["arm"], r["config"], r["rung"], r["seed"]) == ("grown-3", "7", "2", "7"))
    assert (row["bracket"], row["depth"], row["env_steps"], row["success_rate"]) == ("2", "2", "1500", "0.25")
    assert float(row["mean_return"]) == return_of(Segment(7, 2, 7)) - 10
    assert float(row["learning_rate"]) == configuration(7)["learning_rate"]
    assert [r["clip_range"] == "" for r in rows] == [int(r["config"]) % 2 == 0 for r in rows]
    assert {r["arm"] for r in rows} == {"grown-3", "other"}


def test_segments_are_the_ledger_and_a_little_more(tmp_path: Path) -> None:
    write_csv([view(diverging=frozenset({Trial(4, 2)}))], tmp_path)
    rows = read_csv(tmp_path / "segments.csv")
    assert list(rows[0])[: len(SEGMENTS)] == list(SEGMENTS)
    failed = [row for row in rows if row["status"] == "diverged"]
    assert [(row["config"], row["rung"], row["seed"]) for row in failed] == [("4", "2", "0"), ("4", "2", "7")]
    assert {(row["mean_return"], row["detail"], row["env_steps"]) for row in failed} == {("", "loss is nan", "1300")}


def test_parquet_says_the_same_with_types(tmp_path: Path) -> None:
    parquet = extras.module("mirror", "pyarrow.parquet")

    seen = [view()]
    write_csv(seen, tmp_path)
    write_parquet(seen, tmp_path)
    for name in ("points", "segments"):
        table = parquet.read_table(tmp_path / f"{name}.parquet")
        told = [{k: "" if v is None else str(v) for k, v in row.items()} for row in table.to_pylist()]
        assert told == read_csv(tmp_path / f"{name}.csv")
    types = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "points.parquet")}
    assert {types[n] for n in ("config", "env_steps", "n_epochs", "batch_size")} == {"int64"}
    assert {types[n] for n in ("mean_return", "success_rate", "clip_range", "vf_coef")} == {"double"}
    assert types["normalize_rewards"] == "bool"


@pytest.mark.parametrize("stop_after", [0, 1])
def test_a_study_that_has_hardly_begun_has_typed_columns_too(tmp_path: Path, stop_after: int) -> None:
    parquet = extras.module("mirror", "pyarrow.parquet")

    write_parquet([view(stop_after)], tmp_path)
    table = parquet.read_table(tmp_path / "points.parquet")
    assert table.num_rows == 2 * stop_after
    assert str(table.schema.field("mean_return").type) == "double"
    assert str(table.schema.field("env_steps").type) == "int64"
