"""PPO's loss (Schulman et al. 2017, equation 9): as autograd takes it, and with its gradient by hand.

It is Stable-Baselines3's: clipped surrogate, squared value error without clipping, entropy bonus; advantages normalised
within each minibatch. `B` is the size of a minibatch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grownn_hpo.ppo.distribution import CategoricalByHand
from grownn_hpo.spec import PPOSettings


@dataclass(frozen=True, slots=True)
class Losses:
    """Means over an update's minibatches; `approx_kl` as http://joschu.net/blog/kl-approx.html, in nats."""

    policy: float
    value: float
    entropy: float
    approx_kl: float
    clip_fraction: float


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
        clip_fraction = (ratio != clipped).to(ratio).mean()
        parts = torch.stack([policy, value, mean_entropy, approx_kl, clip_fraction])
    return loss, parts


@dataclass(frozen=True, slots=True)
class Minibatch:
    """Transitions as `LossByHand` takes them: slices of an epoch in shuffled order.

    `losses` [B] are what each transition adds to the policy's loss where the policy has not moved: minus its
    (normalised) advantage over B. `log_ratios` [B] are written.
    """

    inputs: Tensor
    actions: Tensor
    log_probs: Tensor
    losses: Tensor
    returns: Tensor
    log_ratios: Tensor


class LossByHand:
    """`ppo_loss` of a policy's and a value function's outputs, and its gradients by these, in memory laid out once."""

    def __init__(self, policy: CategoricalByHand, rows: int, settings: PPOSettings, dtype: torch.dtype) -> None:
        self._policy, self._rows, self._settings = policy, rows, settings
        self._bounds = 1 - settings.clip_range, 1 + settings.clip_range
        self._ratio, self._clipped, self._error, self._by_log_prob = torch.empty(4, rows, dtype=dtype)
        self._error_scale = torch.tensor(2 * settings.vf_coef / rows, dtype=dtype)

    def forward(self, outputs: Tensor, values: Tensor, minibatch: Minibatch) -> tuple[float, float, float]:
        """The policy's loss, the value function's, and the mean entropy."""
        log_prob = self._policy.log_prob(outputs, minibatch.actions)
        log_ratio = torch.sub(log_prob, minibatch.log_probs, out=minibatch.log_ratios)
        ratio = torch.exp(log_ratio, out=self._ratio)
        clipped = torch.clamp(ratio, *self._bounds, out=self._clipped).mul_(minibatch.losses)
        unclipped = ratio.mul_(minibatch.losses)
        policy = torch.maximum(unclipped, clipped).sum().item()
        # Where clipping makes the loss larger, it no longer depends on the ratio; else d/d log_prob = loss * ratio.
        torch.ge(unclipped, clipped, out=self._by_log_prob).mul_(unclipped)
        error = torch.sub(values, minibatch.returns, out=self._error)
        return policy, torch.dot(error, error).item() / self._rows, self._policy.mean_entropy()

    def backward(self) -> tuple[Tensor, Tensor]:
        """The whole loss's gradients by the outputs [B, A] and by the values [B]."""
        by_outputs = self._policy.backward(self._by_log_prob, -self._settings.ent_coef)
        return by_outputs, self._error.mul_(self._error_scale)
