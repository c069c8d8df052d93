"""The benchmarks compare like with like: the peer is our agent, but for the program that trains it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import cases, figures, peer
from grownn_hpo.envs import VectorEnv, describe, varying_cells
from grownn_hpo.ppo import new_agent, outputs
from grownn_hpo.ppo.gae import gae
from grownn_hpo.ppo.normalise import RunningMoments
from grownn_hpo.ppo.update import update
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


UPDATES = {
    "ant": Pair("Ant-v4", MLP),
    "ant as in the paper": Pair("Ant-v4", MLP, settings=cases.Setting("ant", 64, 1).settings(16, 32)),
    "room as in the paper": Pair(ROOM, MAP, settings=cases.Setting("room10", 64, 1).settings(16, 32)),
    "room, one-hot, varying cells": Pair(ROOM, MAP, one_hot=True, varying=True),
}


@pytest.mark.parametrize("pair", UPDATES.values(), ids=UPDATES)
def test_an_update_of_the_peer_is_an_update_of_ours(pair: Pair) -> None:
    """All hyperparameters at once: from the same weights and transitions to the same weights."""
    # One minibatch an epoch, so that nothing depends on how either shuffles; a learning rate that makes the second
    # epoch clip.
    settings = pair.settings.model_copy(update={"batch_size": 32, "n_epochs": 3, "learning_rate": 3e-3})
    pair = replace(pair, settings=settings)
    agent, other = pair.ours(), pair.theirs()
    peer.load_weights(other, agent.network)
    start = {name: tensor.clone() for name, tensor in other.policy.state_dict().items()}
    _, callback = other._setup_learn(settings.n_steps * pair.envs)
    assert other.collect_rollouts(other.env, callback, other.rollout_buffer, settings.n_steps)
    buffer, dtype = other.rollout_buffer, torch.uint8 if pair.env == ROOM else torch.float32
    ended = np.concatenate([buffer.episode_starts[1:], other._last_episode_starts[None]]).astype(bool)
    following = np.concatenate([buffer.values[1:], peer.outputs(other, other._last_obs)[1].numpy()[None]]) * ~ended
    estimated = gae(buffer.rewards, buffer.values, following, ended, settings.gamma, settings.gae_lambda)
    assert np.allclose(estimated, (buffer.advantages, buffer.returns), rtol=1e-4, atol=1e-5)
    seen = torch.tensor(buffer.observations).flatten(0, 1).to(dtype)
    actions = torch.tensor(buffer.actions).flatten(0, 1)
    actions = actions.squeeze(1) if pair.env == ROOM else actions
    rest = (torch.tensor(array).flatten() for array in (buffer.log_probs, buffer.advantages, buffer.returns))
    update(agent, seen, actions, *rest, settings, settings.learning_rate, torch.Generator())
    other.train()

    reached = {name: tensor.clone() for name, tensor in other.policy.state_dict().items()}
    peer.load_weights(other, agent.network)
    for name, tensor in other.policy.state_dict().items():
        assert torch.allclose(tensor, reached[name], rtol=1e-4, atol=3e-5), name
        assert not torch.allclose(tensor, start[name], atol=3e-4), name


def test_observations_are_normalised_as_ours_are() -> None:
    settings = SETTINGS.model_copy(update={"normalize_observations": True, "normalize_rewards": True})
    pair = Pair("Ant-v4", MLP, settings=settings)
    agent, other = pair.ours(), pair.theirs()
    other.learn(settings.n_steps * pair.envs)
    peer.load_weights(other, agent.network)
    learned = other.get_vec_normalize_env()
    assert learned is not None
    assert learned.norm_obs
    assert learned.norm_reward
    agent.observation_moments = RunningMoments(learned.obs_rms.mean, learned.obs_rms.var, learned.obs_rms.count)
    seen = observations("Ant-v4")
    for own, theirs in zip(outputs(agent, seen), peer.outputs(other, seen), strict=True):
        assert torch.allclose(own, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("initialisation", ["orthogonal", "torch"])
@pytest.mark.parametrize("pair", [PAIRS["lookup"], PAIRS["ant"]], ids=["room", "ant"])
def test_weights_begin_by_the_same_scheme(pair: Pair, initialisation: str) -> None:
    pair = replace(pair, network=pair.network.model_copy(update={"initialisation": initialisation, "width": 64}))
    drawn, other = pair.theirs(seed=1).policy.state_dict(), pair.theirs(seed=2)
    peer.load_weights(other, pair.ours().network)
    for name, own in other.policy.state_dict().items():
        if name == "log_std":
            assert own.tolist() == drawn[name].tolist() == [-0.5] * 8
        elif drawn[name].numel() >= 64 and drawn[name].any():
            assert own.std().item() == pytest.approx(drawn[name].std().item(), rel=0.25), name
        else:
            assert bool(own.any()) == bool(drawn[name].any()), name


def test_the_learning_rate_anneals_as_ours() -> None:
    settings = SETTINGS.model_copy(update={"anneal_learning_rate": True})
    whole = 4 * settings.n_steps * 2
    other = Pair("CartPole-v1", MLP, settings=settings).theirs(total_env_steps=whole)
    rates, train = [], other.train

    def observed() -> None:
        train()
        rates.append(other.policy.optimizer.param_groups[0]["lr"])

    other.train = observed
    other.learn(whole)
    assert rates == pytest.approx([settings.learning_rate * part for part in (1, 0.75, 0.5, 0.25)])
    with pytest.raises(ValueError, match="total_env_steps = None"):
        Pair("CartPole-v1", MLP, settings=settings).theirs()


def test_a_seed_decides_the_episodes_of_a_stock_room() -> None:
    def played(seed: int) -> list[bytes]:
        env, draw = peer.stock_env(ROOM, {}), np.random.default_rng(0)
        maps = [env.reset(seed=seed)[0].tobytes()]
        ends = 0
        while ends < 3:
            seen, _, terminated, truncated, info = env.step(draw.integers(8))
            maps.append(seen.tobytes())
            if terminated or truncated:
                assert info["is_success"] in (True, False)
                ends += 1
                maps.append(env.reset()[0].tobytes())
        env.close()
        return maps

    assert played(1) == played(1)
    assert played(1) != played(2)


def rollouts(*seconds: float, memory: float = 0.0) -> list[figures.Rollout]:
    """Of 100 env steps each; memory grows by so much with each."""
    return [
        figures.Rollout(100, each, each, 0.2 * each, 0.3 * each, 0.5 * each, 100 + memory * k, 200)
        for k, each in enumerate(seconds)
    ]


def test_ratios_are_of_the_pairs_that_took_turns() -> None:
    figure = figures.compared("case", 2.5, rollouts(1.0, 2.0, 4.0), rollouts(2.0, 6.0, 8.0))
    assert (figure.ratio, figure.low, figure.high) == (2.0, 2.0, 3.0)
    assert (figure.ours, figure.theirs) == (50.0, pytest.approx(100 / 6))
    assert figure.met is False
    assert replace(figure, target=2.0).met
    assert figure.notes["env/forward/update"] == "20/30/50%, theirs 20/30/50%"
    rows = figures.table([figure, figures.Figure("other", None, None, None, 1.0, 2.0, "MiB")])
    assert rows[1][:3] == ["case", "2.5 missed", "2.00"]
    assert len({len(row) for row in rows}) == 1


def test_limits_and_growths() -> None:
    ours, limits = rollouts(2.0, 4.0), rollouts(5.0, 5.0)
    assert figures.of_limits(ours, limits) == ([0.5, 0.25], [1.75, 0.875])
    assert figures.against_env("case", 0.8, ours, limits).ratio == 0.375
    # A layer costs 1 s from depth 1 to 4, 2 s from 4 to 8: faster than linear; theirs is linear.
    growth = figures.depth_growth("case", {1: (1.0, 1.0), 4: (4.0, 2.5), 8: (12.0, 4.5)})
    assert (growth.ours, growth.theirs) == (1.5, 1.0)
    cost, memory = figures.over_a_segment("case", rollouts(1, 9, 3, 5, memory=2.0), rollouts(2, 2, 2, 2))
    assert (cost.ours, cost.theirs) == (3.0, 1.0)
    assert (memory.ours, memory.theirs) == (2.0 / 100 * 1e5, 0.0)


def test_the_short_form_has_every_target_and_the_full_one_the_grid() -> None:
    def names(full: bool) -> set[str]:
        return {name for group in cases.groups(full) for name in group.cases.values()}

    aside = {*cases.ENV_CASES, "ant-b256-d1-of-env"}
    assert set(cases.TARGETS) - aside <= names(full=False) <= names(full=True)
    assert len(names(full=True)) == 2 * 3 * 2 + 2 * 3 + 1
    for group in cases.groups(full=True):
        for reading, size in ((None, group.ours), *((r, group.theirs(r)) for r in group.readings)):
            settings = group.setting.settings(size.n_steps, size.batch)
            assert size.n_steps * cases.ENVS % settings.batch_size == 0, (group.setting.name, reading)
            assert settings.n_epochs == 10


@pytest.mark.slow
def test_a_benchmark_ends_in_one_line_of_figures(tmp_path: Path) -> None:
    written = tmp_path / "results" / "here.md"
    command = [sys.executable, "-m", "benchmarks.segments", "cartpole", "--pairs", "1", "--write", str(written)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == {"cartpole"}
    assert set(found["cartpole"]) == {"ratio", "ours", "theirs", "unit"}
    assert found["cartpole"]["ratio"] == pytest.approx(found["cartpole"]["ours"] / found["cartpole"]["theirs"])
    assert "| cartpole | 2" in written.read_text()


def test_learning_is_evaluated_after_whole_rollouts_once_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # importing sets them: to be undone
    from benchmarks.learning import TASKS, evaluation_points

    for task in TASKS:
        points = evaluation_points(task)
        assert points == sorted(set(points))
        assert points[-1] == task.env_steps
        assert not any(env_steps % (task.envs * task.settings.n_steps) for env_steps in points)
