"""What the search learned: importance against brute force, ranks across rungs, where the time went."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor

from grownn_hpo.report import ArmRecord, canvas, effort, search_figures
from grownn_hpo.report.foresight import foresight
from grownn_hpo.report.importance import importance, shares_of_tree
from grownn_hpo.report.incumbent import standings
from grownn_hpo.report.parameters import INACTIVE, Axis, axes_of, placed
from grownn_hpo.report.read import read_record
from grownn_hpo.report.record import Unfinished
from grownn_hpo.spec.study import load_study
from grownn_hpo.store import paths
from grownn_hpo.store.arm import Bracket, create_arm, write_bracket
from grownn_hpo.store.attempts import Failure, Measured, claim_attempt, commit_result, record_failure
from grownn_hpo.store.curve import Tick, append_point, append_tick
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import CurvePoint, Segment, SegmentResult, Status, Trial

SPACE: dict[str, Any] = {
    "hyperparameters": [
        {"name": "batch_size", "type": "categorical", "choices": [32, 64, 128, 256]},
        {"name": "ent_coef", "type": "uniform_float", "lower": 0.0, "upper": 0.3},
        {"name": "learning_rate", "type": "uniform_float", "lower": 1e-4, "upper": 1e-2, "log": True},
        {"name": "n_epochs", "type": "uniform_int", "lower": 5, "upper": 20},
        {"name": "gamma", "type": "constant", "value": 0.99},
    ]
}


def test_values_stand_where_the_space_says() -> None:
    axes = axes_of(SPACE, [{"batch_size": 32}])
    assert [axis.name for axis in axes] == ["batch_size"]  # of the others nothing was tried
    row = {"batch_size": 64, "ent_coef": 0.15, "learning_rate": 1e-3, "n_epochs": 5, "gamma": 0.99}
    axes = axes_of(SPACE, [row])
    assert [axis.name for axis in axes] == ["batch_size", "ent_coef", "learning_rate", "n_epochs"]
    assert placed(axes, [row, {"batch_size": 256}]) == pytest.approx(
        np.array([[0.375, 0.5, 0.5, 0.0], [0.875, INACTIVE, INACTIVE, INACTIVE]])
    )
    normal = {"hyperparameters": [{"name": "x", "type": "normal_float", "mu": 0, "sigma": 1}]}
    (axis,) = axes_of(normal, [{"x": -1.0}, {"x": 3.0}])
    assert (axis.place(-1.0), axis.place(3.0)) == (0, 1)


def test_shares_agree_with_the_function_written_out_cell_by_cell() -> None:
    axes = [Axis("a"), Axis("b", log=True, low=1.0, high=8.0), Axis("c", choices=("x", "y", "z"))]
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.random(60), rng.random(60), (rng.integers(3, size=60) + 0.5) / 3])
    y = np.sin(5 * x[:, 0]) + x[:, 1] * (x[:, 2] > 0.4) + 0.1 * rng.normal(size=60)
    tree = DecisionTreeRegressor(min_samples_leaf=2, random_state=0).fit(x, y)
    # Every cell between any two thresholds, its mass, and what the tree says there: a table, and an ANOVA of that.
    thresholds = [np.unique(tree.tree_.threshold[tree.tree_.feature == d]) for d in range(3)]
    edges = [np.concatenate([[0.0], t, [1.0]]) for t in thresholds[:2]]
    middles = [(e[1:] + e[:-1]) / 2 for e in edges] + [np.array([1, 3, 5]) / 6]
    mass = [np.diff(e) for e in edges] + [np.full(3, 1 / 3)]
    says = tree.predict(np.array(list(itertools.product(*middles)))).reshape([len(m) for m in middles])
    weight = mass[0][:, None, None] * mass[1][None, :, None] * mass[2][None, None, :]
    mean = (weight * says).sum()
    variance = (weight * (says - mean) ** 2).sum()
    expected = []
    for d in range(3):
        others = tuple(k for k in range(3) if k != d)
        marginal = (weight * says).sum(axis=others) / mass[d]
        expected.append((mass[d] * (marginal - mean) ** 2).sum() / variance)
    found = shares_of_tree(tree.tree_, axes)
    assert found is not None
    assert found == pytest.approx(expected, rel=1e-9)
    assert 0 < found.sum() < 1  # b and c act together
    constant = DecisionTreeRegressor().fit(x, np.ones(60))
    assert shares_of_tree(constant.tree_, axes) is None


def searched(record: ArmRecord) -> ArmRecord:
    return replace(record, arm=record.arm.model_copy(update={"space": SPACE}))


def scored(record: ArmRecord, score: Callable[[dict[str, Any]], float]) -> ArmRecord:
    """The record with other returns, and none diverged."""
    results = tuple(
        replace(r, status=Status.COMPLETED, mean_return=score(dict(record.configurations[r.segment.config])))
        for r in record.results
    )
    return replace(searched(record), results=results)


def test_importance_finds_what_matters_and_is_silent_where_nothing_does(
    simulated: Callable[..., ArmRecord], static: ArmRecord, half_done: ArmRecord
) -> None:
    many = simulated("static-4", static.arm.rungs, 80)
    found = importance(scored(many, lambda c: float(np.log10(c["learning_rate"]) ** 2)))
    assert found.shares is not None
    assert found.fit is not None
    assert found.fit > 0.9
    assert found.shares[0].name == "learning_rate"
    assert found.shares[0].value > 0.9
    assert found == importance(scored(many, lambda c: float(np.log10(c["learning_rate"]) ** 2)))
    noise = np.random.default_rng(5).normal(size=81)
    by_chance = importance(scored(many, lambda c: float(noise[round(c["ent_coef"] * 1e9) % 81])))
    assert by_chance.shares is None
    assert "out-of-bag" in by_chance.why
    assert (
        importance(searched(half_done)).why == "10 configurations are complete, and a forest needs 12 to say anything"
    )
    assert importance(scored(many, lambda c: 1.0)).why == "every configuration had the same return"
    assert importance(many).why == "no hyperparameter was searched"


def test_ranks_across_rungs_are_those_of_the_finalists(
    grown: ArmRecord, static: ArmRecord, half_done: ArmRecord
) -> None:
    found = foresight(grown)
    assert found is not None
    done = standings(grown)
    assert set(found.configurations) == {trial.config for trial in done if trial.rung == 4}
    for rung, ranks in enumerate(found.ranks, 1):
        by_rank = [c for _, c in sorted(zip(ranks, found.configurations, strict=True))]
        assert by_rank == sorted(found.configurations, key=lambda c: -done[Trial(c, rung)].mean_return)
    assert [e.n for e in found.correlations if e is not None] == [len(found.configurations)] * 3
    assert foresight(static) is None
    assert foresight(half_done) is None


def test_a_configuration_without_a_hyperparameter_breaks_its_line(static: ArmRecord) -> None:
    record = searched(static)
    first = next(iter(standings(record))).config
    kept = {
        c: {k: v for k, v in values.items() if (c, k) != (first, "ent_coef")}
        for c, values in static.configurations.items()
    }
    with canvas.style():
        figure = search_figures.parallel_coordinates({"static-4": replace(record, configurations=kept)}, {})
    lines = [np.asarray(line.get_ydata(), dtype=float) for line in figure.axes[0].lines]
    assert len(lines) == len(standings(record))
    assert sum(np.isnan(line).any() for line in lines) == 1


def test_time_of_attempts_without_a_result_is_told(grown: ArmRecord) -> None:
    lost = (Unfinished(Segment(1, 1, 0), 3600.0), Unfinished(Segment(1, 2, 0), None))
    took = sum(grown.seconds.values())
    rows = effort.time(replace(grown, unfinished=lost)).rows
    assert [row[-1] for row in rows] == ["60 min", "0 s", "0 s", "0 s"]
    assert sum(int(row[4].rstrip("%")) for row in rows) == pytest.approx(100, abs=2)
    said = effort.unfinished(replace(grown, unfinished=lost))
    assert said.startswith("2 attempts gave no result (failed, killed, or still under way) and took at least 60 min")
    assert f"{3600 / (took + 3600):.0%}"[0] in said
    assert "1 of them never told of progress" in said
    assert effort.unfinished(grown) == ""


def test_attempts_are_read_from_their_folders(tmp_path: Path) -> None:
    folder = ArmFolder(tmp_path / "demo" / "grown-3")
    arm = load_study("demo").arms[0]
    create_arm(folder, arm, {})
    values = {"ent_coef": 0.01, "learning_rate": 0.003, "n_epochs": 5}
    write_bracket(folder, Bracket(1, (values,) * 4, "0" * 64))
    segment = Segment(1, 1, 0)
    killed = claim_attempt(folder, segment)
    append_tick(killed, Tick(2048, 1.0, None))
    append_tick(killed, Tick(4096, 7.5, 0.1))
    progress = killed / paths.PROGRESS
    progress.write_text(progress.read_text() + '{"env_steps": 61')  # as a kill leaves it
    failed = claim_attempt(folder, segment)
    record_failure(folder, Failure(segment, "out of memory", "used 3 GiB"))
    done = claim_attempt(folder, segment)
    append_point(done, CurvePoint(16384, 0.5, 0.1, 10.0, 0.9, 20))
    result = SegmentResult(segment, Status.COMPLETED, 0.5, 0.9, 16384, 1, None, None, None)
    commit_result(done, result, Measured(60.0, 20.0, 35.0, 0.4, "here", 8192))
    record = read_record(folder)
    assert record.unfinished == (Unfinished(segment, 7.5), Unfinished(segment, None))
    assert failed.name == "a2"
    assert [f.cause for f in record.failures] == ["out of memory"]
    assert record.path == str(folder.root)
    (row,) = effort.time(record).rows
    # 8,192 env steps in 20 s of training: the attempt began at a boundary.
    assert row == ("1", "1", "1", "68 s", "100%", "410", "20 s", "35 s", "5 s", "8 s")
