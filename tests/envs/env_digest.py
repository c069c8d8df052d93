"""A hash of everything that an environment's first steps under a fixed seed show; run as a program it prints it."""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from grownn_hpo.envs import VectorEnv
from grownn_hpo.envs.episodes import random_actions


def digest(env: str, steps: int, seed: int = 7) -> str:
    sha = hashlib.sha256()
    with VectorEnv(env, {}, 2, seed) as vector:
        act = random_actions(vector, np.random.default_rng(3))
        observations = vector.reset()
        ended = 0
        for _ in range(steps):
            sha.update(observations.tobytes())
            step = vector.step(act(observations))
            for shown in (step.rewards, step.terminated, step.truncated, *step.final_observations.values()):
                sha.update(shown.tobytes())
            sha.update(repr(step.episodes).encode())
            ended += len(step.episodes)
            observations = step.observations
    assert ended >= 2, "a digest that saw no second episode says nothing of seeding"
    return sha.hexdigest()


if __name__ == "__main__":
    print(digest(sys.argv[1], int(sys.argv[2])))
