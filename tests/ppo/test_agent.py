from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from toy_environments import KINDS, digest, make, make_agent, network, settings, trained

from grownn_hpo.morphism import deepen, difference
from grownn_hpo.ppo import CheckpointMismatch, agent_state, new_agent, outputs, policy, restore_agent


def restored(kind: str, agent, depth: int = 1):
    """The agent through the bytes of a checkpoint."""
    tensors, counters = agent_state(agent)
    its = settings(kind)
    return restore_agent(
        load(save(tensors)), json.loads(json.dumps(counters)), network(kind), depth, make(kind).spaces, its
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("env_steps", [0, 200])
def test_what_is_restored_is_what_was_saved_bit_for_bit(kind, env_steps):
    agent = trained(kind, env_steps) if env_steps else make_agent(kind)
    again = restored(kind, agent)
    assert digest(again) == digest(agent)
    probe = make(kind).reset()
    assert difference(outputs(agent, probe), outputs(again, probe)) == 0.0
    assert again.probe.dtype == agent.probe.dtype


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_from_a_restored_agent_as_from_the_agent_itself(kind):
    agent = trained(kind)
    again = restored(kind, agent)
    assert digest(trained(kind, 120, again, seed=5)) == digest(trained(kind, 120, agent, seed=5))


def test_a_saved_state_does_not_move_with_the_agent():
    agent = trained("line")
    tensors, _ = agent_state(agent)
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    trained("line", 120, agent)
    assert all(torch.equal(kept[name], tensors[name]) for name in kept)


def test_names_are_those_promised():
    tensors, counters = agent_state(trained("line"))
    assert {
        "network.stack.0.weight",
        "adam.stack.0.weight.exp_avg",
        "adam.policy.2.bias.step",
        "probe",
    } <= tensors.keys()
    assert {f"normaliser.{name}.{key}" for name in ("observations", "rewards") for key in ("mean", "var", "count")} == {
        name for name in tensors if name.startswith("normaliser")
    }
    assert counters == {"env_steps": 200, "updates": 4}
    assert not any(name.startswith("adam") for name in agent_state(make_agent("line"))[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_grown_agent_is_the_same_function_and_restores_as_a_deeper_one(kind):
    agent = trained(kind)
    before = outputs(agent, agent.probe)
    deepen(agent.network.stack, agent.optimizer, 2)
    assert difference(before, outputs(agent, agent.probe)) == 0.0
    assert [id(p) for p in agent.optimizer.param_groups[0]["params"]] == [id(p) for p in agent.network.parameters()]
    assert digest(restored(kind, agent, depth=3)) == digest(agent)
    # Trained on from memory or from the checkpoint, the deeper agent is the same.
    again = restored(kind, agent, depth=3)
    assert digest(trained(kind, 120, again, seed=5)) == digest(trained(kind, 120, agent, seed=5))
    assert agent.network.depth == 3


def test_a_cells_mask_is_restored_from_the_checkpoint():
    cells = np.zeros((3, 7), bool)
    cells[1] = True
    agent = new_agent(network("map"), 1, make("map").spaces, settings("map"), cells, 0)
    again = restored("map", agent)
    assert again.network.features.weight.shape == (14, 16)
    assert digest(again) == digest(agent)


def test_a_checkpoint_of_another_agent_is_refused():
    tensors, counters = agent_state(trained("line"))
    its, spaces = settings("line"), make("line").spaces

    def restore(tensors, spec=None, depth=1, its=its, counters=counters):
        return restore_agent(tensors, counters, spec or network("line"), depth, spaces, its)

    with pytest.raises(CheckpointMismatch, match=r"lacks network\.stack\.2"):
        restore(tensors, depth=2)
    with pytest.raises(CheckpointMismatch, match="other shapes"):
        restore(tensors, spec=network("line", width=8))
    with pytest.raises(CheckpointMismatch, match=r"unknown normaliser\.observations"):
        restore(tensors, its=settings("line", normalize_observations=False))
    with pytest.raises(CheckpointMismatch, match=r"lacks adam\.stack\.0\.weight\.step"):
        restore({name: t for name, t in tensors.items() if name != "adam.stack.0.weight.step"})
    with pytest.raises(CheckpointMismatch, match="env_steps = None"):
        restore(tensors, counters={"updates": 1})


@pytest.mark.parametrize("kind", KINDS)
def test_acting_is_deterministic_and_leaves_the_agent_as_it_was(kind):
    agent = trained(kind)
    before = digest(agent)
    observations = make(kind, n=6).reset()
    act = policy(agent, 9)
    first, second = act(observations), act(observations)
    np.testing.assert_array_equal(first, second)
    assert digest(agent) == before
    assert first.shape == ((6, 1) if kind == "continuous" else (6,))
    assert first.dtype == (np.float32 if kind == "continuous" else np.int64)
    if kind != "continuous":
        np.testing.assert_array_equal(first, outputs(agent, observations)[0].argmax(1).numpy())
    else:
        np.testing.assert_allclose(first, outputs(agent, observations)[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(act(observations[2:4]), first[2:4])


def test_observations_are_normalised_for_acting():
    agent = trained("continuous")
    agent.observation_moments.mean = agent.observation_moments.mean + 5.0
    shifted = make("continuous").reset()
    moved = outputs(agent, shifted + np.float32(5.0))[0]
    agent.observation_moments.mean = agent.observation_moments.mean - 5.0
    torch.testing.assert_close(moved, outputs(agent, shifted)[0], rtol=1e-3, atol=1e-4)
