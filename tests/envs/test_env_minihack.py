from __future__ import annotations

import importlib
import os
import random
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.random import SeedSequence

from grownn_hpo.envs import VectorEnv, minihack
from grownn_hpo.envs.minihack import ROOMS_10X10, MiniHackEnv
from grownn_hpo.envs.room import read_only
from grownn_hpo.envs.vector import Purpose, episode_seeds

SOUTH_EAST, NORTH = 5, 0  # indices of MiniHack's compass: N E S W NE SE SW NW
COMPASS = {(-1, 0): 0, (0, 1): 1, (1, 0): 2, (0, -1): 3, (-1, 1): 4, (1, 1): 5, (1, -1): 6, (-1, -1): 7}


class Pair:
    """One room twice: a plain `gymnasium.make` with nothing left out and ours, with the same seeds and actions."""

    def __init__(self, env: str, limit: int | None = None) -> None:
        self.plain: Any = gymnasium.make(env, fix_moon_phase=True)
        if limit is not None:
            self.plain.unwrapped._max_episode_steps = limit
        self.ours = MiniHackEnv(env, {} if limit is None else {"max_episode_steps": limit})
        assert self.ours._room is not None
        self.episode = 0
        self.ends: list[str] = []
        self.begin()

    def begin(self) -> None:
        """Begin the next episode, wherever the last one stands."""
        seeds = episode_seeds(3, Purpose.TRAINING, 0, self.episode)
        self.episode += 1
        self.chars = self.ours.reset(seeds)
        core, display = (int(word >> 1) for word in seeds.generate_state(2, np.uint64))
        self.plain.unwrapped.seed(core, display, reseed=False)
        np.testing.assert_array_equal(self.chars, self.plain.reset()[0]["chars"])

    def step(self, action: int) -> None:
        seen = self.ours.step(np.int64(action))
        shown, reward, terminated, truncated, info = self.plain.step(action)
        np.testing.assert_array_equal(seen.observation, shown["chars"])
        assert seen[1:] == (reward, terminated, truncated, info["end_status"].name == "TASK_SUCCESSFUL")
        self.chars = seen.observation
        if terminated or truncated:
            self.ends.append(info["end_status"].name)
            self.begin()

    def close(self) -> None:
        self.ours.close()
        self.plain.close()


@pytest.mark.parametrize(
    "room", ["5x5", "Random-5x5", "Dark-5x5", "Random-10x10", "Monster-10x10", "Trap-15x15", "Ultimate-15x15"]
)
def test_steps_are_the_registered_environments(room: str) -> None:
    """Observations, rewards, ends and what they draw."""
    pair = Pair(f"MiniHack-Room-{room}-v0")
    generator = np.random.default_rng(0)
    for _ in range(2500):
        pair.step(int(generator.integers(8)))
    pair.close()
    assert len(pair.ends) >= 8


@pytest.mark.parametrize("room", ["Random-10x10", "Monster-15x15"])
def test_so_they_are_when_most_steps_lead_to_the_stairs(room: str) -> None:
    """Short episodes, some of them left unfinished, some ended by a monster."""
    pair = Pair(f"MiniHack-Room-{room}-v0")
    generator = np.random.default_rng(1)
    for _ in range(1200):
        pair.step(to_the_stairs(pair.chars) if generator.random() < 0.8 else int(generator.integers(8)))
        if generator.random() < 0.01:
            pair.begin()
    pair.close()
    assert pair.ends.count("TASK_SUCCESSFUL") >= 25
    assert ("DEATH" in pair.ends) == (room == "Monster-15x15")


@pytest.mark.parametrize("steps", [1, 6])
def test_a_time_limit_counts_even_on_the_stairs(steps: int) -> None:
    """The limit wins over the success of the same step, in MiniHack as here: a room solved too late is not solved."""
    pair = Pair("MiniHack-Room-10x10-v0", limit=steps + 8)
    for _ in range(steps - 1):
        pair.step(NORTH)
    for _ in range(9):
        pair.step(SOUTH_EAST)
    pair.close()
    assert pair.ends == ["ABORTED"]


def to_the_stairs(chars: Any) -> int:
    """The direction from the hero to the stairs down in a room without walls; east where one of them is not seen."""
    hero, stairs = np.argwhere(chars == ord("@")), np.argwhere(chars == ord(">"))
    if len(hero) != 1 or len(stairs) != 1:
        return 1
    return COMPASS[tuple(np.sign(stairs[0] - hero[0]).tolist())]


def test_the_descriptions_matter_where_objects_lie() -> None:
    """Why rooms with monsters or traps keep them: without, some episodes take another course. If not, drop the rule."""
    env = "MiniHack-Room-Ultimate-15x15-v0"
    kept, dropped = MiniHackEnv(env, {}), MiniHackEnv(env, {})
    read_only(dropped._game)
    generator = np.random.default_rng(1)
    differ = False
    for episode in range(120):
        seeds = episode_seeds(5, Purpose.TRAINING, 0, episode)
        kept.reset(seeds), dropped.reset(seeds)
        over = False
        while not (over or differ):
            action = generator.integers(8)
            one, other = kept.step(action), dropped.step(action)
            differ = one[1:] != other[1:] or not np.array_equal(one.observation, other.observation)
            over = one.terminated
    kept.close()
    dropped.close()
    assert differ


def data_file(game: Any) -> bytes:
    """What NetHack reads its levels from."""
    return Path(game.nethack._vardir, "nhdat").read_bytes()


