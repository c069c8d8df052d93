"""Collecting experience: act, step, remember.

`T` steps, `N` environments, `S` the shape of one observation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grownn_hpo.ppo.agent import PROBE, Agent
from grownn_hpo.ppo.distribution import log_prob_and_entropy, noise_for, sample
from grownn_hpo.ppo.divergence import Diverged
from grownn_hpo.ppo.environments import Array, Environments, Episode
from grownn_hpo.ppo.stepper import Stepper


@dataclass(slots=True)
class Rollout:
    """What `T` steps of `N` environments gave.

    Tensors on the agent's device: `observations` [T * N, S] as the network saw them, `actions` [T * N] or [T * N, A],
    `log_probs` [T * N]. Arrays [T, N], as `gae` takes them: `rewards` (scaled), `values`, `next_values`, `ended`.
    """

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    rewards: NDArray[np.float64]
    values: NDArray[np.float32]
    next_values: NDArray[np.float32]
    ended: NDArray[np.bool_]
    episodes: list[Episode]


@torch.inference_mode()
def rollout(
    agent: Agent,
    environments: Environments,
    raw: Array,
    steps: int,
    stepper: Stepper,
    generator: torch.Generator,
) -> tuple[Rollout, Array]:
    """Act for `steps` steps from the observations `raw` [N, S] with the weights as they are.

    Moves the agent's env steps, normalisers and probe. Returns the rollout, and the observations to go on from. Raises
    Diverged where an observation, a reward or an output of the network is not finite.
    """
    network, device, n = agent.network, agent.device, len(raw)
    log_std, continuous = network.log_std, network.log_std is not None
    with torch.inference_mode(False):  # these outlive this function, and autograd refuses inference tensors
        inputs = torch.empty((steps, *raw.shape), dtype=torch.uint8 if raw.dtype == np.uint8 else torch.float32)
        shape = (steps, n, network.actions)
        actions = torch.empty(shape) if continuous else torch.empty(shape[:2], dtype=torch.int64)
        log_probs = torch.empty(steps * n, device=device)
    seen, acted = inputs.numpy(), actions.numpy()
    noise: Array = noise_for(shape, log_std, generator).numpy()
    outputs, values = np.empty(shape, np.float32), np.empty((steps, n), np.float32)
    rewards = np.empty((steps, n))
    terminated, truncated = np.empty((steps, n), np.bool_), np.empty((steps, n), np.bool_)
    cut: list[Array] = []  # the final observations of truncated episodes, in the order of `truncated`'s entries
    episodes: list[Episode] = []
    probe: list[Array] = [agent.probe]

    stepper.refresh()
    for t in range(steps):
        _must_be_finite(agent, raw, "observation")
        if steps - t <= -(-PROBE // n):
            probe.append(raw.copy())
        if agent.observation_moments is not None:
            agent.observation_moments.update(raw)
        seen[t] = agent.normalised(raw)
        outputs[t], values[t] = stepper(seen[t])
        acted[t] = sample(outputs[t], noise[t], log_std)
        # Asked before the environments see the actions.
        _must_be_finite(agent, acted[t] if continuous else outputs[t], "policy")
        _must_be_finite(agent, values[t], "value")

        step = environments.step(acted[t])
        agent.env_steps += n
        _must_be_finite(agent, step.rewards, "reward")
        terminated[t], truncated[t] = step.terminated, step.truncated & ~step.terminated
        if step.final_observations and truncated[t].any():
            cut += [agent.normalised(step.final_observations[i][None]) for i in np.flatnonzero(truncated[t]).tolist()]
        scaler = agent.reward_scaler
        rewards[t] = step.rewards if scaler is None else scaler.scale(step.rewards, terminated[t] | truncated[t])
        episodes += step.episodes
        raw = step.observations

    next_values = np.empty_like(values)
    next_values[:-1] = values[1:]
    next_values[-1] = _values(agent, agent.normalised(raw))
    next_values[terminated] = 0.0
    if cut:
        next_values[truncated] = _values(agent, np.concatenate(cut))
    agent.probe = np.concatenate(probe)[-PROBE:]
    with torch.inference_mode(False):
        taken = actions.flatten(0, 1).to(device)
    policy = torch.from_numpy(outputs).flatten(0, 1).to(device)
    log_probs.copy_(log_prob_and_entropy(policy, log_std, taken)[0])
    _must_be_finite(agent, log_probs.cpu().numpy(), "policy")
    return (
        Rollout(
            observations=inputs.flatten(0, 1).to(device),
            actions=taken,
            log_probs=log_probs,
            rewards=rewards,
            values=values,
            next_values=next_values,
            ended=terminated | truncated,
            episodes=episodes,
        ),
        raw,
    )


def _values(agent: Agent, inputs: Array) -> NDArray[np.float32]:
    """The values [B] of normalised observations [B, S]."""
    value: Tensor = agent.network(torch.tensor(inputs, device=agent.device))[1]
    values: NDArray[np.float32] = value.cpu().numpy()
    _must_be_finite(agent, values, "value")
    return values


def _must_be_finite(agent: Agent, numbers: Array, what: str) -> None:
    if numbers.dtype == np.uint8:
        return
    flat = numbers.ravel()
    # Finite squares are of finite numbers, and their sum takes a fifth of the time; large numbers are looked at again.
    if not (math.isfinite(flat.dot(flat)) or np.isfinite(flat).all()):
        raise Diverged(agent.updates + 1, agent.env_steps, what)
