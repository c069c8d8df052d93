"""Deepening a network of one's own, with what it computes compared before and after, and undone if it changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from grownn_hpo.errors import GrowNNError
from grownn_hpo.morphism import deeper
from grownn_hpo.morphism.exactness import difference


def deepen(
    stack: nn.Sequential,
    optimizer: Optimizer | None = None,
    layers: int = 1,
    *,
    optimizer_state: Literal["carry", "reset"] = "carry",
    outputs: Callable[[], Tensor | Sequence[Tensor]] | None = None,
) -> list[nn.Linear]:
    """Append `layers` identity layers to a stack of one's own, in place, leaving what it computes exactly as it was.

    `stack` ends in a Linear and an idempotent activation (ReLU, Hardtanh, ...); it may stand anywhere in a network.
    The new parameters join the `optimizer` beside those of the last Linear; "carry" keeps its state of the old ones,
    "reset" starts all afresh (Chen et al. 2016, Net2Net). `outputs` computes, without arguments, what must not change,
    as `lambda: network(observations)`: it is called before and after, without gradients, and must give equal tensors
    when called twice.

    Returns the new layers. Raises CannotGrow where the function would change, and GrowNNError where `outputs` did:
    stack and optimizer are then as they were.
    """
    if outputs is None:
        return deeper.deepen(stack, optimizer, layers, optimizer_state)
    with torch.no_grad():
        before = outputs()
        if (apart := difference(before, outputs())) != 0.0:
            raise GrowNNError(f"outputs() differ by {apart:g} when called twice: call eval(), and fix random numbers")
        with _undone_on_error(stack, optimizer):
            added = deeper.deepen(stack, optimizer, layers, optimizer_state)
            if (apart := difference(before, outputs())) != 0.0:
                raise GrowNNError(f"deepening by {layers} layers changed the outputs by {apart:g}: it was undone")
    return added


@contextmanager
def _undone_on_error(stack: nn.Sequential, optimizer: Optimizer | None) -> Iterator[None]:
    """Takes what was appended to the stack, and to the optimizer's groups and state, away again after an error."""
    length = len(stack)
    groups = [] if optimizer is None else optimizer.param_groups
    lists = [(group, key, [*group[key]]) for group in groups for key in ("params", "param_names") if key in group]
    state = {} if optimizer is None else dict(optimizer.state)
    try:
        yield
    except BaseException:
        del stack[length:]
        for group, key, entries in lists:
            group[key] = entries
        if optimizer is not None:
            optimizer.state.clear()
            optimizer.state.update(state)
        raise
