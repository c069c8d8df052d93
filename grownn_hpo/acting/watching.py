"""Watching an agent: one episode of its last evaluation, moment by moment, exactly as it was evaluated.

The whole evaluation is played once more, all its environments side by side as then: in batches of other sizes the last
bits of a network's outputs are others, and in MuJoCo that soon is another episode. One of the episodes is told of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from grownn_hpo.acting.trained import TrainedAgent
from grownn_hpo.envs import Episodes
from grownn_hpo.envs.interface import Drawable, Single, Transition
from grownn_hpo.envs.opening import open_env
from grownn_hpo.errors import Fault, InputError


class Ending(StrEnum):
    """How an episode ended."""

    SUCCESS = "goal reached"
    FAILURE = "ended without success"
    TIME_LIMIT = "time limit"
    TERMINATED = "ended"


@dataclass(frozen=True, slots=True)
class Moment:
    """Where an episode stands after `step` env steps, 0 at its start.

    `observation` is the last real one (NetHack's screen is empty once a game is over). `action` is what led here, by
    its name; None at the start and for continuous actions. `total` is the return so far, `picture` uint8
    [height, width, 3] where one was asked for and this moment is one of those that are drawn.
    """

    step: int
    observation: NDArray[Any]
    action: str | None
    reward: float
    total: float
    ending: Ending | None
    picture: NDArray[np.uint8] | None


def watch(
    trained: TrainedAgent, number: int, tell: Callable[[Moment], None], pictures_per_second: float | None = None
) -> Episodes:
    """Play the agent's last evaluation once more, and tell every moment of episode `number`, counted from 0.

    Returns the evaluation's episodes. With `pictures_per_second` only moments that have a picture are told: the first,
    the last, and as many between as there are at that pace, or a slower one (see `pace`). Raises InputError for a
    number that the evaluation has not, GrowNNError where pictures cannot be drawn.
    """
    last = trained.arm.evaluation.episodes
    if not 0 <= number < last:
        raise InputError(Fault("", "episode", number + 1, f"the agent's evaluation had {last} episodes, 1 to {last}"))
    pictures = pictures_per_second is not None
    stride = 1 if pictures_per_second is None else _stride(trained, pictures_per_second)

    def opener(env: str, kwargs: Mapping[str, Any]) -> Single:
        return _Watched(open_env(env, kwargs, pictures), number, tell, stride, pictures)

    return trained.replay(opener)


def pace(trained: TrainedAgent, most: float) -> float:
    """How many of the pictures that `watch` makes, asked for `most`, are a second at the environment's own speed."""
    return _speed(trained) / _stride(trained, most)


def _stride(trained: TrainedAgent, most: float) -> int:
    """How many env steps there are from picture to picture."""
    return math.ceil(_speed(trained) / most)


def _speed(trained: TrainedAgent) -> float:
    return trained.steps_per_second or 1.0  # a map has no speed of its own


class _Watched:
    """An environment that tells of one episode, known by the last of the numbers that its seeds are made of."""

    def __init__(
        self, single: Single, number: int, tell: Callable[[Moment], None], stride: int, pictures: bool
    ) -> None:
        self.spaces, self.action_names = single.spaces, single.action_names
        self._single, self._number, self._tell, self._stride = single, number, tell, stride
        self._drawable = single if pictures and isinstance(single, Drawable) else None
        self._watching = False
        self._step, self._total = 0, 0.0
        self._seen: NDArray[Any]

    def reset(self, seeds: SeedSequence) -> NDArray[Any]:
        observation = self._single.reset(seeds)
        self._watching = seeds.spawn_key[-1] == self._number
        if self._watching:
            self._step, self._total, self._seen = 0, 0.0, observation.copy()
            self._told(None, 0.0, None)
        return observation

    def step(self, action: NDArray[Any]) -> Transition:
        transition = self._single.step(action)
        if self._watching:
            ending = _ending(transition)
            self._step += 1
            self._total += transition.reward
            if ending is None or transition.observation.any():
                self._seen = transition.observation.copy()
            self._told(self.action_names[int(action)] if self.action_names else None, transition.reward, ending)
            self._watching = ending is None
        return transition

    def close(self) -> None:
        self._single.close()

    def _told(self, action: str | None, reward: float, ending: Ending | None) -> None:
        picture = None
        if self._drawable is not None:
            if self._step % self._stride and ending is None:
                return
            picture = self._drawable.picture()
        self._tell(Moment(self._step, self._seen, action, reward, self._total, ending, picture))


def _ending(transition: Transition) -> Ending | None:
    if not (transition.terminated or transition.truncated):
        return None
    if transition.success is not None:
        return Ending.SUCCESS if transition.success else Ending.FAILURE
    return Ending.TIME_LIMIT if transition.truncated else Ending.TERMINATED
