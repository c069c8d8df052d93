"""The actor-critic: an input part, the growing stack, and two heads.

`B` rows, `W` width, `A` actions (or dimensions of one). Kind `mlp` is Linear(size -> W) without an activation, then the
stack; `minihack-cnn` is the map's input part with an activation, then the stack (GrowNN, Fehring et al. 2025, and
the settings of its experiments). The stack is `depth` x [Linear(W, W), activation].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grownn_hpo.errors import Fault, InputError
from grownn_hpo.ppo.initialisation import HIDDEN, POLICY, VALUE, initialise
from grownn_hpo.ppo.layers import Chain, Gradients
from grownn_hpo.ppo.map_features import MapFeatures
from grownn_hpo.spec import Characters, Continuous, Network, Spaces, Vector

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "hardtanh": nn.Hardtanh,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


class VectorFeatures(nn.Module):
    """From vectors float32 [B, size] to [B, W]."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.linear = _linear(size, width)

    def initialise(self, kind: str, gain: float, generator: torch.Generator) -> None:
        initialise(self.linear.weight, self.linear.bias, kind, gain, generator)

    def forward(self, observations: Tensor) -> Tensor:
        return F.linear(observations, self.linear.weight, self.linear.bias)

    def over(self, observations: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from indices [B] into `observations` to their features."""
        return lambda indices: self(observations[indices])


class ActorCritic(nn.Module):
    """From observations to logits or means [B, A] and values [B]; `log_std` [A] beside means, None beside logits."""

    log_std: nn.Parameter | None

    def __init__(self, spec: Network, depth: int, spaces: Spaces, cells: Tensor | None, initial_log_std: float) -> None:
        """Parameters are left uninitialised, but for `log_std`: see `initialise`."""
        super().__init__()
        continuous = isinstance(spaces.action, Continuous)
        actions = len(spaces.action.low) if isinstance(spaces.action, Continuous) else spaces.action.n
        self.actions = actions
        self.log_std = nn.Parameter(torch.full((actions,), initial_log_std)) if continuous else None
        self.features = _features(spec, spaces.observation, cells)
        self.input_activation = ACTIVATIONS[spec.activation]() if spec.kind == "minihack-cnn" else nn.Identity()
        self.stack = nn.Sequential()
        for _ in range(depth):
            self.stack.append(_linear(spec.width, spec.width)).append(ACTIVATIONS[spec.activation]())
        self.policy = _head(spec, actions)
        self.value = _head(spec, 1)

    @property
    def depth(self) -> int:
        """How many layers the stack has."""
        return len(self.stack) // 2

    def initialise(self, kind: str, generator: torch.Generator) -> None:
        """Draw all weights: "orthogonal" as Stable-Baselines3's ActorCriticPolicy does, or "torch"'s default."""
        self.features.initialise(kind, HIDDEN, generator)
        for part, output_gain in ((self.stack, HIDDEN), (self.policy, POLICY), (self.value, VALUE)):
            layers = [module for module in part if isinstance(module, nn.Linear)]
            for layer in layers:
                gain = output_gain if layer is layers[-1] else HIDDEN
                initialise(layer.weight, layer.bias, kind, gain, generator)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        return self.heads(self.features(observations))

    def heads(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits or means, and values, from what the input part gave."""
        latent = self.stack(self.input_activation(features))
        return self.policy(latent), self.value(latent).squeeze(-1)


class Heads:
    """`ActorCritic.heads` for `rows` rows, forward and backward by hand (see `layers`)."""

    def __init__(self, network: ActorCritic, rows: int, gradients: Gradients | None) -> None:
        self._stack = Chain([network.input_activation, *network.stack], rows, gradients)
        self._policy = Chain([*network.policy], rows, gradients)
        self._value = Chain([*network.value], rows, gradients)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits or means [B, A] and values [B], from features [B, W] that may be overwritten."""
        latent = self._stack.forward(features)
        return self._policy.forward(latent), self._value.forward(latent).squeeze(1)

    def backward(self, by_outputs: Tensor, by_values: Tensor) -> Tensor:
        """The loss's gradient by the features, from those by the outputs [B, A] and by the values [B]."""
        by_latent = self._policy.backward(by_outputs)
        by_latent += self._value.backward(by_values.unsqueeze(1))
        return self._stack.backward(by_latent)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A Linear that draws nothing from the global random numbers."""
    return nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")


def _head(spec: Network, outputs: int) -> nn.Sequential:
    if not spec.head_width:
        return nn.Sequential(_linear(spec.width, outputs))
    hidden = _linear(spec.width, spec.head_width)
    return nn.Sequential(hidden, ACTIVATIONS[spec.head_activation](), _linear(spec.head_width, outputs))


def _features(spec: Network, space: Vector | Characters, cells: Tensor | None) -> VectorFeatures | MapFeatures:
    match spec.kind, space:
        case "mlp", Vector(size):
            return VectorFeatures(size, spec.width)
        case "minihack-cnn", Characters(rows, columns):
            cells = torch.ones(rows, columns, dtype=torch.bool) if cells is None else cells
            if tuple(cells.shape) != (rows, columns) or not cells.any():
                raise InputError(
                    f"cells of shape {tuple(cells.shape)}, {int(cells.sum())} of them set: must be a mask of"
                    f" {rows} x {columns} with at least one cell; pass None for all cells"
                )
            return MapFeatures(spec, cells)
    takes = "a vector" if spec.kind == "mlp" else "a map of characters"
    raise InputError(Fault("network", "kind", spec.kind, f"takes {takes}, and the task's observations are {space}"))
