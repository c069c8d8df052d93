"""What is compared: the cases by name, their targets, and how much of each is timed.

Hyperparameters are those of the bundled studies of the paper, with their search space's defaults; CartPole's are
Stable-Baselines3's defaults. Rollouts are shorter than their 2048 steps in 5 environments, with as many minibatches
per env step (the one-hot extractor's have 255 rows for 256, 65 for 64), so that a ratio is that of whole training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from grownn_hpo.spec import Network, PPOSettings, configured
from grownn_hpo.spec.study import load_study

ENVS = 5

TaskName = Literal["room10", "ant", "cartpole"]
Reading = Literal["onehot", "lookup"]

TARGETS = {
    "room10-b256-d1-onehot": 25.0,
    "room10-b256-d1-lookup": 4.0,
    "room10-b64-d1-lookup": 3.0,
    "room10-b256-d8-lookup": 2.5,
    "ant-b256-d1": 2.2,
    "ant-b64-d1": 3.2,
    "ant-b256-d8": 2.5,
    "ant-b256-d1-of-env": 0.8,
    "cartpole": 2.0,
    "room10-env-random": 1.5,
    "room10-env-optimal": 1.25,
}
"""The least ratios; every other training has 1 to Stable-Baselines3's: no case may be slower."""

ENV_CASES = ("room10-env-random", "room10-env-optimal", "ant-env", "cartpole-env")


@dataclass(frozen=True, slots=True)
class Setting:
    """What is trained, whoever trains it. `steady` keeps the policy as it begins, so that no rollout is dearer."""

    task: TaskName
    batch: int
    depth: int
    steady: bool = False

    @property
    def name(self) -> str:
        """Of the case, without how a map is read."""
        return self.task if self.task == "cartpole" else f"{self.task}-b{self.batch}-d{self.depth}"

    @property
    def env(self) -> str:
        return {"room10": "MiniHack-Room-Random-10x10-v0", "ant": "Ant-v4", "cartpole": "CartPole-v1"}[self.task]

    @property
    def network(self) -> Network:
        if self.task == "cartpole":
            return Network(kind="mlp", width=64)
        return load_study(_STUDIES[self.task]).arms[0].network

    def settings(self, n_steps: int, batch: int | None = None) -> PPOSettings:
        """With rollouts of `n_steps`, and minibatches of another size than the case's where given."""
        chosen: dict[str, Any] = {"n_steps": n_steps, "batch_size": batch or self.batch}
        if self.steady:
            chosen["learning_rate"] = 1e-12
        if self.task == "cartpole":
            return configured(PPOSettings(), chosen)
        arm = load_study(_STUDIES[self.task]).arms[0]
        hyperparameters: Any = arm.space["hyperparameters"]
        defaults = {its["name"]: its["default_value"] for its in hyperparameters}
        return configured(arm.ppo, defaults | chosen)


_STUDIES = {"room10": "room-random-10x10", "ant": "ant"}


@dataclass(frozen=True, slots=True)
class Size:
    """Rollouts of `n_steps` in each environment; the first `warm_up` of a training are not counted."""

    n_steps: int
    warm_up: int = 1
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that share one training of ours: against one or two readings of the map, or against the only one."""

    setting: Setting
    readings: tuple[Reading | None, ...]
    pairs: int

    @property
    def cases(self) -> dict[Reading | None, str]:
        return {reading: self.setting.name + (f"-{reading}" if reading else "") for reading in self.readings}

    @property
    def ours(self) -> Size:
        """An eighth to a half of the paper's: what is done once a rollout counts more than it would."""
        if self.setting.task == "room10" and self.setting.depth == 8:
            return Size(256)
        return Size(512 if self.setting.task == "room10" and self.setting.batch == 64 else 1024)

    def theirs(self, reading: Reading | None) -> Size:
        match self.setting.task, reading, self.setting.batch:
            case "room10", "onehot", 256:  # 20 s for one minibatch's transitions; 5 environments make 255
                return Size(51, warm_up=0, batch=255)
            case "room10", "onehot", _:
                return Size(26, warm_up=0, batch=65)
            case "room10", _, batch:
                return Size(256 if batch == 256 else 64)
        return Size(512)


def groups(full: bool) -> list[Group]:
    """All that is trained: in the short form, the cases that have a target."""
    if not full:
        return [
            Group(Setting("room10", 256, 1), ("lookup", "onehot"), 2),  # 20 s for each of the one-hot extractor
            Group(Setting("room10", 64, 1), ("lookup",), 3),
            Group(Setting("room10", 256, 8), ("lookup",), 3),
            *(Group(Setting("ant", batch, depth), (None,), 4) for batch, depth in ((256, 1), (64, 1), (256, 8))),
            Group(Setting("cartpole", 64, 1), (None,), 4),
        ]
    grid = [(batch, depth) for batch in (64, 256) for depth in (1, 4, 8)]
    return [
        *(Group(Setting("room10", batch, depth), ("lookup", "onehot"), 3) for batch, depth in grid),
        *(Group(Setting("ant", batch, depth), (None,), 10) for batch, depth in grid),
        Group(Setting("cartpole", 64, 1), (None,), 10),
    ]


LONG = [
    Group(Setting("room10", 256, 1, steady=True), ("lookup",), 10),
    Group(Setting("ant", 256, 1, steady=True), (None,), 20),
]
"""One training each, for what changes over a segment: the cost of an env step, and memory."""
