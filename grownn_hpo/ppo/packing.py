"""A network of dense layers as the kernels have it: its structure, and its parameters in one vector.

`rows` are samples side by side. The policy's and the value function's heads stand beside each other in their layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from grownn_hpo import native
from grownn_hpo.ppo.network import ActorCritic, VectorFeatures

Array = NDArray[Any]

_KINDS: dict[type[nn.Module], native.Activation] = {
    nn.ReLU: native.Activation.RELU,
    nn.Hardtanh: native.Activation.HARDTANH,
    nn.Tanh: native.Activation.TANH,
    nn.GELU: native.Activation.GELU,
    nn.SiLU: native.Activation.SILU,
}

WIDEST = 256
"""Layers of 512 take as long in the kernels as in torch, and wider ones longer: they are written for small ones."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a linear layer's matrix [inputs + 1, padded outputs] lies in the vector."""

    linear: nn.Linear
    start: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.linear.in_features + 1, padded(self.linear.out_features)

    @property
    def end(self) -> int:
        return self.start + self.shape[0] * self.shape[1]


class Packing:
    """Where everything of a network for vectors lies.

    `network` is its structure, `size` the vector's length, `log_std` where that begins, if there is one. In the last
    layer the policy's outputs come first, and the values are in column `value_column`. `dtype` is the precision.
    """

    def __init__(self, network: ActorCritic) -> None:
        assert isinstance(network.features, VectorFeatures)
        first = [([network.features.linear], native.Activation.NONE)]
        layers = first + _beside(network.stack) + _beside(network.policy, network.value)
        self.input_width = padded(network.features.linear.in_features)
        self.size, self.places = 0, list[Place]()
        parts, described = list[native.Part](), list[native.Layer]()
        for linears, activation in layers:
            # Heads read the same columns in their first layer, and each its own half behind it.
            halves = len(linears) > 1 and len(described) > 0 and described[-1].parts > 1
            first_part, column = len(parts), 0
            for which, linear in enumerate(linears):
                place = Place(linear, self.size)
                self.places.append(place)
                below = padded(linear.in_features) * which if halves else 0
                parts.append(native.Part(below, linear.in_features, column, place.shape[1], place.start))
                column, self.size = column + place.shape[1], place.end
            described.append(native.Layer(first_part, len(linears), column, activation))
        self.value_column = parts[-1].output
        self.widths = [layer.width for layer in described]
        self.widest_transposed = max(part.outputs * padded(part.inputs) for part in parts)
        self._log_std, self.log_std = network.log_std, self.size
        if network.log_std is not None:
            self.size += padded(len(network.log_std))
        self._kept = (native.Layer * len(described))(*described), (native.Part * len(parts))(*parts)
        self.network = native.Network(*self._kept, len(described), self.input_width)
        self.dtype = str(network.features.linear.weight.dtype).removeprefix("torch.")

    def zeros(self, *shape: int) -> Array:
        """Numbers of the network's precision, where the kernels read them fastest."""
        return native.zeros(shape, self.dtype)

    def parts(self, vector: Array) -> Mapping[Tensor, Array]:
        """For each parameter what stands for it in a vector, in the parameter's own shape."""
        parts = dict[Tensor, Array]()
        for place in self.places:
            matrix, linear = vector[place.start : place.end].reshape(place.shape), place.linear
            parts[linear.weight] = matrix[:-1, : linear.out_features].T
            parts[linear.bias] = matrix[-1, : linear.out_features]
        if self._log_std is not None:
            parts[self._log_std] = vector[self.log_std : self.log_std + len(self._log_std)]
        return parts


class Memory:
    """What the kernels write on the way through a network, for so many rows."""

    def __init__(self, packing: Packing, rows: int) -> None:
        total, widest = sum(packing.widths), max(packing.widths)
        self.inputs = packing.zeros(rows, packing.input_width)
        self.sums, self.outputs = packing.zeros(rows * total), packing.zeros(rows * total)
        self.last = self.outputs[rows * (total - packing.widths[-1]) :].reshape(rows, packing.widths[-1])
        self.by_outputs, self.other = packing.zeros(rows * widest), packing.zeros(rows * widest)
        self.transposed = packing.zeros(packing.widest_transposed)


def suits_kernels(network: ActorCritic) -> bool:
    """Whether the kernels can, and should, compute what a network does."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    small = max(layer.out_features for layer in layers) <= WIDEST
    on_cpu = all(parameter.device.type == "cpu" for parameter in network.parameters())
    return on_cpu and small and isinstance(network.features, VectorFeatures)


def padded(count: int) -> int:
    """The next multiple of `native.PAD`."""
    return -(-count // native.PAD) * native.PAD


def _beside(*chains: nn.Sequential) -> list[tuple[list[nn.Linear], native.Activation]]:
    """Chains of a Linear, an activation, a Linear, ..., of equal kinds, layer by layer."""
    layers = []
    for place, module in enumerate(chains[0]):
        if isinstance(module, nn.Linear):
            followed = place + 1 < len(chains[0])
            activation = _KINDS[type(chains[0][place + 1])] if followed else native.Activation.NONE
            layers.append(([linear for chain in chains if isinstance(linear := chain[place], nn.Linear)], activation))
    return layers
