from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from grownn_hpo.morphism import CannotGrow, deepen, difference

ACTIVATIONS = [
    nn.ReLU(),
    nn.ReLU(inplace=True),
    nn.ReLU6(),
    nn.Hardtanh(),
    nn.Hardtanh(-3.7, 0.3),
    nn.Threshold(0.5, -2.0),
    nn.Threshold(-1.0, 4.0),
    nn.Hardshrink(0.3),
]


def make_stack(width: int, depth: int, activation: nn.Module, dtype=torch.float32, inputs: int | None = None):
    stack = nn.Sequential()
    for i in range(depth):
        stack.append(nn.Linear(inputs or width if i == 0 else width, width, dtype=dtype))
        stack.append(copy.deepcopy(activation))
    return stack


def train(stack: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        (stack(x) - 0.1).square().mean().backward()
        optimizer.step()


def snapshot(optimizer: torch.optim.Optimizer) -> dict[nn.Parameter, dict[str, torch.Tensor]]:
    return {p: {k: v.clone() for k, v in state.items()} for p, state in optimizer.state.items()}


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 70),
    depth=st.integers(1, 4),
    layers=st.integers(1, 5),
    batch=st.integers(1, 40),
    scale=st.sampled_from([1e-44, 1e-38, 1e-6, 1.0, 1e6, 1e30]),
    activation=st.sampled_from(ACTIVATIONS),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    fused=st.sampled_from([None, False, True]),
    seed=st.integers(0, 2**16),
)
def test_growth_changes_nothing_at_all(width, depth, layers, batch, scale, activation, dtype, fused, seed):
    torch.manual_seed(seed)
    stack = make_stack(width, depth, activation, dtype)
    optimizer = None if fused is None else torch.optim.Adam(stack.parameters(), lr=0.01, fused=fused)
    if optimizer is not None:
        train(stack, optimizer, torch.randn(8, width, dtype=dtype), 2)
    x = torch.randn(batch, width, dtype=dtype) * scale
    with torch.no_grad():
        before = stack(x)
        deepen(stack, optimizer, layers)
        assert len(stack) == 2 * (depth + layers)
        assert difference(before, stack(x)) == 0.0
    if optimizer is not None:
        train(stack, optimizer, torch.randn(8, width, dtype=dtype), 1)
        assert all(p.isfinite().all() for p in stack.parameters())


@pytest.mark.parametrize("fused", [False, True])
def test_old_moments_are_carried_untouched_and_new_ones_start_afresh(fused):
    stack = make_stack(5, 2, nn.ReLU())
    optimizer = torch.optim.Adam(stack.parameters(), fused=fused)
    train(stack, optimizer, torch.randn(8, 5), 3)
    before = snapshot(optimizer)
    added = deepen(stack, optimizer, 1)[0]
    assert optimizer.state.keys() == before.keys()
    for parameter, state in before.items():
        for key, value in state.items():
            assert torch.equal(optimizer.state[parameter][key], value)
    train(stack, optimizer, torch.randn(8, 5), 1)
    assert optimizer.state[added.weight]["step"] == 1
    assert optimizer.state[stack[0].weight]["step"] == 4


def test_reset_starts_all_moments_afresh():
    stack = make_stack(5, 2, nn.ReLU())
    optimizer = torch.optim.Adam(stack.parameters())
    train(stack, optimizer, torch.randn(8, 5), 3)
    deepen(stack, optimizer, 1, "reset")
    assert not optimizer.state


