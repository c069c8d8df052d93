"""CartPole that stops in mid-segment: at its hundredth step, or that of HALTING_STEP, a process tells and may wait.

HALTING names a folder. There the process makes a file `JOB-PID`, of its Slurm job and itself, and goes on once there is
no file `halt`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

STEP = int(os.environ.get("HALTING_STEP", "100"))
steps = 0


class Halting(CartPoleEnv):  # type: ignore[misc]
    def step(self, action: Any) -> Any:
        global steps
        steps += 1
        if steps == STEP and "HALTING" in os.environ:
            folder = Path(os.environ["HALTING"])
            (folder / f"{os.environ.get('SLURM_JOB_ID', 'no')}-{os.getpid()}").touch()
            while (folder / "halt").exists():
                time.sleep(0.02)
        return super().step(action)


gymnasium.register("Halting-v0", entry_point=Halting, max_episode_steps=500)
