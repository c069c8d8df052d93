"""Search spaces: every kind of hyperparameter in and out, and messages for what is broken."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grownn_hpo.errors import InputError
from grownn_hpo.search.space import all_configurations, check_space, from_plain, read_space, to_plain
from grownn_hpo.spec import PPOSettings

RATE = {"type": "uniform_float", "name": "learning_rate", "lower": 1e-4, "upper": 1e-2, "log": True}
BATCH = {"type": "categorical", "name": "batch_size", "choices": [32, 64, 128, 256]}
EPOCHS = {"type": "uniform_int", "name": "n_epochs", "lower": 5, "upper": 20}
NORMALIZE = {"type": "categorical", "name": "normalize_advantage", "choices": [True, False]}
PAPER: dict[str, Any] = {
    "hyperparameters": [RATE, {"type": "uniform_float", "name": "ent_coef", "lower": 0.0, "upper": 0.3}, EPOCHS, BATCH]
}
EVERYTHING: dict[str, Any] = {
    "name": "everything",
    "hyperparameters": [
        NORMALIZE,
        {"type": "uniform_int", "name": "n_steps", "lower": 16, "upper": 4096, "log": True},
        RATE,
        {"type": "categorical", "name": "batch_size", "choices": [32, 64], "weights": [0.9, 0.1]},
        {"type": "ordinal", "name": "gamma", "sequence": [0.9, 0.99, 0.999]},
        {"type": "normal_float", "name": "gae_lambda", "mu": 0.95, "sigma": 0.02, "lower": 0.8, "upper": 1.0},
        {"type": "beta_float", "name": "clip_range", "alpha": 2, "beta": 3, "lower": 0.05, "upper": 0.4},
        {"type": "normal_int", "name": "n_epochs", "mu": 8, "sigma": 3, "lower": 1, "upper": 20},
        {"type": "constant", "name": "vf_coef", "value": 0.5},
        {"type": "uniform_float", "name": "ent_coef", "lower": 0.0, "upper": 0.3},
        {"type": "uniform_float", "name": "max_grad_norm", "lower": 0.1, "upper": 30.0},
    ],
    "conditions": [
        {"type": "EQ", "child": "ent_coef", "parent": "normalize_advantage", "value": True},
        {
            "type": "AND",
            "conditions": [
                {"type": "EQ", "child": "max_grad_norm", "parent": "normalize_advantage", "value": True},
                {"type": "GT", "child": "max_grad_norm", "parent": "gamma", "value": 0.9},
            ],
        },
    ],
    "forbiddens": [
        {
            "type": "AND",
            "clauses": [
                {"type": "EQUALS", "name": "gamma", "value": 0.999},
                {"type": "IN", "name": "batch_size", "values": [64]},
            ],
        }
    ],
}


def changed(space: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`space` with the entry at `path`, such as `hyperparameters.0.lower`, set to `value`."""
    result = copy.deepcopy(space)
    *way, last = path.split(".")
    here: Any = result
    for step in way:
        here = here[int(step) if step.isdecimal() else step]
    here[int(last) if last.isdecimal() else last] = value
    return result


@settings(deadline=None, max_examples=50)  # ConfigSpace's import takes a second
@given(st.integers(0, 2**32 - 1))
def test_a_configuration_comes_back_from_json_equal_and_with_the_same_hash(seed: int) -> None:
    space = read_space(EVERYTHING, "space.yaml")
    space.seed(seed)
    for asked in space.sample_configuration(5):
        plain = to_plain(asked)
        rebuilt = from_plain(space, json.loads(json.dumps(plain)))
        assert rebuilt == asked
        assert hash(rebuilt) == hash(asked)
        assert to_plain(rebuilt) == plain
        assert {type(value) for value in plain.values()} <= {bool, int, float, str}
        assert ("ent_coef" in plain) == plain["normalize_advantage"]
        assert ("max_grad_norm" in plain) == (plain["normalize_advantage"] and plain["gamma"] > 0.9)
        assert (plain["gamma"], plain["batch_size"]) != (0.999, 64)


def test_reading_leaves_the_mapping_alone_and_the_names_in_the_spaces_order() -> None:
    mapping = copy.deepcopy(EVERYTHING)
    space = read_space(mapping, "space.yaml")
    assert mapping == EVERYTHING
    order = list(space)
    assert order.index("normalize_advantage") < order.index("ent_coef")
    shuffled = {**EVERYTHING, "hyperparameters": EVERYTHING["hyperparameters"][::-1]}
    assert list(read_space(shuffled, "space.yaml")) == order