@pytest.mark.parametrize("fused", [False, True])
def test_training_goes_on_as_a_reference_optimizer_built_by_hand(fused):
    """The deeper network, its optimizer's state set entry by entry, and plain torch from there."""
    x = torch.randn(16, 6)
    stack = make_stack(6, 1, nn.ReLU())
    optimizer = torch.optim.Adam(stack.parameters(), lr=0.01, fused=fused)
    train(stack, optimizer, x, 5)

    reference = make_stack(6, 3, nn.ReLU())
    with torch.no_grad():
        for layer in (reference[2], reference[4]):
            layer.weight.copy_(torch.eye(6))
            layer.bias.zero_()
        reference[0].load_state_dict(stack[0].state_dict())
    its_optimizer = torch.optim.Adam(reference.parameters(), lr=0.01, fused=fused)
    for old, new in zip(stack.parameters(), reference[0].parameters(), strict=True):
        its_optimizer.state[new] = {key: value.clone() for key, value in optimizer.state[old].items()}

    deepen(stack, optimizer, 2)
    train(stack, optimizer, x, 5)
    train(reference, its_optimizer, x, 5)
    for ours, theirs in zip(stack.parameters(), reference.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def agent(depth: int) -> nn.ModuleDict:
    return nn.ModuleDict({"input": nn.Linear(3, 4), "stack": make_stack(4, depth, nn.ReLU()), "head": nn.Linear(4, 2)})


@pytest.mark.parametrize("grouping", ["one", "biases apart"])
@pytest.mark.parametrize("named", [False, True])
def test_the_order_of_parameters_is_that_of_a_network_built_deeper(grouping, named):
    def optimizer_of(network):
        items = list(network.named_parameters()) if named else [(None, p) for _, p in network.named_parameters()]
        kept = (lambda item: item) if named else (lambda item: item[1])
        is_bias = [name.endswith("bias") for name, _ in network.named_parameters()]
        if grouping == "one":
            return torch.optim.Adam([kept(item) for item in items])
        biases = [kept(item) for item, bias in zip(items, is_bias, strict=True) if bias]
        weights = [kept(item) for item, bias in zip(items, is_bias, strict=True) if not bias]
        return torch.optim.Adam([{"params": weights}, {"params": biases, "lr": 0.5}])

    grown, built = agent(1), agent(4)
    optimizer, expected = optimizer_of(grown), optimizer_of(built)
    deepen(grown["stack"], optimizer, 1)
    deepen(grown["stack"], optimizer, 2)

    def names(network, group):
        by_id = {id(p): name for name, p in network.named_parameters()}
        return [by_id[id(p)] for p in group["params"]]

    for ours, theirs in zip(optimizer.param_groups, expected.param_groups, strict=True):
        assert names(grown, ours) == names(built, theirs)
        assert ours.get("param_names") == theirs.get("param_names")
    # ... so that positions in torch's own state dict mean the same parameters.
    expected.load_state_dict(optimizer.state_dict())


def test_a_stack_of_a_users_own_grows():
    stack = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 7, bias=False), nn.GELU(), nn.Linear(7, 5, bias=False), nn.LayerNorm(5), nn.ReLU()
    )
    x = torch.randn(9, 3, 4)
    before = stack(x)
    (added,) = deepen(stack, None, 1)
    assert added.bias is None
    assert difference(before, stack(x)) == 0.0


@pytest.mark.parametrize(
    ("stack", "rule"),
    [
        (nn.Sequential(), "empty"),
        (nn.Sequential(nn.Linear(3, 3)), "no activation at the end"),
        (nn.Sequential(nn.Linear(3, 3), nn.Tanh()), "idempotent"),
        (nn.Sequential(nn.Linear(3, 3), nn.GELU()), "idempotent"),
        (nn.Sequential(nn.Linear(3, 3), nn.LeakyReLU()), "idempotent"),
        (nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Dropout(0.0)), "idempotent"),
        (nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.ReLU()), "dropout in training"),
        (nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), "only an nn.Linear"),
        (nn.Sequential(nn.ReLU()), "only an nn.Linear"),
    ],
)
def test_what_cannot_be_exact_is_refused_with_the_reason(stack, rule):
    size = len(stack)
    with pytest.raises(CannotGrow, match=rule) as caught:
        deepen(stack, None, 1)
    assert caught.value.advice
    assert len(stack) == size


def test_an_activation_that_only_looks_idempotent_is_found_out():
    class Shifted(nn.ReLU):
        def forward(self, x):
            return super().forward(x) + 1

    with pytest.raises(CannotGrow, match="idempotent"):
        deepen(nn.Sequential(nn.Linear(2, 2), Shifted()), None, 1)

    hooked = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    hooked[1].register_forward_hook(lambda module, inputs, output: output + 1)
    with pytest.raises(CannotGrow, match="identity layer behind it turns"):
        deepen(hooked, None, 1)


def test_reduced_precision_is_refused():
    stack = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(CannotGrow, match="identity layer"):
        deepen(stack, None, 1)


def test_an_optimizer_that_cannot_take_it_is_refused_before_anything_is_touched():
    stack = make_stack(3, 2, nn.ReLU())
    for optimizer in (torch.optim.Adam(stack[0].parameters()), torch.optim.LBFGS(stack.parameters())):
        with pytest.raises(CannotGrow):
            deepen(stack, optimizer, 1)
        assert len(stack) == 4
    with pytest.raises(CannotGrow, match="layers = 0"):
        deepen(stack, None, 0)


def test_growth_draws_no_random_number():
    state = torch.get_rng_state()
    stack = make_stack(3, 1, nn.ReLU())
    torch.set_rng_state(state)
    deepen(stack, None, 2)
    assert torch.equal(torch.get_rng_state(), state)
