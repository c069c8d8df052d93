"""Gradient clipping and Adam (Kingma and Ba 2015) on tensors whose gradients lie in one vector.

The moments are those that `torch.optim.Adam` keeps, in place, so that checkpoints and growth see nothing of this; the
step is torch's fused one, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam

# In bytes. Where a gradient lies decides which kernel runs, and so the last bits.
_ALIGNMENT = 64
# Products summed in single precision: in a longer sum small ones would be lost beside what is there already.
_SUMMED = 2**14


@dataclass(frozen=True, slots=True)
class Trained:
    """A tensor in training, with Adam's moments of its gradient and the count of its steps, all moved in place."""

    values: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: Tensor

    @classmethod
    def of(cls, optimizer: Adam, parameter: nn.Parameter) -> Trained:
        """A parameter as the optimizer trains it; one that it has not met yet begins with moments of 0."""
        state = optimizer.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return cls(parameter, state["exp_avg"], state["exp_avg_sq"], state["step"])


@contextmanager
def smallest_as_zero() -> Iterator[None]:
    """Have numbers too small for their precision's full range count as 0, in this thread.

    The moments of a unit that is never active any more would stay among them for ever, and each takes as long as a
    hundred other numbers: with half of its units so, a room was trained at half the speed.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class Descent:
    """Steps of one optimizer on `trained`; whoever computes the gradients writes them into `gradient_of`."""

    def __init__(self, optimizer: Adam, trained: Sequence[Trained]) -> None:
        (group,) = optimizer.param_groups
        beta1, beta2 = group["betas"]
        self._how = {"lr": group["lr"], "beta1": beta1, "beta2": beta2, "eps": group["eps"]}
        self._how |= {"weight_decay": 0.0, "amsgrad": False, "maximize": False}
        self._values = [t.values for t in trained]
        self._exp_avgs = [t.exp_avg for t in trained]
        self._exp_avg_sqs = [t.exp_avg_sq for t in trained]
        # Tensors of one age count together; a grown layer is younger.
        self._ages = {age: torch.tensor(age) for age in sorted({t.step.item() for t in trained})}
        self._steps = [self._ages[t.step.item()] for t in trained]
        self._trained = trained

        size = trained[0].values.element_size()
        starts = [0]
        for its in trained:
            starts.append(starts[-1] + -(-its.values.numel() * size // _ALIGNMENT) * _ALIGNMENT // size)
        self._flat = torch.zeros(starts[-1], dtype=trained[0].values.dtype)
        self._parts = torch.split(self._flat, _SUMMED)
        self._gradients = [
            self._flat[start : start + its.values.numel()].view(its.values.shape)
            for start, its in zip(starts[:-1], trained, strict=True)
        ]
        self.gradient_of = dict(zip(self._values, self._gradients, strict=True))

    def squared_norm(self) -> float:
        """Of all gradients together."""
        return sum(torch.dot(part, part).item() for part in self._parts)

    def step(self, norm: float, largest: float) -> None:
        """One step, with all gradients scaled so that their `norm` is `largest` where it was more."""
        scale = largest / (norm + 1e-6)  # as torch.nn.utils.clip_grad_norm_
        if scale < 1:
            self._flat.mul_(scale)
        for age in self._ages.values():
            age.add_(1)
        # What torch.optim.Adam(fused=True) ends in, without the 50 us before it.
        torch._fused_adam_(
            self._values, self._gradients, self._exp_avgs, self._exp_avg_sqs, [], self._steps, **self._how
        )

    def record_steps(self) -> None:
        """Write the counts of steps where the optimizer keeps them."""
        for trained, step in zip(self._trained, self._steps, strict=True):
            trained.step.copy_(step)
