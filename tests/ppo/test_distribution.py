from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal

from grownn_hpo.ppo.distribution import log_prob_and_entropy, mode, noise_for, sample


def generator():
    return torch.Generator().manual_seed(3)


def reference(outputs, log_std):
    return Categorical(logits=outputs) if log_std is None else Independent(Normal(outputs, log_std.exp()), 1)


@pytest.mark.parametrize("log_std", [None, torch.tensor([-1.0, 0.5, 0.1])])
def test_densities_are_those_of_torch(log_std):
    outputs = torch.randn(50, 3, generator=generator()) * 3
    actions = sample(outputs, noise_for((50, 3), log_std, generator()), log_std)
    expected = reference(outputs, log_std)
    log_probs, entropy = log_prob_and_entropy(outputs, log_std, actions)
    torch.testing.assert_close(log_probs, expected.log_prob(actions))
    torch.testing.assert_close(entropy, expected.entropy())


def test_actions_come_as_often_as_they_should():
    logits = torch.tensor([0.2, -1.0, 1.5, -30.0])
    n = 40_000
    actions = sample(logits, noise_for((n, 4), None, generator()), None)
    shares = torch.bincount(actions, minlength=4) / n
    p = logits.softmax(0)
    assert ((shares - p).abs() <= 4 * (p * (1 - p) / n).sqrt() + 1e-9).all()


def test_gaussian_actions_have_the_mean_and_deviation_asked_for():
    mean, log_std = torch.tensor([2.0, -1.0]), torch.tensor([-2.0, 1.0])
    actions = sample(mean, noise_for((40_000, 2), log_std, generator()), log_std)
    torch.testing.assert_close(actions.std(0), log_std.exp(), rtol=0.02, atol=0)
    assert ((actions.mean(0) - mean).abs() < 4 * log_std.exp() / 200).all()


def test_the_mode_is_the_likeliest_action():
    outputs = torch.tensor([[0.0, 2.0, 1.0]])
    assert mode(outputs, None).tolist() == [1]
    assert mode(outputs, torch.zeros(3)).equal(outputs)
