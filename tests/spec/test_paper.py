"""The bundled studies against the paper's numbers (Fehring, Lindauer, Eimer, arXiv 2506.11706)."""

from __future__ import annotations

import pytest

from grownn_hpo.spec import Arm
from grownn_hpo.spec.study import load_study

FOUR, EIGHT = (10, 7, 5, 4), (10, 7, 5, 4, 3, 2, 2, 1)  # floor(10 / 1.3^i)
ROOMS = {"grown-4": (4, 500_000, 200, 20), "grown-2": (2, 1_000_000, 100, 20)}
# study -> arm -> rungs, env steps of each, trials, evaluations a rung
GROWN = {
    "ant": {"grown-4": (4, 500_000, 200, 20), "grown-8": (8, 250_000, 400, 10)},
    "room-random-10x10": ROOMS,
    "room-monster-10x10": ROOMS,
}
STATIC_DEPTHS = {"ant": (1, 2, 4, 6, 8, 10), "room-random-10x10": (1, 2, 4), "room-monster-10x10": (1, 2, 4)}
ENVS = {
    "ant": "Ant-v4",
    "room-random-10x10": "MiniHack-Room-Random-10x10-v0",
    "room-monster-10x10": "MiniHack-Room-Monster-10x10-v0",
}
# kind, width, channels, activation, value coefficient, advantages normalised
NETWORKS = {
    "ant": ("mlp", 64, None, "relu", 0.001, True),
    "room-random-10x10": ("minihack-cnn", 512, 2, "relu", 0.5, False),
    "room-monster-10x10": ("minihack-cnn", 512, 2, "relu", 0.5, False),
}


def arms(study: str) -> dict[str, Arm]:
    return {arm.name: arm for arm in load_study(study).arms}


@pytest.mark.parametrize("study", GROWN)
def test_arms(study: str) -> None:
    assert set(arms(study)) == {*GROWN[study], *(f"static-{depth}" for depth in STATIC_DEPTHS[study])}


@pytest.mark.parametrize(("study", "name"), [(study, name) for study, found in GROWN.items() for name in found])
def test_grown_arms(study: str, name: str) -> None:
    arm = arms(study)[name]
    rungs, env_steps, trials, rounds = GROWN[study][name]
    assert [r.env_steps for r in arm.rungs] == [env_steps] * rungs
    assert [r.depth for r in arm.rungs] == list(range(1, rungs + 1))
    assert tuple(r.configurations for r in arm.rungs) == EIGHT[:rungs] == tuple(int(10 / 1.3**i) for i in range(rungs))
    assert arm.search.trials == trials
    assert arm.evaluation.rounds == rounds
    assert arm.env_steps == 2_000_000


@pytest.mark.parametrize("study", STATIC_DEPTHS)
def test_static_arms_are_black_box_at_full_length(study: str) -> None:
    for depth in STATIC_DEPTHS[study]:
        arm = arms(study)[f"static-{depth}"]
        assert [(r.env_steps, r.depth, r.configurations) for r in arm.rungs] == [(2_000_000, depth, 1)]
        assert arm.search.trials == 50
        assert arm.evaluation.rounds == 80


@pytest.mark.parametrize("study", GROWN)
def test_both_sides_spend_the_same_env_steps(study: str) -> None:
    spent = {name: arm.search.trials * arm.env_steps // len(arm.rungs) for name, arm in arms(study).items()}
    assert set(spent.values()) == {100_000_000}


@pytest.mark.parametrize("study", GROWN)
def test_common_terms(study: str) -> None:
    kind, width, channels, activation, vf_coef, normalised = NETWORKS[study]
    for arm in arms(study).values():
        assert (arm.task.env, arm.task.envs) == (ENVS[study], 5)
        assert arm.boundary_env_steps == 100_000  # ours
        assert all(rung.env is None for rung in arm.rungs)
        assert len(arm.seeds) == 5
        assert arm.evaluation.episodes == 10
        assert (arm.search.initial_design, arm.search.surrogate, arm.search.lookahead) == (10, "lowest", 1)
        ppo = arm.ppo
        assert (ppo.n_steps, ppo.clip_range, ppo.gae_lambda, ppo.gamma, ppo.max_grad_norm) == (
            2048,
            0.2,
            0.95,
            0.99,
            0.5,
        )
        assert (ppo.vf_coef, ppo.normalize_advantage) == (vf_coef, normalised)
        assert (ppo.adam_eps, ppo.anneal_learning_rate) == (1e-5, False)
        assert not ppo.normalize_observations
        assert not ppo.normalize_rewards
        network = arm.network
        assert (network.kind, network.width, network.head_width) == (kind, width, width)
        assert channels is None or network.channels == channels
        assert (network.activation, network.head_activation, network.initialisation) == (
            activation,
            "tanh",
            "orthogonal",
        )
        assert network.cells == "all"


@pytest.mark.parametrize("study", GROWN)
def test_search_space(study: str) -> None:
    for arm in arms(study).values():
        found = arm.space["hyperparameters"]
        assert isinstance(found, list)
        by_name = {h["name"]: h for h in found if isinstance(h, dict)}
        assert set(by_name) == {"ent_coef", "learning_rate", "n_epochs", "batch_size"}
        bounds = {
            n: (h["type"], h["lower"], h["upper"], h.get("log", False)) for n, h in by_name.items() if "lower" in h
        }
        assert bounds == {
            "ent_coef": ("uniform_float", 0.0, 0.3, False),
            "learning_rate": ("uniform_float", 1e-4, 1e-2, True),
            "n_epochs": ("uniform_int", 5, 20, False),
        }
        assert by_name["batch_size"]["choices"] == [32, 64, 128, 256]
        assert not arm.space["conditions"]
        assert not arm.space["forbiddens"]
