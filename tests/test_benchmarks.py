"""The benchmarks compare like with like: the peer is our agent, but for the program that trains it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from benchmarks import peer
from grownn_hpo.envs import VectorEnv, describe, varying_cells
from grownn_hpo.ppo import new_agent, outputs
from grownn_hpo.spec import Network, PPOSettings

ROOM = "MiniHack-Room-Random-5x5-v0"
MAP = Network(kind="minihack-cnn", width=16, channels=3)
MLP = Network(kind="mlp", width=16)
SETTINGS = PPOSettings(n_steps=16, batch_size=16, n_epochs=2, initial_log_std=-0.5)


@dataclass(frozen=True)
class Pair:
    """An agent of ours and a peer of one shape."""

    env: str
    network: Network
    depth: int = 2
    settings: PPOSettings = SETTINGS
    one_hot: bool = False
    varying: bool = False
    envs: int = 2

    def __post_init__(self) -> None:
        assert self.network.kind == ("minihack-cnn" if self.env == ROOM else "mlp")

    @property
    def cells(self):
        return varying_cells([self.env], {}) if self.varying else None

    def ours(self, seed: int = 0):
        return new_agent(self.network, self.depth, describe(self.env, {}), self.settings, self.cells, seed)

    def theirs(self, seed: int = 0, **kwargs):
        return peer.build_peer(
            self.env,
            {},
            self.envs,
            self.settings,
            self.network,
            self.depth,
            seed,
            one_hot=self.one_hot,
            cells=self.cells,
            **kwargs,
        )


PAIRS = {
    "one-hot": Pair(ROOM, MAP, one_hot=True),
    "one-hot, varying cells": Pair(ROOM, MAP, one_hot=True, varying=True),
    "lookup": Pair(ROOM, MAP),
    "lookup, varying cells": Pair(ROOM, MAP, varying=True, depth=1),
    "ant": Pair("Ant-v4", MLP, depth=3),
    "ant without hidden heads": Pair("Ant-v4", Network(kind="mlp", width=16, heads=0, activation="tanh")),
    "cartpole": Pair("CartPole-v1", MLP.model_copy(update={"head_activation": "relu"})),
}


def observations(env: str, steps: int = 40) -> np.ndarray:
    """What random steps show."""
    seen, draw = [], np.random.default_rng(0)
    with VectorEnv(env, {}, 2, 0) as vector:
        seen.append(vector.reset())
        for _ in range(steps):
            size = (2, 8) if env == "Ant-v4" else 2
            actions = draw.standard_normal(size) if env == "Ant-v4" else draw.integers(2, size=size)
            seen.append(vector.step(actions).observations)
    return np.concatenate(seen)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_the_peer_computes_what_ours_computes(pair: Pair) -> None:
    agent, other = pair.ours(), pair.theirs()
    seen = observations(pair.env)
    before = peer.outputs(other, seen)
    peer.load_weights(other, agent.network)
    mine = outputs(agent, seen)
    for own, theirs, drawn in zip(mine, peer.outputs(other, seen), before, strict=True):
        assert torch.allclose(own, theirs, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(own, drawn, rtol=1e-3)  # other weights, other numbers
    own_count = sum(p.numel() for p in agent.network.parameters())
    assert sum(p.numel() for p in other.policy.parameters()) == own_count
    other.env.close()
