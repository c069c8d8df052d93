"""The map's input part by hand, for one rollout: what `MapFeatures.over` computes, on as few weights as can be.

Constant cells of one character have one input, so the rows of the Linear's weight that read them have one gradient.
Where their moments agree too, Adam moves them all alike: one of them, a *representative*, stands for the group. Its
values are the group's mean, which is all that the forward pass needs, and what it moved is added to every member in
the end. Nothing of this is an approximation. A cell whose moments are its own (it varied in an earlier rollout) is a
group of one.

`M` transitions, `B` rows, `V` varying cells, `G` groups of constant cells, `C` channels, `W` width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from grownn_hpo.ppo.adam import Trained
from grownn_hpo.ppo.layers import Gradients
from grownn_hpo.ppo.map_features import MapFeatures, sums_by_character


class MapRows:
    """The rows of the Linear's weight that one rollout trains: the varying cells', then the representatives'."""

    def __init__(self, features: MapFeatures, full: Trained, observations: Tensor) -> None:
        characters, self.varying = features.characters_and_varying(observations)
        self.inputs = characters[:, self.varying]
        cells = torch.arange(characters.shape[1])
        self._constant = cells[~torch.isin(cells, self.varying)]
        # By cell [N, C * W]: all rows of the weight and their moments, and those that are trained.
        self._full = [t.view(len(cells), -1) for t in (full.values, full.exp_avg, full.exp_avg_sq)]
        constant = [t[self._constant] for t in self._full]
        constant_characters = characters[0, self._constant]
        self._group, first = _groups(constant_characters, *constant[1:])
        self.group_characters = constant_characters[first].int()
        self.group_sizes = torch.bincount(self._group, minlength=len(first))

        self._rows = [torch.cat([t[self.varying], c[first]]) for t, c in zip(self._full, constant, strict=True)]
        means = self._rows[0][len(self.varying) :]
        means.zero_().index_add_(0, self._group, constant[0]).div_(self.group_sizes.unsqueeze(1))
        self._start = means.clone()
        values, exp_avg, exp_avg_sq = (t.view(-1, features.width) for t in self._rows)
        self.trained = Trained(values, exp_avg, exp_avg_sq, full.step)

    def write_back(self) -> None:
        """Give every cell's rows what its own rows, or its representative's, have learned."""
        v = len(self.varying)
        for full, rows in zip(self._full, self._rows, strict=True):
            full[self.varying] = rows[:v]
        values, *moments = self._rows
        self._full[0][self._constant] += (values[v:] - self._start)[self._group]
        for full, rows in zip(self._full[1:], moments, strict=True):
            full[self._constant] = rows[v:][self._group]


def _groups(characters: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the groups each of K cells belongs to [K], and the first cell of each group [G].

    Cells are of one group where character and all moments [K, C * W] are equal.
    """
    keys = torch.stack([characters.to(exp_avg), exp_avg.sum(1), exp_avg_sq.sum(1)], 1)
    _, first, group = np.unique(keys.numpy(), axis=0, return_index=True, return_inverse=True)
    candidates = torch.from_numpy(first)[torch.from_numpy(group.reshape(-1))]
    alike = (exp_avg == exp_avg[candidates]).all(1) & (exp_avg_sq == exp_avg_sq[candidates]).all(1)
    # Cells whose sums agree by chance alone stay by themselves.
    firsts = torch.where(alike, candidates, torch.arange(len(characters)))
    unique, groups = torch.unique(firsts, return_inverse=True)
    return groups, unique


class MapLayer:
    """From the varying cells' characters uint8 [B, V] to the sums [B, W], and back to the parameters."""

    def __init__(self, features: MapFeatures, rows: MapRows, batch: int, gradients: Gradients) -> None:
        self._features, self._rows = features, rows
        channels, width = features.channels, features.width
        varying = len(rows.varying) * channels
        weight, by_weight = rows.trained.values, gradients[rows.trained.values]
        self._varying_weight, self._constant_weight = weight[:varying], weight[varying:]
        self._by_varying_weight, self._by_constant_weight = by_weight[:varying], by_weight[varying:]
        self._by_convolution = gradients[features.convolution]
        self._by_convolution_bias = gradients[features.convolution_bias]
        self._by_bias = gradients[features.bias]
        self._sizes = rows.group_sizes.to(weight.dtype).unsqueeze(1)
        self._characters = torch.empty(batch, len(rows.varying), dtype=torch.int32)
        self._inputs = weight.new_empty(batch, varying)
        self._by_inputs = torch.empty_like(self._inputs)
        self._sums = weight.new_empty(batch, width)

    def forward(self, characters: Tensor) -> Tensor:
        self._characters.copy_(characters)
        table = self._table = self._features.table()
        channels = table.shape[1]
        torch.index_select(table, 0, self._characters.view(-1), out=self._inputs.view(-1, channels))
        self._constant_inputs = table[self._rows.group_characters]  # [G, C]
        total = (self._constant_inputs * self._sizes).flatten()
        constant = torch.addmv(self._features.bias, self._constant_weight.t(), total)
        return torch.addmm(constant, self._inputs, self._varying_weight, out=self._sums)

    def backward_to_parameters(self, gradient: Tensor) -> None:
        channels = self._table.shape[1]
        total = torch.sum(gradient, 0, out=self._by_bias)
        torch.mm(self._inputs.t(), gradient, out=self._by_varying_weight)
        torch.outer(self._constant_inputs.flatten(), total, out=self._by_constant_weight)

        torch.mm(gradient, self._varying_weight.t(), out=self._by_inputs)
        by_constant_inputs = torch.mv(self._constant_weight, total).view(-1, channels) * self._sizes
        by_table = sums_by_character(self._characters.view(-1), self._by_inputs.view(-1, channels))
        by_table = by_table + sums_by_character(self._rows.group_characters, by_constant_inputs)
        torch.mul(by_table, self._table > 0, out=self._by_convolution)
        torch.sum(self._by_convolution, 0, out=self._by_convolution_bias)

    def squared_norm_unseen(self) -> float:
        """Of the gradients of those members of groups for which a representative stands."""
        # That of an outer product is the product of both squared norms.
        inputs = (self._constant_inputs.square() * (self._sizes - 1)).sum()
        return (inputs * torch.dot(self._by_bias, self._by_bias)).item()
