"""The policy's distributions as plain functions: a categorical of logits, or a Gaussian of means and log deviations.

`outputs` [B, A] are the policy head's: logits where `log_std` is None, else means beside a state-independent `log_std`
[A]. Actions are int64 [B] or float32 [B, A]; log-probabilities and entropies are [B].
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = TypeVar("Numbers", Tensor, NDArray[Any])

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def noise_for(shape: tuple[int, ...], log_std: Tensor | None, generator: torch.Generator) -> Tensor:
    """What `sample` adds to outputs of this shape [..., A]: drawn, and returned, on the CPU."""
    if log_std is None:
        return torch.empty(shape).exponential_(generator=generator).log_().neg_()  # Gumbel's distribution
    return torch.randn(shape, generator=generator) * log_std.exp().cpu()


def sample(outputs: Numbers, noise: Numbers, log_std: Tensor | None) -> Numbers:
    """Actions drawn from the distributions: the largest of the perturbed logits (Gumbel 1954), or perturbed means."""
    perturbed: Numbers = outputs + noise
    return perturbed.argmax(-1) if log_std is None else perturbed


def log_prob_and_entropy(outputs: Tensor, log_std: Tensor | None, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the actions, and the distributions' entropies in nats."""
    if log_std is None:
        log_p = outputs.log_softmax(-1)
        return _pick(log_p, actions), -(log_p.exp() * log_p).sum(-1)
    log_prob = _gaussian_log_prob((actions - outputs) * (-log_std).exp(), log_std)
    return log_prob, (log_std.sum() + log_std.numel() * (0.5 + _HALF_LOG_TAU)).expand(len(actions))


def mode(outputs: Numbers, log_std: Tensor | None) -> Numbers:
    """The most probable actions."""
    return outputs.argmax(-1) if log_std is None else outputs


def _pick(log_p: Tensor, actions: Tensor) -> Tensor:
    return log_p.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def _gaussian_log_prob(z: Tensor, log_std: Tensor) -> Tensor:
    return -0.5 * z.square().sum(-1) - (log_std.sum() + log_std.numel() * _HALF_LOG_TAU)


class CategoricalByHand:
    """`log_prob_and_entropy` of logits for `rows` rows, and its derivative, in memory laid out once."""

    def __init__(self, rows: int, actions: int, dtype: torch.dtype) -> None:
        self._log_p, self._p, self._gradient = torch.empty(3, rows, actions, dtype=dtype)
        self._log_prob = torch.empty(rows, 1, dtype=dtype)

    def log_prob(self, logits: Tensor, actions: Tensor) -> Tensor:
        """The actions' log-probabilities [B]."""
        self._actions = actions.unsqueeze(1)
        torch.log_softmax(logits, -1, out=self._log_p)
        torch.exp(self._log_p, out=self._p)
        return torch.gather(self._log_p, 1, self._actions, out=self._log_prob).squeeze(1)

    def mean_entropy(self) -> float:
        return -torch.dot(self._p.view(-1), self._log_p.view(-1)).item() / len(self._p)

    def backward(self, by_log_prob: Tensor, by_mean_entropy: float) -> Tensor:
        """The gradient by the logits [B, A], from those by the log-probabilities [B] and by the mean entropy."""
        column = by_log_prob.unsqueeze(1)
        gradient = torch.mul(self._p, -column, out=self._gradient).scatter_add_(1, self._actions, column)
        if by_mean_entropy:  # dH/dx_j = -p_j (log p_j + H)
            entropy = -(self._p * self._log_p).sum(1, keepdim=True)
            gradient.addcmul_(self._p, self._log_p + entropy, value=-by_mean_entropy / len(gradient))
        return gradient
