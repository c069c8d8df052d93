"""Small real environments for the tests of training: points on a line, and a walk on a map of characters."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from grownn_hpo.ppo import agent_state, new_agent, train
from grownn_hpo.spec import Characters, Continuous, Discrete, Network, PPOSettings, Spaces, Vector


@dataclass
class Episode:
    total: float
    length: int
    success: bool | None


@dataclass
class Step:
    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final_observations: dict[int, np.ndarray] = field(default_factory=dict)
    episodes: tuple[Episode, ...] = ()


class Toy:
    """`n` walks of at most `limit` steps; what a walk looks like is the subclass's."""

    spaces: Spaces

    def __init__(self, n: int, seed: int = 0, limit: int = 12) -> None:
        self.n, self.limit, self.rng = n, limit, np.random.default_rng(seed)
        self.steps = 0

    def reset(self):
        self.age, self.total = np.zeros(self.n, int), np.zeros(self.n)
        self.place = np.array([self.start(i) for i in range(self.n)])
        return self.observe()

    def step(self, actions):
        self.steps += self.n
        self.age += 1
        rewards, terminated = self.move(actions)
        self.total += rewards
        truncated = self.age >= self.limit
        step = Step(self.observe(), rewards, terminated, truncated)
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            step.final_observations = {int(i): step.observations[i].copy() for i in ended}
            step.episodes = tuple(Episode(self.total[i], int(self.age[i]), bool(terminated[i])) for i in ended)
            for i in ended:
                self.place[i], self.age[i], self.total[i] = self.start(i), 0, 0.0
            step.observations = self.observe()
        return step


class Line(Toy):
    """Be near 0 on a line; steps are +-0.5, or any number within 1. Beyond 4 the walk terminates."""

    def __init__(self, n: int, seed: int = 0, limit: int = 12, *, continuous: bool = False) -> None:
        super().__init__(n, seed, limit)
        self.spaces = Spaces(Vector(2), Continuous((-1.0,), (1.0,)) if continuous else Discrete(2))

    def start(self, i):
        return self.rng.uniform(-2, 2)

    def observe(self):
        return np.stack([self.place, np.sign(self.place)], 1).astype(np.float32)

    def move(self, actions):
        moves = actions - 0.5 if actions.ndim == 1 else actions[:, 0].clip(-1, 1)
        self.place = self.place + moves
        return -np.abs(self.place), np.abs(self.place) > 4


class Map(Toy):
    """Walk to the goal, at either end of a corridor of columns 1 to 5; the walls never change."""

    spaces = Spaces(Characters(3, 7), Discrete(2))

    def reset(self):
        self.goal = np.zeros(self.n, int)
        return super().reset()

    def start(self, i):
        self.goal[i] = self.rng.choice([1, 5])
        return self.rng.integers(2, 5)

    def observe(self):
        observations = np.full((self.n, 3, 7), ord("-"), np.uint8)
        observations[:, 1, 1:6] = ord(".")
        observations[np.arange(self.n), 1, self.goal] = ord(">")
        observations[np.arange(self.n), 1, self.place] = ord("@")
        return observations

    def move(self, actions):
        self.place = np.clip(self.place + 2 * actions - 1, 1, 5)
        arrived = self.place == self.goal
        return np.where(arrived, 1.0, -0.05), arrived


SETTINGS = PPOSettings(n_steps=16, batch_size=24, n_epochs=3, learning_rate=3e-3)
KINDS = ("line", "continuous", "map")


def make(kind: str, n: int = 4, seed: int = 0) -> Toy:
    return Map(n, seed) if kind == "map" else Line(n, seed, continuous=kind == "continuous")


def network(kind: str, **changes) -> Network:
    return Network(**{"kind": "minihack-cnn" if kind == "map" else "mlp", "width": 16} | changes)


def settings(kind: str, **changes) -> PPOSettings:
    normalised = {"normalize_observations": kind != "map", "normalize_rewards": True, "initial_log_std": -0.5}
    return SETTINGS.model_copy(update=normalised | changes)


def make_agent(kind: str, depth: int = 1, seed: int = 7, **changes):
    return new_agent(network(kind), depth, make(kind).spaces, settings(kind, **changes), None, seed)


def digest(agent) -> str:
    """SHA-256 over everything the next segment starts from."""
    tensors, counters = agent_state(agent)
    sha = hashlib.sha256(repr(sorted(counters.items())).encode())
    for name in sorted(tensors):
        sha.update(name.encode() + tensors[name].numpy().tobytes())
    return sha.hexdigest()


def trained(kind: str, env_steps: int = 200, agent=None, seed: int = 0):
    """An agent after so many more env steps in fresh environments."""
    agent = agent or make_agent(kind)
    train(
        agent,
        make(kind, seed=seed),
        settings(kind),
        env_steps=env_steps,
        total_env_steps=1000,
        action_seed=seed + 1,
        minibatch_seed=seed + 2,
    )
    return agent
