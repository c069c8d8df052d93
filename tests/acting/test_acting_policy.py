from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from needed import needed

from grownn_hpo import ppo
from grownn_hpo.acting.policy import METADATA, export_policy
from grownn_hpo.acting.trained import TrainedAgent, load_agent
from grownn_hpo.cli.policies import export
from grownn_hpo.errors import GrowNNError, InputError
from grownn_hpo.report.incumbent_file import export_incumbent
from grownn_hpo.spec import Characters, Network, PPOSettings, Spaces, Vector
from grownn_hpo.store.paths import ArmFolder

# Run where this package cannot be imported; each prints the metadata, then the actions.
ALONE = "import json, sys; sys.modules['grownn_hpo'] = None; import numpy as np; seen = np.load(sys.argv[2])\n"
ONNX = """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
print(json.dumps(json.loads(session.get_modelmeta().custom_metadata_map["grownn_hpo.json"])))
print(json.dumps(session.run(None, {"observations": seen})[0].tolist()))
"""
TORCH = """
import torch
inside = {"grownn_hpo.json": ""}
policy = torch.export.load(sys.argv[1], extra_files=inside).module()
print(json.dumps(json.loads(inside["grownn_hpo.json"])))
print(json.dumps(policy(torch.tensor(seen)).tolist()))
"""


def alone(program: str, policy: Path, observations: np.ndarray, folder: Path) -> tuple[dict[str, Any], Any]:
    """The policy's metadata, and its actions for these observations, from a process that has not this package."""
    np.save(folder / "seen.npy", observations)
    command = [sys.executable, "-c", ALONE + program, str(policy), str(folder / "seen.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stderr
    metadata, actions = done.stdout.splitlines()[-2:]
    return json.loads(metadata), json.loads(actions)


def test_onnx_acts_without_this_package(rooms: ArmFolder, tmp_path: Path) -> None:
    needed("onnxruntime", "onnx")
    agent, policy = load_agent(rooms, 1, 3, 1), tmp_path / "policy.onnx"
    export(rooms.root, policy, None, 1, tmp_path)
    maps = agent.agent.probe[:40]  # all alike to an agent hardly trained; see `test_every_network_has_its_graph`
    metadata, actions = alone(ONNX, policy, maps, tmp_path)
    assert actions == agent.act(maps).tolist()
    assert metadata["env"] == "MiniHack-Room-Random-5x5-v0"
    assert metadata["checkpoint_sha256"] == agent.result.checkpoint_sha256
    assert (metadata["config"], metadata["rung"], metadata["seed"]) == (1, 3, 1)
    assert metadata["observations"] == {"dtype": "uint8", "shape": ["B", 21, 79], "key": "chars"}
    assert metadata["actions"]["names"] == list(agent.action_names)
    assert metadata["checked_observations"] == 256


def test_a_torch_program_acts_without_this_package(pendulum: ArmFolder, tmp_path: Path) -> None:
    incumbent, policy = tmp_path / "best.yaml", tmp_path / "policy.pt2"
    incumbent.write_text(export_incumbent(pendulum))
    export(incumbent, policy, None, 0, pendulum.root.parents[1])
    agent = load_agent(pendulum, 1, 1, 0)
    # Raw observations: the normaliser is inside. The last ones are far from what was ever seen, and clipped.
    seen = np.concatenate([agent.agent.probe[:9], np.full((1, 4), 1e4, np.float32)])
    metadata, actions = alone(TORCH, policy, seen, tmp_path)
    assert np.array_equal(np.array(actions, np.float32), agent.act(seen))
    assert metadata["actions"] == {"dtype": "float32", "shape": ["B", 1], "low": [-3.0], "high": [3.0]}
    assert metadata["observations"] == {"dtype": "float32", "shape": ["B", 4]}
    assert b"\x80\x02" not in policy.read_bytes()[:4]
    needed("onnxruntime", "onnx")
    export(pendulum.root, tmp_path / "policy.onnx", None, 0, tmp_path)
    _, of_onnx = alone(ONNX, tmp_path / "policy.onnx", seen, tmp_path)
    assert np.allclose(of_onnx, actions, rtol=1e-5, atol=1e-6)


def untrained(agent: TrainedAgent, network: Network, spaces: Spaces, probe: np.ndarray) -> TrainedAgent:
    """The agent with another network, whose weights are large enough that its actions differ."""
    cells = None
    if isinstance(spaces.observation, Characters):
        cells = np.zeros((spaces.observation.rows, spaces.observation.columns), bool)
        cells[1:3, 2:5] = True
    made = ppo.new_agent(network, 2, spaces, PPOSettings(), cells, 0)
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.mul_(3)
    made.probe = probe
    return replace(agent, agent=made, spaces=spaces)


@pytest.mark.parametrize("activation", ["relu", "hardtanh", "tanh", "gelu", "silu"])
def test_every_network_has_its_graph(rooms: ArmFolder, pendulum: ArmFolder, activation: Any) -> None:
    needed("onnxruntime", "onnx")
    rng = np.random.default_rng(0)
    room, balancer = load_agent(rooms, 1, 1, 0), load_agent(pendulum, 1, 1, 0)
    maps = rng.integers(32, 127, (64, 4, 6), dtype=np.uint8)
    of_maps = untrained(
        room,
        Network(kind="minihack-cnn", width=8, channels=3, activation=activation, head_activation=activation),
        Spaces(Characters(4, 6), room.spaces.action),
        maps,
    )
    of_vectors = untrained(
        balancer,
        Network(kind="mlp", width=8, heads=0, activation=activation),
        Spaces(Vector(4), balancer.spaces.action),
        rng.normal(size=(64, 4)).astype(np.float32),
    )
    for agent in (of_maps, of_vectors):
        assert len(np.unique(agent.act(agent.agent.probe))) > 1
        data = export_policy(agent, ".onnx")  # which compares their actions
        assert data == export_policy(agent, ".onnx")
        assert METADATA.encode() in data


def test_a_file_that_acts_otherwise_is_refused(
    rooms: ArmFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed("onnxruntime", "onnx")
    from grownn_hpo.acting import onnx_file

    true = onnx_file._linear

    def wrong(graph: Any, weight: torch.Tensor, bias: torch.Tensor, value: str) -> str:
        return true(graph, -weight, bias, value)

    monkeypatch.setattr(onnx_file, "_linear", wrong)
    with pytest.raises(GrowNNError, match=r"acts otherwise than the agent on \d+ of 256 stored observations"):
        export(rooms.root, tmp_path / "policy.onnx", None, 0, tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_exporting_leaves_the_agent_as_it_is(rooms: ArmFolder) -> None:
    needed("onnxruntime", "onnx")
    agent = load_agent(rooms, 1, 2, 0)
    before, _ = ppo.agent_state(agent.agent)
    export_policy(agent, ".onnx")
    after, _ = ppo.agent_state(agent.agent)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.requires_grad for parameter in agent.network.parameters())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("policy.pt", r"must end in .onnx or .pt2 \(TorchScript, .pt, is deprecated"),
        ("policy", "'no suffix': the file's name must end in .onnx or .pt2"),
        ("nowhere/policy.pt2", "there is no folder"),
    ],
)
def test_files_that_cannot_be(rooms: ArmFolder, tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        export(rooms.root, tmp_path / name, None, None, tmp_path)
