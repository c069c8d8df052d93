from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from toy_environments import make_agent, network

from grownn_hpo.errors import InputError
from grownn_hpo.ppo import new_agent
from grownn_hpo.ppo.network import ActorCritic
from grownn_hpo.spec import Characters, Continuous, Discrete, Network, PPOSettings, Spaces, Vector

MAP = Spaces(Characters(4, 6), Discrete(3))
LINE = Spaces(Vector(5), Discrete(3))


def build(spec: Network, spaces: Spaces, depth: int = 2, cells=None, seed: int = 0) -> ActorCritic:
    return new_agent(spec, depth, spaces, PPOSettings(), cells, seed).network


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


def test_the_mlp_is_what_the_paper_describes():
    net = build(Network(kind="mlp", width=8, heads=6), LINE, depth=2)
    x = torch.randn(7, 5)
    hidden = F.linear(x, net.features.linear.weight, net.features.linear.bias)  # no activation here
    for layer in (net.stack[0], net.stack[2]):
        hidden = F.linear(hidden, layer.weight, layer.bias).relu()
    policy = net.policy[2](torch.tanh(net.policy[0](hidden)))
    value = net.value[2](torch.tanh(net.value[0](hidden)))
    ours = net(x)
    torch.testing.assert_close(ours[0], policy)
    torch.testing.assert_close(ours[1], value.squeeze(1))
    assert net.policy[0].weight.shape == (6, 8)
    assert net.depth == 2
    assert len(build(Network(kind="mlp", width=8, heads=0), LINE).policy) == 1


@pytest.mark.parametrize("spaces", [LINE, MAP])
def test_orthogonal_weights_have_the_gains_of_stable_baselines3(spaces):
    net = build(Network(kind="mlp" if spaces is LINE else "minihack-cnn", width=16), spaces)
    gains = {"policy.2.weight": 0.01, "value.2.weight": 1.0}
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
            continue
        transposed = name in ("features.weight", "features.convolution")
        matrix = (parameter.T if transposed else parameter).detach().double()
        matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        expected = gains.get(name, math.sqrt(2)) ** 2 * torch.eye(len(matrix), dtype=torch.float64)
        torch.testing.assert_close(matrix @ matrix.T, expected, rtol=0, atol=1e-5)


def test_torch_weights_are_uniform_within_the_default_bounds():
    net = build(Network(kind="minihack-cnn", width=16, channels=3, initialisation="torch"), MAP)
    fans = {"features.convolution": 256, "features.convolution_bias": 256, "features.weight": 72, "features.bias": 72}
    for name, parameter in net.named_parameters():
        bound = 1 / math.sqrt(fans.get(name, 16))
        assert 0 < parameter.abs().max() <= bound, name
        if parameter.numel() > 100:
            assert parameter.abs().max() > 0.9 * bound, name


