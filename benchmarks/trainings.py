"""A child process of the benchmark: one training, ours or Stable-Baselines3's, or the limits of it, rollout by rollout.

On its input it takes a line per rollout, and answers with what that rollout (and the update after it) took; in between
it sleeps, so that trainings can be timed in turns on one core. `{"actions": PATH}` names the file where ours leaves the
actions it took, for the environments alone to be stepped by the same ones.

    python -m benchmarks.trainings '{"side": "ours", "setting": {...}, "n_steps": 1024, ...}'
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from benchmarks.cases import ENVS, Setting
from benchmarks.products import forward_products, multiply, update_products
from grownn_hpo import ppo
from grownn_hpo.envs import Step, VectorEnv, describe
from grownn_hpo.spec import Spaces

ENDLESS = 10**9  # env steps: trainings are left when the parent has seen enough
VARYING = 100  # the 10x10 room's own cells, of the map's 1,659


class Clock:
    """Seconds in which this process computed, as a whole and by part; on a GPU, seconds on the wall.

    CPU seconds, since the pinned core may be another's for a while, and a waiting process takes none.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self.parts = {"env": 0.0, "update": 0.0}

    def now(self) -> float:
        if self._device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, with its time added to a part's."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = self.now()
            try:
                return function(*args, **kwargs)
            finally:
                self.parts[part] += self.now() - began

        return timed


class Turns:
    """The conversation with the parent: waits for a rollout's turn, and tells what it took."""

    def __init__(self, clock: Clock, env_steps: int, core: int) -> None:
        self._clock, self._env_steps, self._core = clock, env_steps, core
        self._process = psutil.Process()

    def ready(self) -> None:
        """Everything is built, on whichever core was free; from here on there is one core."""
        os.sched_setaffinity(0, {self._core})
        print("ready", flush=True)

    def wait(self) -> dict[str, Any]:
        """Begin a rollout when told to; ends the process when there are no more."""
        line = sys.stdin.readline()
        if not line:
            sys.stdout.flush()
            os._exit(0)  # nothing here is worth the seconds that environments take to close
        self._wall, self._began = time.perf_counter(), self._clock.now()
        self._clock.parts = dict.fromkeys(self._clock.parts, 0.0)
        told: dict[str, Any] = json.loads(line)
        return told

    def tell(self, **more: Any) -> None:
        """The rollout is over."""
        seconds = self._clock.now() - self._began
        parts = dict(self._clock.parts)
        figures = {
            "env_steps": self._env_steps,
            "seconds": seconds,
            "wall_seconds": time.perf_counter() - self._wall,
            "forward": seconds - sum(parts.values()),
            "memory_mib": self._process.memory_info().rss / 2**20,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,  # Linux counts in KiB
            **parts,
        }
        print(json.dumps(figures | more), flush=True)


class Recorded:
    """Environments that are timed, and that remember what was done to them."""

    def __init__(self, vector: VectorEnv, clock: Clock) -> None:
        self._vector = vector
        self.actions: list[NDArray[Any]] = []
        self.rewards = 0.0
        self._step = clock.around("env", vector.step)
        self.reset = clock.around("env", vector.reset)

    @property
    def n(self) -> int:
        return self._vector.n

    @property
    def spaces(self) -> Spaces:
        return self._vector.spaces

    def step(self, actions: NDArray[Any]) -> Step:
        self.actions.append(actions.copy())
        step: Step = self._step(actions)
        self.rewards += step.rewards.sum()
        return step


