"""Layers with their derivatives written by hand, in memory laid out once.

For networks this small, autograd's bookkeeping and fresh memory cost more than the arithmetic. A layer here reads the
parameters of its nn.Module where they lie, and writes outputs and gradients where they always lie. It is made for a
number of rows; `backward` follows the `forward` that it belongs to. Tests hold it against autograd.

`B` rows, `I` inputs, `O` outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_aten = torch.ops.aten

# Where each parameter's gradient is to be written.
Gradients = Mapping[Tensor, Tensor]


class Layer(Protocol):
    """One step of the way from inputs to outputs, and back."""

    def forward(self, inputs: Tensor) -> Tensor: ...

    def backward(self, gradient: Tensor) -> Tensor:
        """From the loss's gradient by the outputs to that by the inputs; may overwrite what it is given."""
        ...


class LinearLayer:
    """x [B, I] -> x W^T + b [B, O]. Without `gradients` it only goes forward."""

    def __init__(self, linear: nn.Linear, rows: int, gradients: Gradients | None) -> None:
        weight = linear.weight
        self._weight, self._transposed, self._bias = weight, weight.t(), linear.bias
        self._outputs = weight.new_empty(rows, linear.out_features)
        if gradients is not None:
            self._weight_gradient, self._bias_gradient = gradients[weight], gradients[linear.bias]
            self._input_gradient = weight.new_empty(rows, linear.in_features)

    def forward(self, inputs: Tensor) -> Tensor:
        self._inputs = inputs
        return torch.addmm(self._bias, inputs, self._transposed, out=self._outputs)

    def backward_to_parameters(self, gradient: Tensor) -> None:
        torch.mm(gradient.t(), self._inputs, out=self._weight_gradient)
        torch.sum(gradient, 0, out=self._bias_gradient)

    def backward(self, gradient: Tensor) -> Tensor:
        self.backward_to_parameters(gradient)
        return torch.mm(gradient, self._weight, out=self._input_gradient)


@dataclass(frozen=True, slots=True)
class Activation:
    """`forward(x, y)` writes y; `backward(g, saved, out)` writes the gradient by x.

    Where the derivative is one of the output, `saved` is y and y overwrites x; else `saved` is x. `on_cpu`, if any, is
    NumPy's function that does the same there.
    """

    forward: Callable[[Tensor, Tensor], object]
    backward: Callable[[Tensor, Tensor, Tensor], object]
    of_output: bool = True
    on_cpu: np.ufunc | None = None


# The derivatives are autograd's own kernels, told where to write.
BY_HAND: dict[type[nn.Module], Activation] = {
    nn.ReLU: Activation(
        lambda x, y: torch.clamp(x, min=0, out=y),
        lambda g, y, out: _aten.threshold_backward.grad_input(g, y, 0, grad_input=out),
    ),
    nn.Hardtanh: Activation(
        lambda x, y: torch.clamp(x, -1, 1, out=y),
        lambda g, y, out: _aten.hardtanh_backward.grad_input(g, y, -1, 1, grad_input=out),
    ),
    nn.Tanh: Activation(
        lambda x, y: torch.tanh(x, out=y),
        lambda g, y, out: _aten.tanh_backward.grad_input(g, y, grad_input=out),
        on_cpu=np.tanh,  # within an ulp, like torch's, in a sixth to a tenth of the time
    ),
    nn.GELU: Activation(
        lambda x, y: _aten.gelu.out(x, out=y),
        lambda g, x, out: _aten.gelu_backward.grad_input(g, x, grad_input=out),
        of_output=False,
    ),
    nn.SiLU: Activation(
        lambda x, y: _aten.silu.out(x, out=y),
        lambda g, x, out: _aten.silu_backward.grad_input(g, x, grad_input=out),
        of_output=False,
    ),
}


class ActivationLayer:
    """f(x), elementwise; overwrites its inputs where its derivative does not need them."""

    def __init__(self, activation: Activation) -> None:
        self._activation = activation
        self._saved = self._outputs = torch.empty(0)
        self._array: NDArray[Any] | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs is not self._saved:  # the first time: most layers write into the same tensor every time
            self._look_at(inputs)
        if self._activation.on_cpu is not None and self._array is not None:
            self._activation.on_cpu(self._array, out=self._array)
        else:
            self._activation.forward(inputs, self._outputs)
        return self._outputs

    def _look_at(self, inputs: Tensor) -> None:
        self._saved = inputs
        self._array = inputs.numpy() if self._activation.on_cpu else None
        if self._activation.of_output:
            self._outputs = inputs
        elif self._outputs.shape != inputs.shape:
            self._outputs = torch.empty_like(inputs)

    def backward(self, gradient: Tensor) -> Tensor:
        self._activation.backward(gradient, self._saved, gradient)
        return gradient


class Chain:
    """The layers that stand for modules of Linear, activations and Identity, one behind the other."""

    def __init__(self, modules: list[nn.Module], rows: int, gradients: Gradients | None) -> None:
        self._layers: list[Layer] = [
            LinearLayer(module, rows, gradients)
            if isinstance(module, nn.Linear)
            else ActivationLayer(BY_HAND[type(module)])
            for module in modules
            if not isinstance(module, nn.Identity)
        ]

    def forward(self, inputs: Tensor) -> Tensor:
        for layer in self._layers:
            inputs = layer.forward(inputs)
        return inputs

    def backward(self, gradient: Tensor) -> Tensor:
        for layer in reversed(self._layers):
            gradient = layer.backward(gradient)
        return gradient
