"""When an identity layer is invisible, and how far two outputs are apart.

An identity layer behind an activation f, followed by f again, computes f(I f(x)) = f(f(x)). That is f(x), bit for bit,
where f is idempotent (Chen et al. 2016, Net2Net, section 2.2) and the product with the identity matrix rounds nothing.
The first is known by the activation's type, the second depends on device and settings (TF32, autocast, flushed
denormals), so both are also tried.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# f(f(x)) = f(x) for every setting of their constructors: each returns x or a value that it maps to itself.
IDEMPOTENT: tuple[type[nn.Module], ...] = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Threshold, nn.Hardshrink)


def probes(width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Inputs [9, `width`] that use every mantissa bit and the whole range of `dtype`, denormals and zero included."""
    limits = torch.finfo(dtype)
    scales = torch.tensor([limits.smallest_normal / 8, limits.eps, 1e-3, 1.0, 1e3, limits.max / 4], dtype=dtype)
    odd = torch.linspace(-1, 1, 2 * 17, dtype=dtype) + 1 / 3
    values = torch.cat([torch.zeros(1, dtype=dtype), torch.outer(scales, odd).flatten()])
    return values.repeat(9 * width // len(values) + 1)[: 9 * width].view(9, width).to(device)


def first_inexact(layer: nn.Module, activation: nn.Module) -> tuple[float, float] | None:
    """A pair (f(x), f(layer(f(x)))) of unequal numbers from the probes; None where all are equal."""
    parameter = next(layer.parameters())
    # A copy, so that hooks and statistics of the user's own module see nothing of this.
    f = copy.deepcopy(activation)
    with torch.no_grad():
        once = f(probes(parameter.shape[1], parameter.dtype, parameter.device))
        again = f(layer(once.clone()))  # cloned: f may work in place
    unequal = (once != again).nonzero()
    if not len(unequal):
        return None
    row, column = unequal[0].tolist()
    return once[row, column].item(), again[row, column].item()


def difference(before: Tensor | Sequence[Tensor], after: Tensor | Sequence[Tensor]) -> float:
    """The largest absolute difference between two tensors, or two equally long sequences of tensors.

    NaN on either side counts as infinite, and so do two infinities: a broken network is never "unchanged".
    Raises ValueError where numbers of tensors or shapes differ, or where there is nothing to compare.
    """
    left = [before] if isinstance(before, Tensor) else list(before)
    right = [after] if isinstance(after, Tensor) else list(after)
    shapes = [tuple(t.shape) for t in left], [tuple(t.shape) for t in right]
    if shapes[0] != shapes[1]:
        raise ValueError(f"shapes {shapes[0]} before and {shapes[1]} after cannot be compared: pass the same outputs")
    if not any(t.numel() for t in left):
        raise ValueError("nothing to compare: pass the outputs for at least one observation")
    largest = 0.0
    for a, b in zip(left, right, strict=True):
        if a.numel():
            apart = (a.detach().double() - b.detach().double()).abs()
            largest = max(largest, apart.nan_to_num(nan=torch.inf, posinf=torch.inf).max().item())
    return largest
