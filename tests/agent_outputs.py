"""What a checkpoint's agent computes, bit by bit; as a program, in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from grownn_hpo import ppo
from grownn_hpo.envs import describe
from grownn_hpo.spec import Arm
from grownn_hpo.store.checkpoint import read_checkpoint


def outputs(arm: Arm, attempt: Path) -> list[object]:
    """Logits and values for the stored observations, and how many these are."""
    tensors, meta = read_checkpoint(attempt)
    spaces = describe(arm.env_of(1), arm.task.kwargs)
    agent = ppo.restore_agent(tensors, meta["counters"], arm.network, meta["depth"], spaces, arm.ppo)
    logits, values = ppo.outputs(agent, agent.probe)
    return [logits.numpy().tobytes().hex(), values.numpy().tobytes().hex(), len(agent.probe)]


def outputs_elsewhere(arm: Arm, attempt: Path, hash_seed: str) -> list[object]:
    """The same from a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, __file__, arm.model_dump_json(), str(attempt)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[object] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(outputs(Arm.model_validate_json(sys.argv[1]), Path(sys.argv[2]))))
