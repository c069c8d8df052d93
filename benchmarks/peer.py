"""Stable-Baselines3's PPO with our network, our settings and the stock environments: what ours is measured against.

The function that its policy computes is `grownn_hpo.ppo.network.ActorCritic`'s, layer by layer; a map of characters is
read by the paper's one-hot convolution, or by a lookup that gives the same numbers. Initial weights are drawn by the
same scheme (Stable-Baselines3's own is what our "orthogonal" follows), or copied from an agent of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from torch import Tensor, nn

from benchmarks import stock
from grownn_hpo.envs.opening import is_minihack
from grownn_hpo.ppo import ActorCritic
from grownn_hpo.ppo.map_features import CHARACTERS, MapFeatures
from grownn_hpo.ppo.network import ACTIVATIONS
from grownn_hpo.spec import Network, PPOSettings

Cells = NDArray[np.bool_]


class VectorExtractor(BaseFeaturesExtractor):
    """The input part for vectors, and the stack."""

    def __init__(self, space: gymnasium.Space[Any], spec: Network, depth: int) -> None:
        super().__init__(space, spec.width)
        self.linear = nn.Linear(int(np.prod(space.shape or ())), spec.width)
        self.stack = _stack(spec, depth)

    def forward(self, observations: Tensor) -> Tensor:
        features: Tensor = self.stack(self.linear(observations.flatten(1)))
        return features


class OneHotExtractor(BaseFeaturesExtractor):
    """The paper's input part for maps, one-hot -> 1x1 convolution -> ReLU -> Linear -> activation, and the stack."""

    def __init__(self, space: gymnasium.Space[Any], spec: Network, depth: int, cells: Cells | None) -> None:
        super().__init__(space, spec.width)
        chosen = np.ones(space.shape or (), np.bool_) if cells is None else cells
        # None where all cells are read, so that nobody pays for picking them.
        self.chosen = None if chosen.all() else torch.from_numpy(np.flatnonzero(chosen))
        self.convolution = nn.Conv2d(CHARACTERS, spec.channels, 1)
        self.linear = nn.Linear(spec.channels * int(chosen.sum()), spec.width)
        self.activation = ACTIVATIONS[spec.activation]()
        self.stack = _stack(spec, depth)

    def forward(self, observations: Tensor) -> Tensor:
        characters = observations.flatten(1).long()
        if self.chosen is not None:
            characters = characters[:, self.chosen.to(characters.device)]
        features: Tensor = self.stack(self.activation(self.linear(self.channels(characters).flatten(1))))
        return features

    def channels(self, characters: Tensor) -> Tensor:
        """From characters [B, N] to channels [B, C, N]."""
        one_hot = F.one_hot(characters, CHARACTERS).float().transpose(1, 2).unsqueeze(-1)
        activated: Tensor = self.convolution(one_hot).relu()
        return activated.squeeze(-1)


class LookupExtractor(OneHotExtractor):
    """The same function of the same parameters: what a one-hot convolution makes of a character, from a table."""

    def channels(self, characters: Tensor) -> Tensor:
        """From characters [B, N] to channels [B, N, C]: see `load_weights` for the order."""
        table = (self.convolution.weight.flatten(1).T + self.convolution.bias).relu()
        return F.embedding(characters, table)


