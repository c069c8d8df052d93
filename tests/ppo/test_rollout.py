from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_environments import KINDS, Line, make, make_agent

from grownn_hpo.ppo import Diverged, outputs
from grownn_hpo.ppo.distribution import log_prob_and_entropy
from grownn_hpo.ppo.rollout import rollout
from grownn_hpo.ppo.stepper import stepper


class Recorded(Line):
    """Keeps all that was said."""

    def reset(self):
        self.said, self.steps_said, self.actions = [super().reset()], [], []
        return self.said[0]

    def step(self, actions):
        self.actions.append(actions.copy())
        step = super().step(actions)
        self.steps_said.append(step)
        self.said.append(step.observations)
        return step


def collect(agent, environments, steps, seed=0):
    act = stepper(agent.network, environments.n)
    return rollout(agent, environments, environments.reset(), steps, act, torch.Generator().manual_seed(seed))


def test_truncated_episodes_are_worth_what_their_final_observation_promises():
    agent = make_agent("line", normalize_observations=False, normalize_rewards=False)
    environments = Recorded(3, limit=5)
    environments.move = lambda actions, move=environments.move: (move(actions)[0], np.array([False, False, True]))
    batch, following = collect(agent, environments, 11)
    for t, step in enumerate(environments.steps_said):
        for n in range(3):
            if step.terminated[n]:
                expected = 0.0
            elif step.truncated[n]:
                expected = outputs(agent, step.final_observations[n][None])[1].item()
            else:
                expected = outputs(agent, environments.said[t + 1])[1][n].item()
            assert batch.next_values[t, n] == pytest.approx(expected, rel=1e-5, abs=1e-6)
            assert batch.ended[t, n] == (step.terminated[n] or step.truncated[n])
    assert batch.ended[:, 2].all()
    assert 0 < batch.ended[:, 0].sum() < 11
    np.testing.assert_array_equal(following, environments.said[-1])
    assert [e.length for e in batch.episodes] == [e.length for s in environments.steps_said for e in s.episodes]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rollout_holds_what_the_network_saw_and_did(kind):
    agent = make_agent(kind, normalize_rewards=False)
    environments = make(kind)
    raw = environments.reset()
    batch, _ = rollout(agent, environments, raw, 9, stepper(agent.network, 4), torch.Generator())
    assert batch.observations.shape == (9 * 4, *raw.shape[1:])
    assert batch.actions.shape[0] == batch.log_probs.shape[0] == 36
    assert agent.env_steps == environments.steps == 36
    with torch.no_grad():
        policy, values = agent.network(batch.observations)
        log_probs, _ = log_prob_and_entropy(policy, agent.network.log_std, batch.actions)
    torch.testing.assert_close(batch.log_probs, log_probs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(batch.values.ravel(), values, rtol=1e-4, atol=1e-5)
    assert not any(t.is_inference() for t in (batch.observations, batch.actions, batch.log_probs))


def test_every_observation_acted_on_is_counted_once_and_kept_raw_in_the_probe():
    agent, environments = make_agent("line", normalize_rewards=False), Recorded(3)
    act, noise = stepper(agent.network, 3), torch.Generator()
    _, following = rollout(agent, environments, environments.reset(), 60, act, noise)
    rollout(agent, environments, following, 70, act, noise)
    acted_on = np.concatenate(environments.said[:-1])
    assert agent.observation_moments.count == pytest.approx(len(acted_on))
    np.testing.assert_allclose(agent.observation_moments.mean, acted_on.mean(0, dtype=float), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(agent.probe, acted_on[-256:])


@pytest.mark.parametrize("what", ["observation", "reward", "policy", "value"])
def test_what_is_not_finite_is_named_before_the_environments_are_asked_again(what):
    agent = make_agent("line", normalize_observations=False, normalize_rewards=False)
    environments = Recorded(2)
    if what in ("policy", "value"):
        with torch.no_grad():
            getattr(agent.network, what)[-1].bias[0] = torch.nan
    original = environments.step

    def step(actions):
        said = original(actions)
        if len(environments.actions) == 3:
            if what == "reward":
                said.rewards = said.rewards * np.nan
            else:
                said.observations = said.observations + np.inf
        return said

    environments.step = step
    with pytest.raises(Diverged) as caught:
        collect(agent, environments, 10)
    assert caught.value.what == what
    assert caught.value.env_steps == (0 if what in ("policy", "value") else 6)