def test_what_configspace_wrote_can_be_read() -> None:
    space = read_space(EVERYTHING, "space.yaml")
    assert read_space(space.to_serialized_dict(), "space.yaml") == space


@pytest.mark.parametrize(
    ("hyperparameters", "more", "size"),
    [
        ([BATCH, NORMALIZE], {}, 8),
        ([BATCH, EPOCHS], {}, 64),
        ([{"type": "constant", "name": "gamma", "value": 0.9}], {}, 1),
        ([RATE], {}, None),
        ([{"type": "uniform_int", "name": "n_steps", "lower": 1, "upper": 10**9}], {}, None),
        ([{"type": "categorical", "name": "batch_size", "choices": [1, 2, 3], "weights": [1, 0, 1]}], {}, 2),
        (
            [NORMALIZE, BATCH],
            {"conditions": [{"type": "EQ", "child": "batch_size", "parent": "normalize_advantage", "value": True}]},
            5,
        ),
        (
            [NORMALIZE, BATCH],
            {
                "forbiddens": [
                    {
                        "type": "AND",
                        "clauses": [
                            {"type": "EQUALS", "name": "normalize_advantage", "value": False},
                            {"type": "IN", "name": "batch_size", "values": [32, 64]},
                        ],
                    }
                ]
            },
            6,
        ),
    ],
)
def test_the_size_of_a_space(hyperparameters: list[Any], more: dict[str, Any], size: int | None) -> None:
    everything = all_configurations(read_space({"hyperparameters": hyperparameters, **more}, "space.yaml"))
    assert (None if everything is None else len(everything)) == size


BROKEN = [
    (
        changed(PAPER, "hyperparameters.0.type", "uniform_flot"),
        "hyperparameters[0].type",
        "did you mean uniform_float?",
    ),
    (changed(PAPER, "hyperparameters.0.lowr", 1), "hyperparameters[0].lowr", "did you mean lower?"),
    (changed(PAPER, "hyperparameters.0", {"type": "uniform_int", "name": "a", "lower": 1}), ".upper", "needs this key"),
    (changed(PAPER, "hyperparameters.0.lower", "1e-4"), "hyperparameters[0].lower", "without quotes"),
    (changed(PAPER, "hyperparameters.0.lower", float("nan")), "hyperparameters[0].lower", "finite number"),
    (changed(PAPER, "hyperparameters.0.lower", 0.5), "hyperparameters[0]", "larger than"),
    (changed(PAPER, "hyperparameters.0.lower", 0.0), "hyperparameters[0]", "log-scale"),
    (changed(PAPER, "hyperparameters.0.log", "yes"), "hyperparameters[0].log", "true or false"),
    (changed(PAPER, "hyperparameters.2.lower", 1.5), "hyperparameters[2].lower", "whole number"),
    (changed(PAPER, "hyperparameters.3.choices", []), "hyperparameters[3].choices", "at least one"),
    (changed(PAPER, "hyperparameters.3.choices", [32, 32]), "hyperparameters[3]", "only a single"),
    (changed(PAPER, "hyperparameters.3.default_value", 33), "hyperparameters[3]", "default value"),
    (changed(PAPER, "hyperparameters.3.name", "n_epochs"), "hyperparameters[3].name", "only once"),
    (changed(PAPER, "hyperparameters.3", "batch_size"), "hyperparameters[3]", "must be a mapping"),
    (changed(PAPER, "hyperparameters.3", {"type": "constant", "value": 1}), "hyperparameters[3].name", "needs a name"),
    (changed(PAPER, "hyperparamters", []), "hyperparamters", "did you mean hyperparameters?"),
    ({"hyperparameters": []}, "hyperparameters", "at least one"),
    ({"hyperparameters": RATE}, "hyperparameters", "must be a list"),
    (changed(EVERYTHING, "conditions.0.parent", "normalise_advantage"), "conditions[0].parent", "normalize_advantage?"),
    (changed(EVERYTHING, "conditions.0.value", "maybe"), "conditions[0]", "maybe"),
    (changed(EVERYTHING, "conditions.1.conditions.1.type", "GE"), "conditions[1].conditions[1].type", "must be one of"),
    (changed(EVERYTHING, "conditions.1.conditions.1.child", "ent_coef"), "conditions[1]", "child"),
    (
        changed(EVERYTHING, "forbiddens.0.clauses.0.name", "gama"),
        "forbiddens[0].clauses[0].name",
        "did you mean gamma?",
    ),
    (changed(EVERYTHING, "forbiddens.0.clauses.0.value", 0.5), "forbiddens[0]", "0.5"),
    (
        changed(PAPER, "forbiddens", [{"type": "EQUALS", "name": "batch_size", "value": 32}]),
        "forbiddens[0]",
        "orbidden",
    ),
    (changed(EVERYTHING, "conditions.0.child", "clip_range"), "[6]", "use a uniform one"),
]


