"""What a network makes of one step of all environments after another, while its weights stand still.

`N` environments, `S` the shape of one observation, `A` actions (or dimensions of one).
"""

from __future__ import annotations

from typing import Protocol

import torch

from grownn_hpo import native
from grownn_hpo.ppo.environments import Array
from grownn_hpo.ppo.map_features import MapFeatures
from grownn_hpo.ppo.network import ActorCritic, Heads, VectorFeatures
from grownn_hpo.ppo.packing import Memory, Packing, suits_kernels


class Stepper(Protocol):
    """A network's outputs for single steps; to be called in inference mode."""

    def refresh(self) -> None:
        """The weights may have changed."""

    def __call__(self, observations: Array) -> tuple[Array, Array]:
        """Logits or means [N, A] and values [N] of observations [N, S]; the next call may overwrite them."""
        ...


def stepper(network: ActorCritic, n: int) -> Stepper:
    """The fastest there is for `n` environments; to be refreshed before its first step."""
    if suits_kernels(network):
        return VectorStepper(network, n)
    on_cpu = next(network.parameters()).device.type == "cpu"
    return MapStepper(network, n) if on_cpu and isinstance(network.features, MapFeatures) else PlainStepper(network)


class PlainStepper:
    """The network as it is, wherever it is."""

    def __init__(self, network: ActorCritic) -> None:
        self._network = network

    def refresh(self) -> None:
        """There is nothing to do."""

    def __call__(self, observations: Array) -> tuple[Array, Array]:
        # torch.tensor copies: alignment decides which kernel runs, and so the last bits.
        seen = torch.tensor(observations, device=next(self._network.parameters()).device)
        outputs, values = self._network(seen)
        return outputs.cpu().numpy(), values.cpu().numpy()


class MapStepper:
    """For maps, without modules' overhead."""

    def __init__(self, network: ActorCritic, n: int) -> None:
        assert isinstance(network.features, MapFeatures)
        self._features = network.features.stepper()
        self._heads = Heads(network, n, None)

    def refresh(self) -> None:
        self._features.refresh()

    def __call__(self, observations: Array) -> tuple[Array, Array]:
        outputs, values = self._heads.forward(self._features(torch.from_numpy(observations)))
        return outputs.numpy(), values.numpy()


class VectorStepper:
    """For vectors, in a compiled kernel."""

    def __init__(self, network: ActorCritic, n: int) -> None:
        assert isinstance(network.features, VectorFeatures)
        self._packing = Packing(network)
        self._values = self._packing.zeros(self._packing.size)
        self._parts = self._packing.parts(self._values)
        self._memory = Memory(self._packing, n)
        columns = slice(network.actions), self._packing.value_column
        self._outputs, self._state_values = (self._memory.last[:, its] for its in columns)
        self._seen = self._memory.inputs[:, : network.features.linear.in_features]
        self._forward = native.kernels(self._packing.dtype).forward
        arrays = self._values, self._memory.inputs, self._memory.sums, self._memory.outputs
        values, *memory = (native.pointer(array, self._packing.dtype) for array in arrays)
        self._arguments = (self._packing.network, values, n, *memory)

    def refresh(self) -> None:
        for parameter, part in self._parts.items():
            part[...] = parameter.detach().numpy()

    def __call__(self, observations: Array) -> tuple[Array, Array]:
        self._seen[...] = observations
        self._forward(*self._arguments)
        return self._outputs, self._state_values