def test_a_level_is_compiled_once_and_is_the_registered_environments() -> None:
    rooms = ["MiniHack-Room-Random-10x10-v0", "MiniHack-Room-Trap-5x5-v0"]
    for _ in range(2):
        for room in rooms:
            ours, plain = MiniHackEnv(room, {}), gymnasium.make(room)
            assert data_file(ours._game) == data_file(plain.unwrapped)
            # Where MiniHack compiles: the second time it did not.
            folder = Path(ours._game.nethack._vardir, "lib")
            assert Path(plain.unwrapped.nethack._vardir, "lib").exists()  # type: ignore[attr-defined]
            ours.close()
            plain.close()  # type: ignore[no-untyped-call]
    assert not folder.exists()
    games = [MiniHackEnv(room, {}) for room in rooms]
    assert data_file(games[0]._game) != data_file(games[1]._game)
    for game in games:
        game.close()


def level(env: str) -> tuple[str, Any]:
    """The level's description as the game compiled it, and the game."""
    plain: Any = gymnasium.make(env)
    text = Path(plain.unwrapped.nethack._vardir, "mylevel.des").read_text()
    plain.close()
    return text, plain.unwrapped


def test_10x10_rooms_are_5x5_rooms_but_for_their_size() -> None:
    for room in ROOMS_10X10:
        ours, game = level(room)
        upstream, _ = level(room.replace("10x10", "5x5"))
        assert game._max_episode_steps == 200
        assert "\n" + "." * 10 + "\n" in ours
        rows = "\n".join(["." * 10] * 10)
        small = "\n".join(["." * 5] * 5)
        assert rows in ours
        same = ours.replace(rows, small).replace("(0,0,10,10)", "(0,0,5,5)").replace("(9, 9)", "(4, 4)")
        assert same == upstream


def test_registering_again_changes_nothing() -> None:
    before = {room: gymnasium.registry[room] for room in ROOMS_10X10}
    minihack.register_rooms()
    importlib.reload(minihack)
    assert all(gymnasium.registry[room] is spec for room, spec in before.items())


def walk(env: str, action: int, kwargs: dict[str, Any]) -> Any:
    with VectorEnv(env, kwargs, 1, seed=0) as vector:
        vector.reset()
        while True:
            step = vector.step(np.array([action]))
            if step.episodes:
                return step


def test_the_goal_pays_1_and_a_wall_costs() -> None:
    step = walk("MiniHack-Room-10x10-v0", SOUTH_EAST, {})
    assert step.episodes[0].length == 9
    assert step.episodes[0].total == 1.0
    assert step.episodes[0].success is True
    assert step.terminated.all()
    step = walk("MiniHack-Room-10x10-v0", NORTH, {})
    assert step.episodes[0].length == 200
    assert step.episodes[0].total == pytest.approx(200 * -0.01)
    assert step.episodes[0].success is False
    # A time limit is the game's own end, not a truncation.
    assert step.terminated.all()
    assert not step.truncated.any()


def test_a_time_limit_of_ones_own_is_the_games() -> None:
    step = walk("MiniHack-Room-5x5-v0", NORTH, {"max_episode_steps": 7})
    assert (step.episodes[0].length, step.terminated[0], step.truncated[0]) == (7, True, False)
    assert walk("MiniHack-Room-5x5-v0", NORTH, {"max_episode_steps": 170}).episodes[0].length == 170


def test_pythons_global_generator_neither_matters_nor_moves() -> None:
    """With level seeds MiniHack draws one of them from Python's global generator."""
    kwargs = {"seeds": list(range(50))}

    def maps(noise: int) -> Any:
        random.seed(noise)
        with VectorEnv("MiniHack-Room-Random-5x5-v0", kwargs, 2, seed=4) as vector:
            seen = np.stack([vector.reset() for _ in range(5)])
        drawn = random.random()
        random.seed(noise)
        assert drawn == random.random()
        return seen

    one = maps(1)
    np.testing.assert_array_equal(one, maps(2))
    assert len({m.tobytes() for m in one.reshape(10, -1)}) > 3


def test_an_episode_leaves_nothing_behind() -> None:
    """Alone, or after others in the same game, some of them cut short, it is the same."""
    alone = MiniHackEnv("MiniHack-Room-Ultimate-15x15-v0", {})
    used = MiniHackEnv("MiniHack-Room-Ultimate-15x15-v0", {})
    generator = np.random.default_rng(0)
    for episode in range(12):
        used.reset(episode_seeds(9, Purpose.TRAINING, 1, episode))
        for _ in range(int(generator.integers(1, 60))):
            if used.step(generator.integers(8)).terminated:
                break
    seeds = episode_seeds(9, Purpose.TRAINING, 0, 0)
    np.testing.assert_array_equal(alone.reset(seeds), used.reset(seeds))
    for _ in range(250):
        action = generator.integers(8)
        one, other = alone.step(action), used.step(action)
        np.testing.assert_array_equal(one.observation, other.observation)
        assert one[1:] == other[1:]
        if one.terminated:
            break
    alone.close()
    used.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the memory that a process holds is read from /proc")
def test_ended_episodes_leave_no_memory_behind() -> None:
    """Why games that are over are quit: one left unfinished keeps about 2 KB, as long as the process lives."""
    ours = MiniHackEnv("MiniHack-Room-10x10-v0", {})

    def play(episodes: int) -> None:
        for episode in range(episodes):
            ours.reset(SeedSequence(episode))
            while not ours.step(np.int64(SOUTH_EAST)).terminated:
                pass

    def held_kib() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024

    play(50)
    before = held_kib()
    play(400)
    assert held_kib() - before < 300
    ours.close()


def test_actions_have_names() -> None:
    env = MiniHackEnv("MiniHack-Room-5x5-v0", {"actions": [107, 76, 44, 46, 4, 1]})
    try:
        assert env.action_names == ("north", "far east", "pickup", "wait", "kick", "key 1")
    finally:
        env.close()
