"""One update of the weights from one rollout (Schulman et al. 2017, Proximal Policy Optimization).

The loss is Stable-Baselines3's: clipped surrogate, squared value error without clipping, entropy bonus; advantages
normalised within each minibatch, gradients clipped by their global norm. `M` is the number of transitions, `B` the size
of a minibatch; the last minibatch of an epoch may be smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from grownn_hpo.ppo.agent import Agent
from grownn_hpo.ppo.distribution import log_prob_and_entropy
from grownn_hpo.ppo.divergence import Diverged
from grownn_hpo.spec import PPOSettings


@dataclass(frozen=True, slots=True)
class Losses:
    """Means over an update's minibatches; `approx_kl` as http://joschu.net/blog/kl-approx.html, in nats."""

    policy: float
    value: float
    entropy: float
    approx_kl: float
    clip_fraction: float


def update(
    agent: Agent,
    observations: Tensor,
    actions: Tensor,
    log_probs: Tensor,
    advantages: Tensor,
    returns: Tensor,
    settings: PPOSettings,
    learning_rate: float,
    shuffle: torch.Generator,
) -> Losses:
    """`n_epochs` passes over the `M` transitions (each argument [M, ...], on the agent's device), in shuffled order.

    Raises Diverged before the optimizer step that a loss or gradient that is not finite would have spoiled, or after
    the last one where a parameter overflowed.
    """
    network, optimizer = agent.network, agent.optimizer
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    features_of = network.features.over(observations)
    statistics: list[Tensor] = []
    for _ in range(settings.n_epochs):
        order = torch.randperm(len(observations), generator=shuffle).to(agent.device)
        for indices in torch.split(order, settings.batch_size):
            outputs, values = network.heads(features_of(indices))
            log_prob, entropy = log_prob_and_entropy(outputs, network.log_std, actions[indices])
            loss, parts = ppo_loss(
                log_prob, log_probs[indices], entropy, values, advantages[indices], returns[indices], settings
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
            _clip_gradients(agent, parameters, loss, settings.max_grad_norm)
            optimizer.step()
            statistics.append(parts)
    if not get_total_norm(parameters, math.inf).isfinite():
        raise Diverged(agent.updates + 1, agent.env_steps, "largest parameter")
    agent.updates += 1
    return Losses(*torch.stack(statistics).mean(0).tolist())


def ppo_loss(
    log_prob: Tensor,
    old_log_prob: Tensor,
    entropy: Tensor,
    values: Tensor,
    advantages: Tensor,
    returns: Tensor,
    settings: PPOSettings,
) -> tuple[Tensor, Tensor]:
    """The loss of a minibatch, a scalar, and its parts [5] in the order of `Losses`; every argument is [B]."""
    if settings.normalize_advantage and len(advantages) > 1:  # one sample has no deviation
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    log_ratio = log_prob - old_log_prob
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - settings.clip_range, 1 + settings.clip_range)
    policy = -torch.min(advantages * ratio, advantages * clipped).mean()
    value = (returns - values).square().mean()
    mean_entropy = entropy.mean()
    loss = policy + settings.vf_coef * value - settings.ent_coef * mean_entropy
    with torch.no_grad():
        approx_kl = (ratio - 1 - log_ratio).mean()
        clip_fraction = (ratio != clipped).float().mean()
        parts = torch.stack([policy, value, mean_entropy, approx_kl, clip_fraction])
    return loss, parts


def _clip_gradients(agent: Agent, parameters: list[torch.nn.Parameter], loss: Tensor, largest: float) -> None:
    """Scale all gradients, in place, to a global norm of at most `largest`."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = get_total_norm(gradients)
    for what, number in (("loss", loss), ("gradients' norm", norm)):
        if not math.isfinite(number.item()):
            raise Diverged(agent.updates + 1, agent.env_steps, what)
    clip_grads_with_norm_(parameters, largest, norm)
