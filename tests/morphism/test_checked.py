from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from grownn_hpo.errors import GrowNNError
from grownn_hpo.morphism import CannotGrow
from grownn_hpo.morphism.checked import deepen


def network() -> tuple[nn.Sequential, nn.Sequential, torch.optim.Adam, Tensor]:
    """A trained network, the stack in it, its optimizer and some observations."""
    torch.manual_seed(0)
    stack = nn.Sequential(nn.Linear(5, 8), nn.ReLU())
    whole = nn.Sequential(stack, nn.Linear(8, 2))
    optimizer = torch.optim.Adam(whole.named_parameters())
    observations = torch.randn(16, 5)
    for _ in range(3):
        optimizer.zero_grad()
        whole(observations).square().mean().backward()
        optimizer.step()
    return whole, stack, optimizer, observations


def test_a_network_of_ones_own_grows_and_goes_on_learning() -> None:
    whole, stack, optimizer, observations = network()
    before = whole(observations)
    added = deepen(stack, optimizer, 2, outputs=lambda: whole(observations))
    assert len(added) == 2
    assert len(stack) == 6
    assert torch.equal(whole(observations), before)
    whole(observations).square().mean().backward()
    optimizer.step()
    assert not torch.equal(added[0].weight, torch.eye(8))


def snapshot(whole: nn.Module, optimizer: torch.optim.Adam) -> list[object]:
    group = optimizer.param_groups[0]
    return [
        [name for name, _ in whole.named_parameters()],
        list(map(id, group["params"])),
        list(group["param_names"]),
        {id(parameter): state["step"].item() for parameter, state in optimizer.state.items()},
    ]


@pytest.mark.parametrize("optimizer_state", ["carry", "reset"])
def test_where_outputs_change_all_is_put_back(optimizer_state: str) -> None:
    whole, stack, optimizer, observations = network()
    before = snapshot(whole, optimizer)
    # It looks at the number of layers: growing cannot leave that as it is.
    with pytest.raises(GrowNNError, match="deepening by 2 layers changed the outputs by 4: it was undone"):
        deepen(
            stack,
            optimizer,
            2,
            optimizer_state=optimizer_state,  # type: ignore[arg-type]
            outputs=lambda: whole(observations).detach() * 0 + len(stack),
        )
    assert snapshot(whole, optimizer) == before
    deepen(stack, optimizer, 1, outputs=lambda: whole(observations))


def test_outputs_that_are_never_the_same_prove_nothing() -> None:
    _, stack, optimizer, _ = network()
    random: Callable[[], Tensor] = lambda: torch.rand(3)  # noqa: E731
    with pytest.raises(GrowNNError, match="when called twice"):
        deepen(stack, optimizer, outputs=random)
    assert len(stack) == 2


def test_what_cannot_grow_is_refused_with_outputs_too() -> None:
    stack = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    with pytest.raises(CannotGrow, match="idempotent"):
        deepen(stack, outputs=lambda: stack(torch.ones(1, 3)))
    assert len(stack) == 2
