"""Net2DeeperNet (Chen et al. 2016, Net2Net, section 2.2) on a stack of layers *and* its optimizer's state."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import nn

from grownn_hpo.errors import GrowNNError
from grownn_hpo.morphism.exactness import IDEMPOTENT, first_inexact

# These may stand between the last Linear and its activation: they keep the width.
NORMALISATIONS = (nn.LayerNorm, nn.RMSNorm, nn.BatchNorm1d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class CannotGrow(GrowNNError):
    """The network cannot be deepened without changing its function: `layer` breaks `rule`; `advice` says what to do."""

    def __init__(self, layer: str, rule: str, advice: str) -> None:
        super().__init__(f"cannot deepen at {layer}: {rule}; {advice}")
        self.layer, self.rule, self.advice = layer, rule, advice


def deepen(
    stack: nn.Sequential,
    optimizer: torch.optim.Optimizer | None,
    layers: int,
    optimizer_state: Literal["carry", "reset"] = "carry",
) -> list[nn.Linear]:
    """Append `layers` x [Linear, activation] to `stack`, in place, leaving its function exactly as it was.

    `stack` ends in a Linear of some width w and an idempotent activation. What is appended are Linear(w, w) with
    identity weight and zero bias (no bias where the last Linear has none), each followed by a copy of the activation.

    With an `optimizer`, each new parameter joins the group of its counterpart in the last Linear, behind the stack's
    last parameter there: the order of an optimizer built for the deeper network from the start. "carry" leaves moments
    and step counts of the old parameters untouched and starts the new ones' afresh; "reset" starts all afresh.

    Returns the new Linear layers. Raises CannotGrow where the function would change; then nothing was touched.
    """
    if layers < 1:
        raise CannotGrow("the end", f"layers = {layers}", "ask for at least 1")
    last, activation = _ending(stack)
    groups = {} if optimizer is None else _groups(last, optimizer)
    added = [_identity_like(last) for _ in range(layers)]
    if pair := first_inexact(added[0], activation):
        raise CannotGrow(
            f"{activation!r}",
            f"an identity layer behind it turns {pair[0]!r} into {pair[1]!r} on {last.weight.device}",
            "turn off TF32, autocast, reduced precision and flushing of denormals",
        )
    places = [len(stack) + 2 * i for i in range(layers)]
    if taken := {str(place + i) for place in places for i in (0, 1)} & dict(stack.named_children()).keys():
        raise CannotGrow(
            f"{sorted(taken)}", "modules have the names that the new ones would get", "name them otherwise"
        )

    name = next(name for name, module in stack.named_children() if module is last)
    for place, linear in zip(places, added, strict=True):
        old = {id(parameter) for parameter in stack.parameters()}
        stack.append(linear).append(copy.deepcopy(activation))
        for kind, group in groups.items():
            parameter = linear.get_parameter(kind)
            _join(
                group, parameter, behind=old, name=(f"{name}.{kind}", f"{place}.{kind}"), like=last.get_parameter(kind)
            )
            old.add(id(parameter))
    if optimizer is not None and optimizer_state == "reset":
        optimizer.state.clear()
    return added


def _ending(stack: nn.Sequential) -> tuple[nn.Linear, nn.Module]:
    """The stack's last Linear, and the idempotent activation that the stack ends in."""
    if not len(stack):
        raise CannotGrow("the end", "the stack is empty", "start from one Linear and its activation")
    for name, module in stack.named_modules():
        if isinstance(module, DROPOUTS) and module.training and module.p > 0:
            raise CannotGrow(
                f"{name}: {module!r}",
                "dropout in training makes outputs random, so that exactness cannot be checked",
                "call eval() on the stack while it grows",
            )
    *before, activation = stack
    position = f"{len(before)}: {activation!r}"
    # The exact type: a subclass may compute anything.
    if type(activation) not in IDEMPOTENT:
        rule = (
            "there is no activation at the end, and the new layer's would change the function"
            if isinstance(activation, nn.Linear)
            else "an identity layer is exact only behind an idempotent activation, f(f(x)) = f(x)"
        )
        raise CannotGrow(position, rule, f"end the stack in one of {', '.join(kind.__name__ for kind in IDEMPOTENT)}")
    while before and isinstance(before[-1], NORMALISATIONS):
        before.pop()
    if not before or not isinstance(before[-1], nn.Linear) or isinstance(before[-1], nn.LazyLinear):
        raise CannotGrow(
            position,
            f"before it stands {before[-1] if before else 'nothing'!r}, and only an nn.Linear tells the width",
            "end the stack in an nn.Linear and its activation",
        )
    return before[-1], activation


def _groups(last: nn.Linear, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    """The parameter group that the last Linear's "weight" (and "bias") is trained in."""
    if isinstance(optimizer, torch.optim.LBFGS):
        raise CannotGrow(
            "LBFGS", "its state is one vector over all parameters", "use an optimizer with state per tensor"
        )
    groups = {}
    for kind, parameter in last.named_parameters():
        group = next((g for g in optimizer.param_groups if any(p is parameter for p in g["params"])), None)
        if group is None:
            raise CannotGrow(
                f"the {kind} of {last!r}",
                "the optimizer does not train it, so it is unknown how to train the new layer's",
                "pass the optimizer that trains the stack, or None",
            )
        groups[kind] = group
    return groups


def _identity_like(last: nn.Linear) -> nn.Linear:
    """Linear(w, w) that returns its input, w being the outputs of `last`; no random number is drawn for it."""
    width, weight = last.out_features, last.weight
    bias = last.bias is not None
    linear = nn.Linear(width, width, bias=bias, device="meta", dtype=weight.dtype).to_empty(device=weight.device)
    nn.init.eye_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear.train(last.training)


def _join(
    group: dict[str, Any], parameter: nn.Parameter, *, behind: set[int], name: tuple[str, str], like: nn.Parameter
) -> None:
    """Insert `parameter` into an optimizer's group, behind the last of those whose ids are given."""
    parameters: list[nn.Parameter] = group["params"]
    place = 1 + max(i for i, p in enumerate(parameters) if id(p) in behind)
    if names := group.get("param_names"):  # an optimizer made from named_parameters()
        counterpart: str = names[next(i for i, p in enumerate(parameters) if p is like)]
        names.insert(place, counterpart.removesuffix(name[0]) + name[1])
    parameters.insert(place, parameter)
