"""The initial design: spread evenly, by the priors, and the same wherever it is drawn."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import pytest

from grownn_hpo.search.sobol import sobol_configurations
from grownn_hpo.search.space import Plain, read_space, to_plain


def drawn(mapping: dict[str, Any], n: int, seed: int = 0) -> list[Plain]:
    return [to_plain(c) for c in islice(sobol_configurations(read_space(mapping, "space.yaml"), seed), n)]


def alone(**entry: Any) -> dict[str, Any]:
    return {"hyperparameters": [{"name": "x", **entry}]}


def test_every_stratum_gets_its_point() -> None:
    space = alone(type="uniform_float", lower=0.0, upper=1.0)
    assert sorted(int(plain["x"] * 64) for plain in drawn(space, 64)) == list(range(64))  # type: ignore[operator]


def test_a_logarithmic_range_is_even_in_the_logarithm() -> None:
    rates = [plain["x"] for plain in drawn(alone(type="uniform_float", lower=1e-4, upper=1e-2, log=True), 64)]
    assert sum(rate < 1e-3 for rate in rates) == 32  # type: ignore[operator]


def test_whole_numbers_have_equal_shares() -> None:
    counts = Counter(plain["x"] for plain in drawn(alone(type="uniform_int", lower=1, upper=4), 64))
    assert counts == dict.fromkeys((1, 2, 3, 4), 16)


def test_weights_are_kept_and_a_choice_of_weight_zero_is_never_drawn() -> None:
    space = alone(type="categorical", choices=["never", "often", "seldom"], weights=[0, 3, 1])
    assert Counter(plain["x"] for plain in drawn(space, 64)) == {"often": 48, "seldom": 16}


@pytest.mark.parametrize(
    ("entry", "below"),
    [
        ({"type": "normal_float", "mu": 0.5, "sigma": 0.1, "lower": 0.0, "upper": 1.0}, 0.5),
        ({"type": "beta_float", "alpha": 3, "beta": 3, "lower": 0.0, "upper": 2.0}, 1.0),
        ({"type": "normal_int", "mu": 500, "sigma": 90, "lower": 1, "upper": 999}, 500),
        ({"type": "beta_int", "alpha": 3, "beta": 3, "lower": 1, "upper": 100}, 50.5),
        ({"type": "ordinal", "sequence": [1, 2, 3, 4]}, 2.5),
        ({"type": "uniform_int", "lower": 1, "upper": 1024, "log": True}, 32),
    ],
)
def test_half_of_the_points_lie_below_the_median(entry: dict[str, Any], below: float) -> None:
    share = sum(plain["x"] < below for plain in drawn(alone(**entry), 256)) / 256  # type: ignore[operator]
    assert share == pytest.approx(0.5, abs=0.02)


def test_longer_is_the_same_and_goes_on() -> None:
    space = alone(type="uniform_float", lower=0.0, upper=1.0)
    assert drawn(space, 200)[:10] == drawn(space, 10)
    assert drawn(space, 10, seed=1) != drawn(space, 10)


def test_forbidden_points_are_left_out_and_made_up_for() -> None:
    space = {
        "hyperparameters": [
            {"type": "categorical", "name": "a", "choices": [1, 2]},
            {"type": "uniform_float", "name": "b", "lower": 0.0, "upper": 1.0},
            {"type": "constant", "name": "c", "value": 7},
        ],
        "conditions": [{"type": "EQ", "child": "c", "parent": "a", "value": 1}],
        "forbiddens": [
            {
                "type": "AND",
                "clauses": [
                    {"type": "EQUALS", "name": "a", "value": 2},
                    {"type": "CLAUSE_GT", "name": "b", "value": 0.25},
                ],
            }
        ],
    }
    points = drawn(space, 100)
    assert len(points) == 100
    assert all(("c" in plain) == (plain["a"] == 1) for plain in points)
    assert all(plain["a"] == 1 or plain["b"] <= 0.25 for plain in points)  # type: ignore[operator]
    assert {plain["a"] for plain in points} == {1, 2}