def ours(setting: Setting, n_steps: int, batch: int | None, device: str, core: int) -> NoReturn:
    """As `segment.run` trains an agent."""
    settings = setting.settings(n_steps, batch)
    clock = Clock(device)
    turns = Turns(clock, n_steps * ENVS, core)
    # The room's `train` calls it by this name; the package shows a function of the module's own name.
    module = importlib.import_module("grownn_hpo.ppo.train")
    module.update = clock.around("update", module.update)  # type: ignore[attr-defined]
    agent = ppo.new_agent(setting.network, setting.depth, describe(setting.env, {}), settings, None, 0, device)
    with VectorEnv(setting.env, {}, ENVS, 0) as vector:
        environments = Recorded(vector, clock)
        turns.ready()
        told = turns.wait()

        def next_rollout(_: ppo.Progress) -> None:
            nonlocal told
            np.save(told["actions"], np.stack(environments.actions))
            turns.tell(rewards=environments.rewards)
            environments.actions.clear()
            environments.rewards = 0.0
            told = turns.wait()

        ppo.train(
            agent,
            environments,
            settings,
            env_steps=ENDLESS,
            total_env_steps=ENDLESS,
            action_seed=0,
            minibatch_seed=0,
            on_progress=next_rollout,
        )
    raise AssertionError("a training without an end has ended")


def theirs(setting: Setting, n_steps: int, batch: int | None, device: str, core: int, reading: str | None) -> NoReturn:
    """Stable-Baselines3's `learn`."""
    from stable_baselines3.common.callbacks import BaseCallback

    from benchmarks.peer import build_peer

    clock = Clock(device)
    turns = Turns(clock, n_steps * ENVS, core)

    class Gate(BaseCallback):
        """Stands where one rollout's update is done and the next rollout begins."""

        def _on_training_start(self) -> None:
            self.begun = False

        def _on_rollout_start(self) -> None:
            if self.begun:
                turns.tell()
            self.begun = True
            turns.wait()

        def _on_step(self) -> bool:
            return True

    settings = setting.settings(n_steps, batch)
    peer = build_peer(
        setting.env, {}, ENVS, settings, setting.network, setting.depth, 0, one_hot=reading == "onehot", device=device
    )
    environments: Any = peer.env
    environments.unwrapped.step_wait = clock.around("env", environments.unwrapped.step_wait)
    peer.train = clock.around("update", peer.train)  # type: ignore[method-assign]
    turns.ready()
    peer.learn(ENDLESS, Gate())
    raise AssertionError("a training without an end has ended")


def limits(setting: Setting, n_steps: int, batch: int | None, device: str, core: int) -> NoReturn:
    """Our environments alone under the actions that ours took; then, as `update`, all matrix products alone."""
    settings = setting.settings(n_steps, batch)
    clock = Clock(device)
    turns = Turns(clock, n_steps * ENVS, core)
    agent = ppo.new_agent(setting.network, setting.depth, describe(setting.env, {}), settings, None, 0, device)
    # A tenth of a rollout's minibatches tells as much as all.
    minibatches = n_steps * ENVS / settings.batch_size * settings.n_epochs / 10
    with torch.inference_mode(), VectorEnv(setting.env, {}, ENVS, 0) as vector:
        acting = forward_products(agent.network, ENVS, VARYING)
        learning = update_products(agent.network, settings.batch_size, VARYING)
        turns.ready()
        told = turns.wait()
        vector.reset()
        while True:
            rewards = 0.0
            began = clock.now()
            for actions in np.load(told["actions"]):
                rewards += vector.step(actions).rewards.sum()
            clock.parts["env"] = clock.now() - began
            began = clock.now()
            multiply(acting, n_steps)
            acted = clock.now()
            multiply(learning, round(minibatches))
            learned = (clock.now() - acted) * 10 * minibatches / round(minibatches)
            clock.parts["update"] = acted - began + learned
            turns.tell(rewards=rewards)
            told = turns.wait()


def main() -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", r"(?s).*out of date", DeprecationWarning)
    job = json.loads(sys.argv[1])
    setting = Setting(**job["setting"])
    how = setting, job["n_steps"], job["batch"], job["device"], job["core"]
    match job["side"]:
        case "ours":
            ours(*how)
        case "limits":
            limits(*how)
        case "theirs":
            theirs(*how, job["reading"])


if __name__ == "__main__":
    main()
