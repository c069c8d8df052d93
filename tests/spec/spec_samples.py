"""Valid arms to draw from, and the smallest study file to break."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

from grownn_hpo.spec import (
    IDEMPOTENT_ACTIVATIONS,
    Arm,
    Evaluation,
    Growth,
    Limits,
    Network,
    PPOSettings,
    Rung,
    Search,
    Task,
)

SPACE = {"hyperparameters": [{"name": "n_epochs", "type": "uniform_int", "lower": 1, "upper": 4, "default_value": 2}]}

SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 0,
    "seeds": [0, 1],
    "task": {"env": "CartPole-v1", "envs": 4},
    "evaluation": {"episodes": 2, "rounds": 2},
    "space": SPACE,
    "ppo": {"n_steps": 32, "batch_size": 64},
    "network": {"kind": "mlp", "width": 16},
    "search": {"trials": 6, "lookahead": 1},
    "arms": {
        "grown": {
            "rungs": [
                {"env_steps": 512, "depth": 1, "configurations": 3},
                {"env_steps": 512, "depth": 2, "configurations": 2},
            ]
        },
        "static": {"search": {"trials": 2}, "rungs": [{"env_steps": 1024, "depth": 2, "configurations": 1}]},
    },
}


def small() -> dict[str, Any]:
    return copy.deepcopy(SMALL)


texts = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(texts, plain, max_size=3)
steps = st.integers(1, 2**53)
counts = st.integers(1, 10**6)
widths = st.integers(1, 2**16)
seeds = st.integers(0, 2**53)
positive = st.floats(0, exclude_min=True, allow_nan=False, allow_infinity=False)
fractions = st.floats(0, 1)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}(\.[A-Za-z0-9_-]{1,20})?", fullmatch=True) | st.sampled_from(
    [
        "null",
        "true",
        "no",
        "1",
        "1.5",
        "1e-4",
        "0x1f",
        "2026-11-22",
        "1_000",
    ]  # which YAML could take for something else
)
words = texts.filter(bool)


@st.composite
def arms(draw: st.DrawFn) -> Arm:
    """Any arm that may exist."""
    envs = draw(st.integers(1, 64))
    n_steps = draw(st.integers(1, 4096))
    network = draw(
        st.builds(
            Network,
            kind=st.sampled_from(["mlp", "minihack-cnn"]),
            width=widths,
            heads=st.none() | st.integers(0, 2**16),
            activation=st.sampled_from([*IDEMPOTENT_ACTIVATIONS, "tanh", "gelu", "silu"]),
            head_activation=st.sampled_from(["relu", "tanh"]),
            initialisation=st.sampled_from(["orthogonal", "torch"]),
            channels=widths,
            cells=st.sampled_from(["all", "varying"]),
        )
    )
    depth, configurations, rungs = draw(st.integers(1, 5)), draw(st.integers(1, 1000)), []
    for _ in range(draw(st.integers(1, 4))):
        env = draw(st.none() | words)
        env_steps = envs * draw(st.integers(1, 10**6))
        rungs.append(Rung(env_steps=env_steps, depth=depth, configurations=configurations, env=env))
        depth += draw(st.integers(0, 3)) if network.activation in IDEMPOTENT_ACTIVATIONS else 0
        configurations = draw(st.integers(1, configurations))
    return Arm(
        study=draw(names),
        name=draw(names),
        seed=draw(seeds),
        seeds=tuple(draw(st.lists(seeds, min_size=1, max_size=4, unique=True))),
        device=draw(st.sampled_from(["auto", "cpu", "cuda"])),
        boundary_env_steps=draw(st.none() | st.integers(1000, 2**53)),  # at most 100,000 legs
        task=Task(env=draw(words), envs=envs, kwargs=draw(mappings)),
        evaluation=draw(st.builds(Evaluation, episodes=counts, rounds=counts)),
        space=draw(mappings),
        ppo=draw(
            st.builds(
                PPOSettings,
                learning_rate=positive,
                n_steps=st.just(n_steps),
                batch_size=st.integers(1, n_steps * envs),
                n_epochs=steps,
                gamma=fractions,
                gae_lambda=fractions,
                clip_range=positive,
                ent_coef=st.floats(0, 1e300),
                vf_coef=st.floats(0, 1e300),
                max_grad_norm=positive,
                adam_eps=positive,
                normalize_advantage=st.booleans(),
                normalize_observations=st.just(False) if network.kind == "minihack-cnn" else st.booleans(),
                normalize_rewards=st.booleans(),
                anneal_learning_rate=st.booleans(),
                initial_log_std=numbers,
            )
        ),
        network=network,
        growth=draw(st.builds(Growth, optimizer_state=st.sampled_from(["carry", "reset"]))),
        search=draw(
            st.builds(
                Search,
                trials=counts,
                lookahead=counts | st.just("auto"),
                surrogate=st.sampled_from(["lowest", "highest", "all"]),
                initial_design=counts,
                begin_with_default=st.booleans(),
            )
        ),
        limits=draw(
            st.builds(
                Limits,
                attempts=counts,
                memory_gib=st.none() | st.floats(0, 2**20, exclude_min=True),
                stalled_seconds=st.floats(0, 10**9, exclude_min=True),
            )
        ),
        rungs=tuple(rungs),
    )
