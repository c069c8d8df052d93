from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, Normal
from toy_environments import KINDS, make, make_agent, network, settings

from grownn_hpo.ppo import Diverged, new_agent
from grownn_hpo.ppo.loss import ppo_loss
from grownn_hpo.ppo.update import update
from grownn_hpo.spec import PPOSettings


def transitions(kind: str, agent, count: int, seed: int = 0):
    """Synthetic transitions: observations, actions, old log-probabilities, advantages, returns."""
    generator = torch.Generator().manual_seed(seed)
    environments = make(kind, n=count)
    observations = torch.tensor(environments.reset())
    if kind == "continuous":
        actions = torch.randn(count, 1, generator=generator)
    else:
        actions = torch.randint(2, (count,), generator=generator)
    log_probs, advantages, returns = torch.randn(3, count, generator=generator)
    return observations, actions, -0.7 + 0.1 * log_probs, advantages, returns


def reference_step(agent, batch, its: PPOSettings, learning_rate: float):
    """One minibatch in the manner of Stable-Baselines3, with torch's own distributions, clipping and plain Adam."""
    observations, actions, old, advantages, returns = batch
    net = copy.deepcopy(agent.network)
    optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate, eps=its.adam_eps, foreach=False)
    features = net.features.plain if hasattr(net.features, "plain") else net.features
    outputs, values = net.heads(features(observations))
    p = Categorical(logits=outputs) if net.log_std is None else Independent(Normal(outputs, net.log_std.exp()), 1)
    if its.normalize_advantage:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    ratio = torch.exp(p.log_prob(actions) - old)
    surrogates = advantages * ratio, advantages * torch.clamp(ratio, 1 - its.clip_range, 1 + its.clip_range)
    policy_loss = -torch.min(*surrogates).mean()
    value_loss = torch.nn.functional.mse_loss(returns, values)
    loss = policy_loss + its.ent_coef * -torch.mean(p.entropy()) + its.vf_coef * value_loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), its.max_grad_norm)
    optimizer.step()
    return net


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("max_grad_norm", [0.05, 1e6])
def test_one_step_is_that_of_stable_baselines3(kind, normalize, max_grad_norm):
    its = settings(kind, batch_size=64, n_epochs=1, ent_coef=0.02, vf_coef=0.3, max_grad_norm=max_grad_norm)
    # A large eps keeps Adam's first step, lr * g / (|g| + eps), from magnifying rounding where g is near 0.
    its = its.model_copy(update={"normalize_advantage": normalize, "adam_eps": 1e-2})
    agent = new_agent(network(kind), 2, make(kind).spaces, its, None, 3)
    batch = transitions(kind, agent, 64)
    expected = reference_step(agent, batch, its, 0.01)
    before = copy.deepcopy(agent.network.state_dict())
    update(agent, *batch, its, 0.01, torch.Generator().manual_seed(0))
    for (name, ours), theirs in zip(agent.network.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6, msg=lambda m, name=name: f"{name}: {m}")
        assert not torch.equal(ours, before[name]), name
    assert agent.updates == 1


def test_the_loss_by_hand():
    """Two samples: one ratio of 2 clipped to 1.2 with advantage 1, one ratio of 1/2 with advantage 3, unclipped."""
    its = PPOSettings(normalize_advantage=False, vf_coef=0.5, ent_coef=0.1)
    log_prob = torch.tensor([2.0, 0.5]).log()
    values, returns = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])
    entropy, advantages = torch.tensor([0.2, 0.4]), torch.tensor([1.0, 3.0])
    loss, parts = ppo_loss(log_prob, torch.zeros(2), entropy, values, advantages, returns, its)
    policy, value = -(1.2 + 1.5) / 2, (1 + 4) / 2
    kl = ((2 - 1 - np.log(2)) + (0.5 - 1 - np.log(0.5))) / 2
    assert loss.item() == pytest.approx(policy + 0.5 * value - 0.1 * 0.3)
    assert parts.tolist() == pytest.approx([policy, value, 0.3, kl, 1.0])


def test_one_sample_is_not_normalised_away():
    one = torch.ones(1)
    loss, _ = ppo_loss(one * 0, one * 0, one, one, 5 * one, one, PPOSettings(normalize_advantage=True))
    assert loss.item() == -5


def test_the_partial_last_minibatch_is_used():
    its = settings("line", batch_size=24, n_epochs=2)
    agent = make_agent("line")
    update(agent, *transitions("line", agent, 25), its, 1e-3, torch.Generator().manual_seed(0))
    assert {state["step"].item() for state in agent.optimizer.state.values()} == {4.0}


@pytest.mark.parametrize("spoiled", ["advantages", "returns"])
def test_divergence_is_raised_before_it_spoils_the_weights(spoiled):
    agent = make_agent("line")
    observations, actions, old, advantages, returns = transitions("line", agent, 30)
    if spoiled == "advantages":
        advantages[7] = torch.nan
    else:
        returns[7] = 1e30  # its square overflows
    before = copy.deepcopy(agent.network.state_dict())
    its = settings("line", batch_size=30)
    with pytest.raises(Diverged, match="update 1 after 0 env steps: the loss") as caught:
        update(agent, observations, actions, old, advantages, returns, its, 1e-3, torch.Generator())
    assert (caught.value.update, caught.value.env_steps, caught.value.what) == (1, 0, "loss")
    assert all(torch.equal(before[name], tensor) for name, tensor in agent.network.state_dict().items())


def test_a_parameter_that_overflows_in_the_last_step_is_noticed():
    agent = make_agent("line")
    its = settings("line", batch_size=30, n_epochs=1)
    with pytest.raises(Diverged, match="parameter"):
        update(agent, *transitions("line", agent, 30), its, 1e39, torch.Generator())
