from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_studies import ROOMS_CONFIGURATION, rooms_arm, trained

from grownn_hpo import ppo
from grownn_hpo.acting.choosing import choose
from grownn_hpo.acting.trained import TrainedAgent, load_agent
from grownn_hpo.errors import InputError
from grownn_hpo.report.incumbent_file import export_incumbent
from grownn_hpo.store.attempts import committed
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment


@pytest.fixture(scope="module")
def room(rooms: ArmFolder) -> TrainedAgent:
    return load_agent(rooms, 1, 3, 0)


@pytest.fixture(scope="module")
def balancer(pendulum: ArmFolder) -> TrainedAgent:
    return load_agent(pendulum, 1, 1, 0)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("rung", [1, 3])
def test_the_last_evaluation_plays_again_as_in_the_ledger(rooms: ArmFolder, rung: int, seed: int) -> None:
    agent = load_agent(rooms, 1, rung, seed)
    assert agent.network.depth == rung
    assert agent.rounds == 2
    again = agent.replay()
    assert len(again.returns) == 4
    assert again.mean_return == agent.result.mean_return
    assert again.success_rate == agent.result.success_rate


def test_continuous_actions_play_again_to_the_last_bit(balancer: TrainedAgent) -> None:
    assert balancer.replay().mean_return == balancer.result.mean_return
    assert balancer.play(3, seed=1) == balancer.play(3, seed=1) != balancer.play(3, seed=2)


def test_actions_are_those_of_training(room: TrainedAgent, balancer: TrainedAgent) -> None:
    maps = room.agent.probe
    assert np.array_equal(room.act(maps), ppo.policy(room.agent, len(maps))(maps))
    assert room.act(maps).dtype == np.int64
    assert room.act(maps[0]).shape == ()
    assert room.act({"chars": maps[0], "blstats": np.zeros(27)}) == room.act(maps[:1])[0]
    assert room.action_names == (
        *("north", "east", "south", "west"),
        *("north-east", "south-east", "south-west", "north-west"),
    )
    seen = balancer.agent.probe.astype(np.float64)  # as MuJoCo gives them
    means = ppo.policy(balancer.agent, len(seen))(balancer.agent.probe)
    np.testing.assert_allclose(balancer.act(seen), np.clip(means, -3, 3), rtol=1e-5, atol=1e-6)
    assert balancer.act(seen[0]).shape == (1,)
    far = balancer.act(1e6 * np.ones(4), deterministic=False, generator=torch.Generator().manual_seed(0))
    assert -3 <= far[0] <= 3


def test_drawn_actions_are_a_function_of_the_generator(balancer: TrainedAgent) -> None:
    seen = balancer.agent.probe
    one, same, other = (
        balancer.act(seen, deterministic=False, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert np.abs(one - balancer.act(seen)).mean() > 0.1  # the initial deviation is 1


@pytest.mark.parametrize(
    ("observations", "said"),
    [
        (np.zeros((3, 5)), r"shape \[3, 5\]: must be one observation of shape \[4\], or a batch \[B, 4\]"),
        (np.zeros((0, 4)), r"shape \[0, 4\]"),
        (np.zeros(3), r"shape \[3\]"),
        ([0, 0, float("nan"), 0], "must be finite numbers"),
        (["left"] * 4, "must be finite numbers"),
        ({"state": np.zeros(4)}, "a mapping of state: must hold `chars`"),
    ],
)
def test_observations_of_another_kind_are_refused(balancer: TrainedAgent, observations: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        balancer.act(observations)


def test_a_map_has_its_own_shape(room: TrainedAgent) -> None:
    with pytest.raises(InputError, match=r"shape \[1659\]: must be one observation of shape \[21, 79\]"):
        room.act(np.zeros(21 * 79, np.uint8))


@pytest.fixture
def copy(rooms: ArmFolder, tmp_path: Path) -> ArmFolder:
    return ArmFolder(Path(shutil.copytree(rooms.root, tmp_path / "demo" / "grown-3")))


def attempt_of(folder: ArmFolder, segment: Segment) -> Path:
    found = committed(folder, segment)
    assert found is not None
    return found.folder


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "deleted": (lambda attempt: (attempt / "checkpoint.safetensors").unlink(), r"was deleted \(grownn clean\)"),
    "damaged": (lambda attempt: damage(attempt / "checkpoint.safetensors"), "is damaged: its SHA-256"),
    "unfinished": (lambda attempt: (attempt / "result.json").unlink(), "has not finished, so there is no agent yet"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_is_not_there_is_said(copy: ArmFolder, how: str) -> None:
    spoil, said = SPOILT[how]
    spoil(attempt_of(copy, Segment(1, 2, 1)))
    with pytest.raises(InputError, match=f"c0001/s1/r2: .*{said}"):
        load_agent(copy, 1, 2, 1)
    assert load_agent(copy, 1, 2, 0).segment == Segment(1, 2, 0)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ((2, 1, 0), "config = 2: is no configuration of this arm; those suggested so far are 1 to 1"),
        ((1, 4, 0), "rung = 4: must be one of the arm's, 1 to 3"),
        ((1, 1, 7), "seed = 7: must be one of the study's, 0, 1"),
    ],
)
def test_a_key_of_no_segment_is_refused(rooms: ArmFolder, key: tuple[int, int, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_agent(rooms, *key)


def test_an_incumbent_file_finds_its_checkpoints_by_their_hashes(rooms: ArmFolder, tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    path.write_text(export_incumbent(rooms))
    results = rooms.root.parents[1]
    chosen = choose(path, results)
    assert (chosen.folder.root, chosen.config, chosen.rung) == (rooms.root, 1, 3)
    assert chosen.agent(1).result == load_agent(rooms, 1, 3, 1).result
    returns = chosen.returns()
    assert chosen.agent(None).segment.seed == max(returns, key=returns.__getitem__)
    assert choose(rooms.root.parent, Path("nowhere")) == choose(rooms.root, Path("nowhere"))
    # Beside the study's folder, as `make demo` puts it.
    beside = rooms.root.parent / "incumbent.yaml"
    beside.write_text(path.read_text())
    try:
        assert choose(beside, Path("nowhere")).folder.root == rooms.root.absolute()
    finally:
        beside.unlink()


def test_checkpoints_of_another_study_are_not_taken(rooms: ArmFolder, tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    path.write_text(export_incumbent(rooms))
    other = rooms_arm().model_copy(update={"seed": 1})
    trained(tmp_path / "results", other, ROOMS_CONFIGURATION, 1)
    with pytest.raises(InputError, match=r"best.yaml: the checkpoints that it names are in none of .*demo/grown-3"):
        choose(path, tmp_path / "results")
    with pytest.raises(InputError, match="nowhere/demo"):
        choose(path, tmp_path / "nowhere")
