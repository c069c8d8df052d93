"""One update of the weights from one rollout (Schulman et al. 2017, Proximal Policy Optimization).

`by_autograd` says what is computed. On the CPU `by_kernels` computes the same for small networks of vectors, in
a fifth of the time or less, and `by_hand` for those of maps.

`M` is the number of transitions, `B` the size of a minibatch; the last minibatch of an epoch may be smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from grownn_hpo.ppo.adam import smallest_as_zero
from grownn_hpo.ppo.agent import Agent
from grownn_hpo.ppo.by_hand import by_hand
from grownn_hpo.ppo.compiled import by_kernels
from grownn_hpo.ppo.distribution import log_prob_and_entropy
from grownn_hpo.ppo.divergence import Diverged, must_be_finite
from grownn_hpo.ppo.loss import Losses, ppo_loss
from grownn_hpo.ppo.map_features import MapFeatures
from grownn_hpo.ppo.packing import suits_kernels
from grownn_hpo.spec import PPOSettings


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
    for group in agent.optimizer.param_groups:
        group["lr"] = learning_rate
    with smallest_as_zero():
        losses = fastest(agent)(agent, observations, actions, log_probs, advantages, returns, settings, shuffle)
    if not get_total_norm(agent.network.parameters(), math.inf).isfinite():
        raise Diverged(agent.updates + 1, agent.env_steps, "largest parameter")
    agent.updates += 1
    return losses


def fastest(agent: Agent) -> Callable[..., Losses]:
    """The one of the three ways to the same losses and weights that takes least time."""
    if suits_kernels(agent.network):
        return by_kernels
    on_cpu = agent.device.type == "cpu"
    return by_hand if on_cpu and isinstance(agent.network.features, MapFeatures) else by_autograd


def by_autograd(
    agent: Agent,
    observations: Tensor,
    actions: Tensor,
    log_probs: Tensor,
    advantages: Tensor,
    returns: Tensor,
    settings: PPOSettings,
    shuffle: torch.Generator,
) -> Losses:
    """All minibatches of an update with the optimizer's learning rate; Diverged as `update`."""
    network, optimizer = agent.network, agent.optimizer
    parameters = list(network.parameters())
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
            norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
            must_be_finite(agent, loss.item(), norm.item())
            clip_grads_with_norm_(parameters, settings.max_grad_norm, norm)
            optimizer.step()
            statistics.append(parts)
    optimizer.zero_grad()
    return Losses(*torch.stack(statistics).mean(0).tolist())
