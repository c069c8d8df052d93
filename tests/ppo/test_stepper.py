"""Acting in the fast ways, beside the network as it is."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from toy_environments import KINDS, digest, make, make_agent, network, settings, trained

from grownn_hpo.ppo import new_agent, stepper, update
from grownn_hpo.ppo.packing import WIDEST
from grownn_hpo.ppo.stepper import MapStepper, PlainStepper, VectorStepper
from grownn_hpo.spec import Network


def differences(agent, n: int, rounds: int = 3) -> float:
    """The largest between the two, over some steps with weights that move in between."""
    fast, plain = stepper.stepper(agent.network, n), PlainStepper(agent.network)
    assert type(fast) is not PlainStepper
    environments = make("map" if isinstance(fast, MapStepper) else "line", n)
    most = 0.0
    for _ in range(rounds):
        fast.refresh()
        observations = environments.reset()
        with torch.inference_mode():
            for ours, theirs in zip(fast(observations), plain(observations), strict=True):
                most = max(most, np.abs(ours - theirs).max() / np.abs(theirs).max())
        with torch.no_grad():
            for parameter in agent.network.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    return most


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 4, 13])
def test_outputs_and_values_are_the_networks(kind, n):
    assert differences(make_agent(kind, depth=3), n) < 1e-5


@pytest.mark.parametrize("activation", ["relu", "hardtanh", "tanh", "gelu", "silu"])
@pytest.mark.parametrize("heads", [None, 0, 5])
def test_whatever_the_layers_are(activation, heads):
    spec = Network(kind="mlp", width=21, heads=heads, activation=activation, head_activation=activation)
    assert differences(new_agent(spec, 2, make("line").spaces, settings("line"), None, 1), 5) < 1e-5


def test_each_network_has_the_way_that_suits_it():
    def kinds(agent):
        return type(stepper.stepper(agent.network, 2)), update.fastest(agent)

    wide = new_agent(network("line", width=WIDEST + 1), 1, make("line").spaces, settings("line"), None, 0)
    assert kinds(make_agent("line")) == (VectorStepper, update.by_kernels)
    assert kinds(make_agent("map")) == (MapStepper, update.by_hand)
    assert kinds(wide) == (PlainStepper, update.by_autograd)


@pytest.mark.parametrize("kind", KINDS)
def test_trained_in_the_plain_ways_an_agent_is_the_same_up_to_rounding(kind, monkeypatch):
    """The plain ways are those of a GPU."""
    fast = trained(kind, env_steps=128)
    # The package shows a function of the module's own name.
    monkeypatch.setattr(
        importlib.import_module("grownn_hpo.ppo.train"), "stepper", lambda network, n: PlainStepper(network)
    )
    monkeypatch.setattr(update, "fastest", lambda agent: update.by_autograd)
    plain = trained(kind, env_steps=128)
    assert digest(plain) != digest(fast)
    for (name, ours), theirs in zip(fast.network.named_parameters(), plain.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3, msg=lambda m, name=name: f"{name}: {m}")
