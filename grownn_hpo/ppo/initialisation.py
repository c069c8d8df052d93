"""Initial weights from a generator of their own: the global one is neither read nor moved."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Gains of Stable-Baselines3's ActorCriticPolicy: features and hidden layers, policy output, value output.
HIDDEN, POLICY, VALUE = math.sqrt(2), 0.01, 1.0


def initialise(
    weight: Tensor, bias: Tensor, kind: str, gain: float, generator: torch.Generator, *, transposed: bool = False
) -> None:
    """Fill a layer's weight [out, in] (or [in, out] if `transposed`) and bias [out], in place.

    "orthogonal": Saxe et al. 2014 with `gain`, bias 0, as Stable-Baselines3. "torch": uniform within 1 / sqrt(in) for
    both, what nn.Linear and nn.Conv2d do by themselves (`gain` plays no part).
    """
    matrix = torch.empty(weight.T.shape if transposed else weight.shape)
    if kind == "orthogonal":
        nn.init.orthogonal_(matrix, gain, generator=generator)
        nn.init.zeros_(bias)
    else:
        bound = 1 / math.sqrt(matrix.shape[1])
        nn.init.uniform_(matrix, -bound, bound, generator=generator)
        drawn = torch.empty(bias.shape)
        nn.init.uniform_(drawn, -bound, bound, generator=generator)
        with torch.no_grad():
            bias.copy_(drawn)
    with torch.no_grad():
        weight.copy_(matrix.T if transposed else matrix)
