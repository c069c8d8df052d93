"""The loop: roll out, estimate advantages, update; for an exact number of env steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from grownn_hpo.ppo.agent import Agent
from grownn_hpo.ppo.environments import Environments
from grownn_hpo.ppo.gae import gae
from grownn_hpo.ppo.loss import Losses
from grownn_hpo.ppo.rollout import rollout
from grownn_hpo.ppo.stepper import stepper
from grownn_hpo.ppo.update import update
from grownn_hpo.spec import PPOSettings

# As Stable-Baselines3's `stats_window_size`.
RECENT_EPISODES = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """How far training is after an update; counters are the lineage's totals.

    `mean_return` is that of the last (up to 100) training episodes that finished since `train` was called, unscaled;
    None before the first.
    """

    env_steps: int
    updates: int
    mean_return: float | None
    losses: Losses


def train(
    agent: Agent,
    environments: Environments,
    settings: PPOSettings,
    *,
    env_steps: int,
    total_env_steps: int,
    action_seed: int,
    minibatch_seed: int,
    evaluate_at: Sequence[int] = (),
    on_evaluation: Callable[[Agent, int], None] = lambda agent, env_steps: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Train `agent`, in place, for exactly `env_steps` more env steps, from a reset of the environments.

    Rollouts are `n_steps` long; the last is as short as it must be. `env_steps` must be a multiple of the number of
    environments. `total_env_steps` is the lineage's length over all rungs: an annealed learning rate falls linearly
    from its start to 0 there, by the env steps at each rollout's start.

    `evaluate_at` are totals of the lineage, ascending. After the update that reaches one or more of them,
    `on_evaluation(agent, agent.env_steps)` is called once.

    Raises ValueError where env steps cannot be counted exactly, Diverged where a number is not finite.
    """
    n = environments.n
    if env_steps < 1 or env_steps % n:
        raise ValueError(f"env_steps = {env_steps}: must be a positive multiple of the {n} environments")
    end = agent.env_steps + env_steps
    if end > total_env_steps:
        raise ValueError(f"env_steps = {env_steps} after {agent.env_steps}: the whole is only {total_env_steps} long")
    noise = torch.Generator().manual_seed(action_seed)
    shuffle = torch.Generator().manual_seed(minibatch_seed)
    due = deque(sorted(point for point in evaluate_at if point > agent.env_steps))
    returns: deque[float] = deque(maxlen=RECENT_EPISODES)
    act = stepper(agent.network, n)
    if agent.reward_scaler is not None:
        agent.reward_scaler.begin(n)
    observations = environments.reset()

    while agent.env_steps < end:
        remaining = 1 - agent.env_steps / total_env_steps if settings.anneal_learning_rate else 1.0
        steps = min(settings.n_steps, (end - agent.env_steps) // n)
        batch, observations = rollout(agent, environments, observations, steps, act, noise)
        advantages, targets = gae(
            batch.rewards, batch.values, batch.next_values, batch.ended, settings.gamma, settings.gae_lambda
        )
        losses = update(
            agent,
            batch.observations,
            batch.actions,
            batch.log_probs,
            torch.tensor(advantages.ravel(), device=agent.device),
            torch.tensor(targets.ravel(), device=agent.device),
            settings,
            settings.learning_rate * remaining,
            shuffle,
        )
        returns.extend(episode.total for episode in batch.episodes)
        mean_return = float(sum(returns) / len(returns)) if returns else None
        on_progress(Progress(agent.env_steps, agent.updates, mean_return, losses))

        reached = False
        while due and due[0] <= agent.env_steps:
            due.popleft()
            reached = True
        if reached:
            on_evaluation(agent, agent.env_steps)
