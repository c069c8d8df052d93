"""The input part for maps of characters: one-hot -> 1x1 convolution -> ReLU -> flatten -> Linear, without the waste.

Three things are exact and make it fast. A 1x1 convolution of one-hot characters, with its ReLU, is a lookup in a table
of 256 rows. Cells that are the same in every observation of a rollout give the Linear a constant, computed once a
minibatch as one matrix-vector product. Of the others only their own rows of the Linear's weight are read.

`B` rows, `N` cells, `V` varying cells, `C` channels, `W` width. The Linear's weight is kept as [N * C, W], so that the
rows of a cell lie together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grownn_hpo.ppo.initialisation import initialise
from grownn_hpo.spec import Network

CHARACTERS = 256


class MapFeatures(nn.Module):
    """From characters uint8 [B, rows, columns] to the sums [B, W] before the activation."""

    cells: Tensor
    _index: Tensor

    def __init__(self, spec: Network, cells: Tensor) -> None:
        super().__init__()
        n = int(cells.sum())
        self.channels, self.width = spec.channels, spec.width
        self.convolution = nn.Parameter(torch.empty(CHARACTERS, spec.channels))
        self.convolution_bias = nn.Parameter(torch.empty(spec.channels))
        self.weight = nn.Parameter(torch.empty(n * spec.channels, spec.width))
        self.bias = nn.Parameter(torch.empty(spec.width))
        self.register_buffer("cells", cells)
        self.register_buffer("_index", cells.flatten().nonzero().squeeze(1), persistent=False)

    def initialise(self, kind: str, gain: float, generator: torch.Generator) -> None:
        """Draw the weights as the layers that this stands for would: Conv2d(256, C, 1) and Linear(N * C, W)."""
        initialise(self.convolution, self.convolution_bias, kind, gain, generator, transposed=True)
        initialise(self.weight, self.bias, kind, gain, generator, transposed=True)

    def forward(self, observations: Tensor) -> Tensor:
        """The table lookup over all cells, nothing folded."""
        looked_up = F.embedding(self._characters(observations).int(), self.table())
        return torch.addmm(self.bias, looked_up.flatten(1), self.weight)

    def plain(self, observations: Tensor) -> Tensor:
        """What the class's first line says, operation by operation: what the fast forms are compared with."""
        one_hot = F.one_hot(self._characters(observations).long(), CHARACTERS).to(self.weight.dtype)  # [B, N, 256]
        image = one_hot.transpose(1, 2).unsqueeze(-1)  # [B, 256, N, 1]
        channels = F.conv2d(image, self.convolution.T[:, :, None, None], self.convolution_bias).relu()
        return F.linear(channels.squeeze(-1).transpose(1, 2).flatten(1), self.weight.T, self.bias)

    def over(self, observations: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from indices [B] into `observations` to their sums [B, W], with the constant cells folded."""
        characters, varying = self.characters_and_varying(observations)
        constant = characters[0].int()
        rows = characters[:, varying]

        def sums(indices: Tensor) -> Tensor:
            result: Tensor = _FoldedLinear.apply(  # type: ignore[no-untyped-call]  # torch leaves it so
                self.table(), self.weight, self.bias, rows[indices].int(), varying, constant
            )
            return result

        return sums

    def stepper(self) -> FeaturesOfSteps:
        """The same function for one step after another, between updates of the weights."""
        return FeaturesOfSteps(self)

    def characters_and_varying(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """The observed cells uint8 [B, N], and the indices [V] of those that are not the same in all observations."""
        characters = self._characters(observations)
        return characters, (characters != characters[0]).any(0).nonzero().squeeze(1)

    def table(self) -> Tensor:
        """What the convolution and its ReLU make of each character [256, C]."""
        return (self.convolution + self.convolution_bias).relu()

    def _characters(self, observations: Tensor) -> Tensor:
        """The observed cells, uint8 [B, N]."""
        flat = observations.flatten(1)
        return flat if flat.shape[1] == len(self._index) else flat[:, self._index]


class FeaturesOfSteps:
    """Sums for single steps while the weights stand still; `refresh` after they changed.

    Cells are folded until they are first seen to differ from the first observation.
    """

    def __init__(self, features: MapFeatures) -> None:
        self._features = features
        self._reference: Tensor | None = None

    def refresh(self) -> None:
        if self._reference is not None:
            self._fold()

    def __call__(self, observations: Tensor) -> Tensor:
        characters = self._features._characters(observations)
        if self._reference is None:
            self._reference = characters[0].clone()
            self._folded = torch.ones_like(self._reference, dtype=torch.bool)
            self._fold()
        differing = (characters != self._reference).any(0) & self._folded
        if differing.any():
            self._folded &= ~differing
            self._fold()
        looked_up = F.embedding(characters[:, self._varying].int(), self._table)
        return torch.addmm(self._constant, looked_up.flatten(1), self._rows)

    def _fold(self) -> None:
        features = self._features
        assert self._reference is not None
        self._table = features.table()
        self._varying = (~self._folded).nonzero().squeeze(1)
        constant, self._rows = _fold(self._table, features.weight, self._varying, self._reference.int())
        self._constant = features.bias + constant @ features.weight


def _fold(table: Tensor, weight: Tensor, varying: Tensor, constant: Tensor) -> tuple[Tensor, Tensor]:
    """Constant cells' inputs to the Linear [N * C], 0 at the varying; and the varying cells' rows of its weight."""
    channels, width = table.shape[1], weight.shape[1]
    inputs = F.embedding(constant, table)
    inputs[varying] = 0
    rows = weight.view(-1, channels * width)[varying].view(-1, width)
    return inputs.flatten(), rows


class _FoldedLinear(torch.autograd.Function):
    """Lookup and Linear with the constant cells folded; its gradients are those of the plain form."""

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, weight: Tensor, bias: Tensor, rows: Tensor, varying: Tensor, constant: Tensor
    ) -> Tensor:
        constant_inputs, varying_weight = _fold(table, weight, varying, constant)
        inputs = F.embedding(rows, table).flatten(1)  # [B, V * C]
        ctx.save_for_backward(table, weight, rows, varying, constant, constant_inputs, varying_weight, inputs)
        return torch.addmm(bias + constant_inputs @ weight, inputs, varying_weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        table, weight, rows, varying, constant, constant_inputs, varying_weight, inputs = ctx.saved_tensors
        channels, width = table.shape[1], weight.shape[1]
        total = gradient.sum(0)

        # Constant cells: every row of the batch had the same input, so the gradient is an outer product.
        weight_gradient = torch.outer(constant_inputs, total)
        weight_gradient.view(-1, channels * width)[varying] = (inputs.T @ gradient).view(-1, channels * width)

        constant_gradient = (weight @ total).view(-1, channels)
        constant_gradient[varying] = 0
        varying_gradient = (gradient @ varying_weight.T).view(-1, channels)
        table_gradient = sums_by_character(constant, constant_gradient) + sums_by_character(
            rows.flatten(), varying_gradient
        )
        return table_gradient, weight_gradient, total, None, None, None


def sums_by_character(characters: Tensor, values: Tensor) -> Tensor:
    """Sums [256, C] of the rows of values [K, C] that belong to each of the characters [K]."""
    # 15 times as fast as index_add_ on one core.
    return torch.stack([torch.bincount(characters, column, CHARACTERS) for column in values.T], 1)
