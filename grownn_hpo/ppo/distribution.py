"""The policy's distributions as plain functions: a categorical of logits, or a Gaussian of means and log deviations.

`outputs` [B, A] are the policy head's: logits where `log_std` is None, else means beside a state-independent `log_std`
[A]. Actions are int64 [B] or float32 [B, A]; log-probabilities and entropies are [B].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def sample(outputs: Tensor, log_std: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw actions and their log-probabilities; the noise comes from the generator (on the CPU whatever the device)."""
    if log_std is None:
        # Exponential races: the argmin of Exp(1) / p is distributed as p.
        log_p = outputs.log_softmax(-1)
        noise = torch.empty(outputs.shape).exponential_(generator=generator).to(outputs.device)
        actions = (log_p - noise.log_()).argmax(-1)
        return actions, _pick(log_p, actions)
    noise = torch.randn(outputs.shape, generator=generator).to(outputs.device)
    actions = outputs + log_std.exp() * noise
    return actions, _gaussian_log_prob(noise, log_std)


def log_prob_and_entropy(outputs: Tensor, log_std: Tensor | None, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the actions, and the distributions' entropies in nats."""
    if log_std is None:
        log_p = outputs.log_softmax(-1)
        return _pick(log_p, actions), -(log_p.exp() * log_p).sum(-1)
    log_prob = _gaussian_log_prob((actions - outputs) * (-log_std).exp(), log_std)
    return log_prob, (log_std.sum() + log_std.numel() * (0.5 + _HALF_LOG_TAU)).expand(len(actions))


def mode(outputs: Tensor, log_std: Tensor | None) -> Tensor:
    """The most probable actions."""
    return outputs.argmax(-1) if log_std is None else outputs


def _pick(log_p: Tensor, actions: Tensor) -> Tensor:
    return log_p.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def _gaussian_log_prob(z: Tensor, log_std: Tensor) -> Tensor:
    return -0.5 * z.square().sum(-1) - (log_std.sum() + log_std.numel() * _HALF_LOG_TAU)