class MapOnly(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A stock MiniHack environment seen as its map; it says whether an episode succeeded, and is drawn from a seed."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        assert isinstance(env.observation_space, gymnasium.spaces.Dict)
        self.observation_space = env.observation_space["chars"]
        self._draw = np.random.default_rng()
        self._success = env.unwrapped.StepStatus.TASK_SUCCESSFUL  # type: ignore[attr-defined]  # MiniHack's

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._draw = np.random.default_rng(seed)
        # Gymnasium's `reset(seed=)` does not seed NetHack.
        core, display = self._draw.integers(2**63, size=2).tolist()
        self.unwrapped.seed(core, display, reseed=False)  # type: ignore[attr-defined]
        observation, info = self.env.reset(options=options)
        return observation["chars"], info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            info["is_success"] = info["end_status"] == self._success
        return observation["chars"], reward, terminated, truncated, info


def stock_env(env: str, kwargs: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    """The stock environment, with observations and actions that a policy takes."""
    made = stock.make(env, kwargs)
    return MapOnly(made) if is_minihack(env) else made


def stock_envs(env: str, kwargs: Mapping[str, Any], n: int) -> DummyVecEnv:
    """`n` of them, each with the Monitor that Stable-Baselines3's `make_vec_env` puts around it."""

    def build() -> gymnasium.Env[Any, Any]:
        return Monitor(stock_env(env, kwargs))

    return DummyVecEnv([build] * n)


def build_peer(
    env: str,
    kwargs: Mapping[str, Any],
    envs: int,
    settings: PPOSettings,
    network: Network,
    depth: int,
    seed: int,
    *,
    one_hot: bool = False,
    cells: Cells | None = None,
    total_env_steps: int | None = None,
    device: str = "cpu",
) -> PPO:
    """Stable-Baselines3's PPO, ready to `learn`, with everything as in ours.

    `cells` [rows, columns] are those of a map that are read (None: all), by the paper's extractor where `one_hot`, else
    by the lookup. `total_env_steps` is needed where the learning rate anneals. Raises ValueError where it is missing.
    """
    venv: VecEnv = stock_envs(env, kwargs, envs)
    if settings.normalize_observations or settings.normalize_rewards:
        venv = VecNormalize(
            venv, norm_obs=settings.normalize_observations, norm_reward=settings.normalize_rewards, gamma=settings.gamma
        )
    if network.kind == "mlp":
        extractor: type[BaseFeaturesExtractor] = VectorExtractor
        extractor_kwargs: dict[str, Any] = {"spec": network, "depth": depth}
    else:
        extractor = OneHotExtractor if one_hot else LookupExtractor
        extractor_kwargs = {"spec": network, "depth": depth, "cells": cells}
    head = [network.head_width] if network.head_width else []
    return PPO(
        ActorCriticPolicy,
        venv,
        learning_rate=_learning_rate(settings, settings.n_steps * envs, total_env_steps),
        n_steps=settings.n_steps,
        batch_size=settings.batch_size,
        n_epochs=settings.n_epochs,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip_range,
        normalize_advantage=settings.normalize_advantage,
        ent_coef=settings.ent_coef,
        vf_coef=settings.vf_coef,
        max_grad_norm=settings.max_grad_norm,
        seed=seed,
        device=device,
        policy_kwargs={
            "features_extractor_class": extractor,
            "features_extractor_kwargs": extractor_kwargs,
            "net_arch": {"pi": head, "vf": head},
            "activation_fn": ACTIVATIONS[network.head_activation],
            "ortho_init": network.initialisation == "orthogonal",
            "log_std_init": settings.initial_log_std,
            "optimizer_kwargs": {"eps": settings.adam_eps},
        },
    )


@torch.no_grad()
def load_weights(peer: PPO, network: ActorCritic) -> None:
    """Give the peer's policy the weights of a network of ours of the same shape."""
    policy = peer.policy
    extractor, features = policy.features_extractor, network.features
    if isinstance(features, MapFeatures):
        assert isinstance(extractor, OneHotExtractor)
        extractor.convolution.weight.copy_(features.convolution.T[:, :, None, None])
        extractor.convolution.bias.copy_(features.convolution_bias)
        by_cell = features.weight.view(-1, features.channels, features.width)  # [N, C, W]
        # The one-hot form has its channels outside: torch puts them before the places.
        rows = by_cell if isinstance(extractor, LookupExtractor) else by_cell.transpose(0, 1)
        extractor.linear.weight.copy_(rows.reshape(-1, features.width).T)
        extractor.linear.bias.copy_(features.bias)
    else:
        assert isinstance(extractor, VectorExtractor)
        extractor.linear.load_state_dict(features.linear.state_dict())
    extractor.stack.load_state_dict(network.stack.state_dict())
    heads = (
        (policy.mlp_extractor.policy_net, policy.action_net, network.policy),
        (policy.mlp_extractor.value_net, policy.value_net, network.value),
    )
    for hidden, output, ours in heads:
        for theirs, own in zip([*hidden, output], ours, strict=True):
            theirs.load_state_dict(own.state_dict())
    if network.log_std is not None:
        policy.log_std.copy_(network.log_std)


@torch.no_grad()
def outputs(peer: PPO, observations: NDArray[Any]) -> tuple[Tensor, Tensor]:
    """Logits or means [B, A] and values [B], on the CPU, for observations [B, S] as the environments show them."""
    policy = peer.policy
    seen, _ = policy.obs_to_tensor(_normalised(peer, observations))
    by_policy, by_value = policy.mlp_extractor(policy.extract_features(seen))
    return policy.action_net(by_policy).cpu(), policy.value_net(by_value).squeeze(1).cpu()


def act(peer: PPO, observations: NDArray[Any]) -> NDArray[Any]:
    """The deterministic policy's actions, int64 [B] or float32 [B, A] unclipped: `envs.play` takes them."""
    means, _ = outputs(peer, observations)
    discrete = isinstance(peer.action_space, gymnasium.spaces.Discrete)
    actions: NDArray[Any] = (means.argmax(1) if discrete else means).numpy()
    return actions


def _normalised(peer: PPO, observations: NDArray[Any]) -> NDArray[Any]:
    venv = peer.get_vec_normalize_env()
    if venv is None:
        return observations
    normalised = venv.normalize_obs(observations)
    assert isinstance(normalised, np.ndarray)
    return normalised


def _learning_rate(
    settings: PPOSettings, rollout_env_steps: int, total_env_steps: int | None
) -> float | Callable[[float], float]:
    if not settings.anneal_learning_rate:
        return settings.learning_rate
    if total_env_steps is None:
        raise ValueError(
            "total_env_steps = None: an annealed learning rate needs to know where it ends; pass the number"
        )
    # Stable-Baselines3 asks after a rollout what part of the whole is left; ours has fallen by what was left before it.
    ahead = rollout_env_steps / total_env_steps
    return lambda remaining: settings.learning_rate * min(1.0, remaining + ahead)


def _stack(spec: Network, depth: int) -> nn.Sequential:
    layers = nn.Sequential()
    for _ in range(depth):
        layers.append(nn.Linear(spec.width, spec.width)).append(ACTIVATIONS[spec.activation]())
    return layers