def test_weights_come_from_the_seed_and_leave_the_global_random_numbers():
    before = torch.get_rng_state()
    a, b, c = (build(network("map"), MAP, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["features.weight"], c["features.weight"])


def test_continuous_actions_have_a_deviation_of_their_own():
    spaces = Spaces(Vector(5), Continuous((-1.0,) * 2, (1.0,) * 2))
    net = new_agent(Network(kind="mlp"), 1, spaces, PPOSettings(initial_log_std=-1.0), None, 0).network
    assert net.log_std.tolist() == [-1.0, -1.0]
    assert net(torch.zeros(3, 5))[0].shape == (3, 2)
    assert make_agent("line").network.log_std is None


def masks():
    some = np.zeros((4, 6), bool)
    some[1:3, 2:5] = True
    return [None, some]


def random_maps(rows: int, seed: int, varying: int = 24) -> torch.Tensor:
    """Maps [rows, 4, 6] of five characters in which the first `varying` cells (of 24, shuffled) vary."""
    rng = np.random.default_rng(seed)
    maps = np.tile(rng.integers(40, 45, (1, 24)), (rows, 1))
    cells = np.random.default_rng(9).permutation(24)[:varying]
    maps[:, cells] = rng.integers(40, 45, (rows, varying))
    return torch.tensor(maps.reshape(rows, 4, 6), dtype=torch.uint8)


def gradients(net: ActorCritic, features: torch.Tensor) -> dict[str, torch.Tensor]:
    net.zero_grad()
    (features.sin() * torch.arange(1.0, features.shape[1] + 1)).sum().backward()
    return {name: p.grad.clone() for name, p in net.features.named_parameters()}


@pytest.mark.parametrize("cells", masks())
@pytest.mark.parametrize("varying", [0, 1, 9, 24])
@pytest.mark.parametrize("initialisation", ["orthogonal", "torch"])
def test_lookup_and_folding_equal_one_hot_and_convolution(cells, varying, initialisation):
    spec = Network(kind="minihack-cnn", width=16, channels=3, initialisation=initialisation)
    net = build(spec, MAP, cells=cells)
    maps = random_maps(40, 0, varying)
    indices = torch.tensor([3, 17, 17, 39, 0, 8])
    plain = net.features.plain(maps[indices])
    expected = gradients(net, plain)
    for features in (net.features(maps[indices]), net.features.over(maps)(indices)):
        assert relative(features, plain) < 1e-5
        ours = gradients(net, features)
        assert ours.keys() == expected.keys()
        for name in expected:
            assert relative(ours[name], expected[name]) < 1e-5, name
    with torch.no_grad():
        stepper = net.features.stepper()
        for start in range(0, 40, 8):
            assert relative(stepper(maps[start : start + 8]), net.features.plain(maps[start : start + 8])) < 1e-5


@pytest.mark.parametrize("cells", masks())
def test_a_cell_that_becomes_active_in_mid_training_is_trained_as_in_the_plain_form(cells):
    """Each rollout has more varying cells and other constant ones; both forms train side by side."""
    spec = Network(kind="minihack-cnn", width=16)
    fast, plain = (build(spec, MAP, cells=cells) for _ in range(2))
    optimizers = [torch.optim.Adam(net.parameters(), lr=1e-2) for net in (fast, plain)]
    stepper = fast.features.stepper()
    for rollout, varying in enumerate((0, 3, 10, 24, 5)):
        maps = random_maps(30, rollout, varying)
        features_of = fast.features.over(maps)
        for indices in torch.randperm(30, generator=torch.Generator().manual_seed(rollout)).split(10):
            for net, features, optimizer in (
                (fast, features_of(indices), optimizers[0]),
                (plain, plain.features.plain(maps[indices]), optimizers[1]),
            ):
                optimizer.zero_grad()
                policy, values = net.heads(features)
                (policy.square().sum() + (values - 1).square().sum()).backward()
                optimizer.step()
        with torch.no_grad():
            stepper.refresh()
            torch.testing.assert_close(stepper(maps), plain.features.plain(maps), rtol=1e-3, atol=1e-4)
    for (name, ours), theirs in zip(fast.named_parameters(), plain.parameters(), strict=True):
        assert relative(ours, theirs) < 1e-3, name  # Adam magnifies rounding where gradients are near 0


def test_a_cell_left_out_is_not_looked_at():
    mask = masks()[1]
    net = build(network("map"), MAP, cells=mask)
    maps = random_maps(3, 0)
    elsewhere = torch.where(torch.tensor(mask), maps, torch.tensor(0, dtype=torch.uint8))
    assert torch.equal(net(maps)[0], net(elsewhere)[0])
    assert net.state_dict()["features.cells"].equal(torch.tensor(mask))


@pytest.mark.parametrize(
    ("kind", "spaces", "cells", "rule"),
    [
        ("mlp", MAP, None, "takes a vector"),
        ("minihack-cnn", LINE, None, "takes a map"),
        ("minihack-cnn", MAP, np.ones((6, 4), bool), "mask of 4 x 6"),
        ("minihack-cnn", MAP, np.zeros((4, 6), bool), "at least one cell"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(kind, spaces, cells, rule):
    with pytest.raises(InputError, match=rule):
        build(Network(kind=kind), spaces, cells=cells)
    with pytest.raises(InputError, match="no mean"):
        new_agent(Network(kind="minihack-cnn"), 1, MAP, PPOSettings(normalize_observations=True), None, 0)


def test_activations_are_those_asked_for():
    spec = Network(kind="mlp", activation="hardtanh", head_activation="silu")
    net = build(spec, LINE)
    assert isinstance(net.stack[1], nn.Hardtanh)
    assert isinstance(net.value[1], nn.SiLU)