@pytest.mark.parametrize(("mapping", "key", "words"), BROKEN)
def test_a_broken_space_is_refused_with_file_key_value_and_rule(mapping: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(InputError) as refusal:
        read_space(mapping, "space.yaml")
    fault = refusal.value.faults[0]
    assert fault.file == "space.yaml"
    assert key in fault.key
    assert words in fault.rule
    assert "\n" not in str(fault)


def test_all_faults_of_form_are_named_at_once() -> None:
    twice = changed(changed(PAPER, "hyperparameters.0.lower", "1"), "hyperparameters.3.choices", [])
    with pytest.raises(InputError) as refusal:
        read_space(twice, "space.yaml")
    assert len(refusal.value.faults) == 2


ENVS = 5


@pytest.mark.parametrize("mapping", [PAPER, changed(EVERYTHING, "hyperparameters.1.lower", 64)])
def test_a_space_that_ppo_knows_passes(mapping: dict[str, Any]) -> None:
    check_space(mapping, PPOSettings(), 2048 * ENVS, "space.yaml")


UNKNOWN_TO_PPO = [
    (
        changed(PAPER, "hyperparameters.0.name", "learning_rte"),
        "hyperparameters[0].name",
        "did you mean learning_rate?",
    ),
    (changed(PAPER, "hyperparameters.0.name", "zzz"), "hyperparameters[0].name", "it has learning_rate"),
    (changed(PAPER, "hyperparameters.1.lower", -0.1), "hyperparameters[1].lower", "greater than or equal to 0"),
    (changed(PAPER, "hyperparameters.1.name", "n_steps"), "hyperparameters[1]", "whole numbers"),
    (changed(PAPER, "hyperparameters.1.name", "normalize_rewards"), "hyperparameters[1]", "true or false"),
    (changed(PAPER, "hyperparameters.2.name", "normalize_rewards"), "hyperparameters[2].lower", "boolean"),
    (changed(PAPER, "hyperparameters.2.name", "gamma"), "hyperparameters[2].lower", "less than or equal to 1"),
    (changed(PAPER, "hyperparameters.3.choices", [32, 64.0]), "hyperparameters[3].choices[1]", "integer"),
    (changed(PAPER, "hyperparameters.3.choices", [32, "64"]), "hyperparameters[3].choices[1]", "integer"),
    (changed(PAPER, "hyperparameters.3.choices", [32, 20480]), "hyperparameters[3]", "20480 is more than 2048 x 5"),
    (
        changed(PAPER, "hyperparameters.2", {"type": "uniform_int", "name": "n_steps", "lower": 8, "upper": 99}),
        "hyperparameters[3]",
        "256 is more than 8 x 5 = 40",
    ),
    (
        {"hyperparameters": [{"type": "ordinal", "name": "n_steps", "sequence": [2, 99]}]},
        "hyperparameters[0]",
        "64 is more than 2 x 5 = 10",
    ),
    (
        {"hyperparameters": [{"type": "constant", "name": "clip_range", "value": 0}]},
        "hyperparameters[0].value",
        "than 0",
    ),
]


@pytest.mark.parametrize(("mapping", "key", "words"), UNKNOWN_TO_PPO)
def test_a_value_that_ppo_would_refuse_is_refused_now(mapping: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(InputError) as refusal:
        check_space(mapping, PPOSettings(), 2048 * ENVS, "space.yaml")
    fault = refusal.value.faults[0]
    assert key in fault.key
    assert words in fault.rule


def test_a_choice_is_told_as_ppo_needs_it() -> None:
    """What passes the check passes PPO's own, for every configuration drawn."""
    mapping = changed(EVERYTHING, "hyperparameters.1.lower", 64)
    check_space(mapping, PPOSettings(), 2048 * ENVS, "space.yaml")
    space = read_space(mapping, "space.yaml")
    space.seed(0)
    for configuration in space.sample_configuration(100):
        PPOSettings.model_validate(to_plain(configuration))
