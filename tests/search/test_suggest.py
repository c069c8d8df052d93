"""Suggestions: a function of their basis alone, never repeated, and better than chance."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from math import log2, log10
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from grownn_hpo.search.space import Plain, read_space, to_plain
from grownn_hpo.search.suggest import Basis, Observation, fingerprint, suggest, training_rows
from grownn_hpo.trial import Status

PAPER: dict[str, Any] = {
    "hyperparameters": [
        {"type": "uniform_float", "name": "learning_rate", "lower": 1e-4, "upper": 1e-2, "log": True},
        {"type": "uniform_float", "name": "ent_coef", "lower": 0.0, "upper": 0.3},
        {"type": "uniform_int", "name": "n_epochs", "lower": 5, "upper": 20},
        {"type": "categorical", "name": "batch_size", "choices": [32, 64, 128, 256]},
    ]
}
# Log integers, a condition and a forbidden combination: what came back unequal or was drawn by mistake elsewhere.
HARD: dict[str, Any] = {
    "hyperparameters": [
        {"type": "uniform_int", "name": "n_steps", "lower": 16, "upper": 4096, "log": True},
        {"type": "categorical", "name": "normalize_advantage", "choices": [True, False]},
        {"type": "uniform_float", "name": "ent_coef", "lower": 0.0, "upper": 0.3},
        {"type": "ordinal", "name": "batch_size", "sequence": [32, 64, 128]},
    ],
    "conditions": [{"type": "EQ", "child": "ent_coef", "parent": "normalize_advantage", "value": True}],
    "forbiddens": [
        {
            "type": "AND",
            "clauses": [
                {"type": "EQUALS", "name": "batch_size", "value": 128},
                {"type": "CLAUSE_LT", "name": "n_steps", "value": 64},
            ],
        }
    ],
}
BINARY: dict[str, Any] = {
    "hyperparameters": [
        {"type": "categorical", "name": "normalize_advantage", "choices": [True, False]},
        {"type": "categorical", "name": "normalize_rewards", "choices": [True, False]},
        {"type": "categorical", "name": "batch_size", "choices": [32, 64, 128]},
    ]
}
CONSTANT: dict[str, Any] = {"hyperparameters": [{"type": "constant", "name": "gamma", "value": 0.9}]}


def cost(plain: Plain) -> float:
    """A bowl with its bottom at learning rate 1e-3, no entropy bonus, 10 epochs, batches of 128."""
    rate, entropy, epochs, batch = (plain[k] for k in ("learning_rate", "ent_coef", "n_epochs", "batch_size"))
    return (
        4 * (log10(rate) + 3) ** 2  # type: ignore[arg-type]
        + 20 * entropy**2  # type: ignore[operator]
        + 0.05 * abs(epochs - 10)  # type: ignore[operator]
        + 0.1 * abs(log2(batch) - 7)  # type: ignore[arg-type]
    )


def basis(space: dict[str, Any] = PAPER, observed: int = 30, **changes: Any) -> Basis:
    """A basis of `observed` random configurations and their costs at rung 1."""
    drawn = read_space(space, "space.yaml")
    drawn.seed(changes.get("study_seed", 0))
    known = [to_plain(drawn.sample_configuration()) for _ in range(observed)]
    rng = random.Random(0)
    observations = [
        Observation(i, 1, plain, Status.COMPLETED, cost(plain) if space is PAPER else rng.gauss(0, 1))
        for i, plain in enumerate(known, start=1)
    ]
    fields: dict[str, Any] = {
        "space": space,
        "study_seed": 0,
        "bracket": 2,
        "first_config": observed + 1,
        "count": 5,
        "initial_design": 10,
        "known": known,
        "observations": observations,
        "rungs_env_steps": (500, 500, 1000),
        "surrogate": "lowest",
    }
    return Basis(**fields | changes)


IN_ANOTHER_PROCESS = """
import json, sys
from grownn_hpo.search.suggest import Basis, Observation, fingerprint, suggest
basis = json.load(sys.stdin)
basis["observations"] = [Observation(**o) for o in basis["observations"]]
basis = Basis(**basis)
print(json.dumps([fingerprint(basis), suggest(basis)]))
"""


def test_the_same_in_every_process_whatever_the_hash_seed_and_the_order_of_arrival(tmp_path: Path) -> None:
    here = basis(HARD, observed=12)
    answers = [[fingerprint(here), list(suggest(here))]]
    waiting = []
    for seed in ("1", "2"):
        shuffled = random.Random(seed).sample(list(here.observations), len(here.observations))
        command = [sys.executable, "-W", "error::RuntimeWarning", "-c", IN_ANOTHER_PROCESS]
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment,
        )
        waiting.append((process, json.dumps(asdict(replace(here, observations=shuffled)))))
    for process, text in waiting:
        out, noise = process.communicate(text, timeout=120)
        assert noise == ""
        answers.append(json.loads(out))
    assert answers[1:] == answers[:1] * 2
    assert list(tmp_path.iterdir()) == []  # no smac3_output


def test_conditions_and_forbidden_combinations_are_kept() -> None:
    for plain in suggest(basis(HARD, observed=12, count=10)):
        assert ("ent_coef" in plain) == plain["normalize_advantage"]
        assert plain["batch_size"] != 128 or plain["n_steps"] >= 64  # type: ignore[operator]
        assert type(plain["n_steps"]) is int


@pytest.mark.parametrize("seed", range(4))
def test_the_model_steers(seed: int) -> None:
    from_model = basis(study_seed=seed, count=10)
    suggested, chance = suggest(from_model), from_model.known
    mean = sum(map(cost, suggested)) / len(suggested)
    assert mean < 0.6 * sum(map(cost, chance)) / len(chance)


@pytest.mark.parametrize("surrogate", ["highest", "all"])
def test_the_model_learns_from_higher_rungs(surrogate: Literal["highest", "all"]) -> None:
    """Rung 1 tells nothing; the cost shows from rung 2 on."""
    suggested, chance = [], []
    for seed in range(4):
        one = basis(study_seed=seed, surrogate=surrogate, count=10)
        told = [replace(o, cost=1.0) for o in one.observations] + [replace(o, rung=2) for o in one.observations]
        suggested += map(cost, suggest(replace(one, observations=told)))
        chance += map(cost, one.known)
    assert sum(suggested) / len(suggested) < 0.75 * sum(chance) / len(chance)


def test_threads_do_not_disturb_one_another_nor_the_global_random_state() -> None:
    def state() -> object:  # the legacy generator is the one that must not be touched
        return random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002

    before = state()
    bases = [basis(observed=12, bracket=2), basis(observed=12, bracket=3)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(suggest, bases))
    assert together == [suggest(one) for one in bases]
    assert state() == before


def test_the_initial_design_is_the_same_whatever_the_brackets_are() -> None:
    whole = suggest(basis(observed=0, first_config=1, count=10, bracket=1))
    known: list[Plain] = []
    for bracket in range(1, 11):
        told = [Observation(i, 1, plain, Status.COMPLETED, cost(plain)) for i, plain in enumerate(known, start=1)]
        one = basis(observed=0, bracket=bracket, first_config=bracket, count=1, known=list(known), observations=told)
        known += suggest(one)
    assert tuple(known) == whole


def test_a_bracket_across_the_designs_end_takes_from_both() -> None:
    design = suggest(basis(observed=0, first_config=1, count=10, bracket=1))
    told = [Observation(i, 1, plain, Status.COMPLETED, cost(plain)) for i, plain in enumerate(design[:8], start=1)]
    mixed = suggest(basis(observed=0, first_config=9, count=4, known=design[:8], observations=told))
    assert mixed[:2] == design[8:]
    assert len({json.dumps(plain) for plain in (*design, *mixed)}) == 12


def test_without_anything_to_learn_from_the_sequence_goes_on() -> None:
    longer = suggest(basis(observed=0, first_config=1, count=12, initial_design=12, bracket=1))
    failed = [Observation(i, 1, plain, Status.DIVERGED, None) for i, plain in enumerate(longer[:10], start=1)]
    for observations in ([], failed):
        one = basis(observed=0, first_config=11, count=2, known=longer[:10], observations=observations)
        assert suggest(one) == longer[10:]


@pytest.mark.parametrize("count", [3, 5])
def test_a_finite_space_is_tried_once_and_then_exhausted(count: int) -> None:
    known: list[Plain] = []
    sizes = []
    for bracket in range(1, 20):
        told = [Observation(i, 1, plain, Status.COMPLETED, float(i % 3)) for i, plain in enumerate(known, start=1)]
        more = suggest(
            basis(
                BINARY,
                observed=0,
                bracket=bracket,
                first_config=len(known) + 1,
                count=count,
                initial_design=2,
                known=known,
                observations=told,
            )
        )
        known = [*known, *more]
        sizes.append(len(more))
        if len(more) < count:
            break
    assert sizes == [count] * (12 // count) + [12 % count]
    assert len({json.dumps(plain) for plain in known}) == 12


def test_constants_alone_make_one_configuration() -> None:
    first = basis(CONSTANT, observed=0, first_config=1, bracket=1)
    assert suggest(first) == ({"gamma": 0.9},)
    assert suggest(replace(first, known=[{"gamma": 0.9}], first_config=2, bracket=2)) == ()


def told(config: int, rung: int, cost: float | None) -> Observation:
    return Observation(config, rung, {}, Status.COMPLETED if cost is not None else Status.DIVERGED, cost)


def rows_of(surrogate: str, *observations: Observation, dimensions: int = 1) -> list[tuple[int, int, float]]:
    rows = training_rows(basis(observed=0, observations=observations, surrogate=surrogate), dimensions)
    return [(o.config, o.rung, y) for o, y in rows]


def test_a_failure_is_told_as_the_worst_at_its_rung() -> None:
    assert rows_of("lowest", told(3, 1, 5.0), told(2, 1, None), told(1, 1, 1.0)) == [(1, 1, 0), (2, 1, 1), (3, 1, 1)]
    assert rows_of("all", told(1, 1, 0.0), told(1, 2, 4.0), told(2, 2, None)) == [(1, 1, 0), (1, 2, 1), (2, 2, 1)]
    assert rows_of("lowest", told(1, 1, None), told(2, 1, None)) == []


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), float("-inf")])
def test_no_cost_that_is_not_finite_reaches_smac(wild: float) -> None:
    one = basis(observed=0, observations=[told(1, 1, 2.0), told(2, 1, wild), told(3, 1, 1.0)])
    assert [y for _, y in training_rows(one, 1)] == [1.0, 1.0, 0.0]
    assert len(fingerprint(one)) == 64


@pytest.mark.parametrize("costs", [(1e308, -1e308, 0.0), (1e9, 1e9, 1e9), (-1e12, -1e12, 1.0), (0.0, 0.0, 0.0)])
def test_extreme_and_equal_costs_are_survived(costs: tuple[float, ...]) -> None:
    one = basis(observed=9, count=1)
    one = replace(one, observations=[replace(o, cost=costs[i % 3]) for i, o in enumerate(one.observations)])
    assert len(suggest(replace(one, initial_design=1))) == 1


def test_the_highest_rung_counts_once_it_has_rows_enough() -> None:
    low, high = [told(i, 1, float(i)) for i in range(9)], [told(i, 2, float(i)) for i in range(5)]
    assert {rung for _, rung, _ in rows_of("highest", *low, *high, dimensions=2)} == {2}
    assert {rung for _, rung, _ in rows_of("highest", *low, *high[:4], dimensions=2)} == {1}
    assert {rung for _, rung, _ in rows_of("highest", *low[:2], *high[:1], dimensions=2)} == {1}
    assert {rung for _, rung, _ in rows_of("all", *low, *high)} == {1, 2}
    assert {rung for _, rung, _ in rows_of("lowest", *low, *high)} == {1}


def test_the_fingerprint_tells_every_part_apart() -> None:
    one = basis(observed=2)
    others = [
        replace(one, study_seed=1),
        replace(one, bracket=3),
        replace(one, count=6),
        replace(one, known=one.known[:1]),
        replace(one, observations=one.observations[:1]),
        replace(one, surrogate="all"),
        replace(one, space=HARD),
    ]
    assert len({fingerprint(each) for each in (one, *others)}) == 8
    assert fingerprint(replace(one, observations=list(one.observations)[::-1])) == fingerprint(one)


def test_reserving_fewer_leaves_grows_the_same_forest() -> None:
    from grownn_hpo.search import smac_parts

    space = read_space(PAPER, "space.yaml")
    space.seed(0)
    points = np.array([configuration.get_array() for configuration in space.sample_configuration(60)])
    costs = np.random.default_rng(0).normal(size=(40, 1))
    facade = smac_parts.facade(space, seed=1, budgets=[1.0], fidelity_is_a_feature=False, batch=1, rows=40)
    told = [facade._model.train(points[:40], costs).predict(points)]
    facade._model._rf_opts["max_leaf_nodes"] = 2**20  # SMAC's own
    told.append(facade._model.train(points[:40], costs).predict(points))
    np.testing.assert_array_equal(told[0], told[1])


def test_smac_still_needs_its_starting_points_put_in_order() -> None:
    """When this fails, SMAC has mended its use of a set: drop OrderedLocalSearch."""
    from smac.acquisition.maximizer.local_search import LocalSearch

    class Indifferent:
        model = None

    space = read_space(PAPER, "space.yaml")
    space.seed(0)
    starts = space.sample_configuration(30)
    search = LocalSearch(space, Indifferent())
    as_smac_does = search._get_init_points_from_previous_configs([starts[0]], 1, [(0.0, c) for c in starts])
    assert set(as_smac_does) == set(starts)
    assert as_smac_does != starts


def test_it_begins_with_the_default_where_the_study_says_so() -> None:
    fresh: dict[str, Any] = {"observed": 0, "bracket": 1, "count": 4}
    plain, begun = suggest(basis(**fresh)), suggest(basis(**fresh, begin_with_default=True))
    default = {"batch_size": 32, "ent_coef": 0.15, "learning_rate": 0.001, "n_epochs": 12}
    assert begun == (default, *plain[:3])
    # The model's brackets, and those that go on with the sequence, do not come back to it.
    later: dict[str, Any] = {"bracket": 2, "first_config": 5, "observed": 0, "known": begun, "begin_with_default": True}
    assert suggest(basis(**later, count=4))[0] == plain[3]
