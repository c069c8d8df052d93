"""`grownn doctor`: tries what a study needs, for real, and says what to do about what does not work."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from grownn_hpo.dispatch import Job, Returned, open_dispatcher
from grownn_hpo.environment import PACKAGES, environment
from grownn_hpo.envs import random_policy
from grownn_hpo.errors import GrowNNError
from grownn_hpo.search.suggest import Basis, suggest
from grownn_hpo.spec.study import load_study
from grownn_hpo.store.commit import write_file


def doctor() -> None:
    """Run every check and print its verdict; GrowNNError if one failed."""
    console = Console(highlight=False)
    now = environment()
    versions = now["packages"]
    assert isinstance(versions, dict)
    machine = f"{now['cpu']} ({now['cpu_capability']})"
    console.print(f"python {now['python']}, {machine}, kernels {now['kernels']}", soft_wrap=True)
    console.print(", ".join(f"{name} {versions[name]}" for name in PACKAGES), soft_wrap=True)
    failed = 0
    for name, check in CHECKS.items():
        began = time.perf_counter()
        try:
            said = check()
        except Exception as error:  # whatever is wrong with this machine is what the doctor is asked for
            failed += 1
            console.print("[red]fails[/red] ", escape(f"{name}: {type(error).__name__}: {error}"), soft_wrap=True)
        else:
            console.print(f"[green]works[/green]  {name}: {said} ({time.perf_counter() - began:.1f} s)", soft_wrap=True)
    if failed:
        raise GrowNNError(
            f"{failed} of {len(CHECKS)} checks failed: install the pinned versions (see README.md) and try again"
        )


def _minihack() -> str:
    episodes = random_policy("MiniHack-Room-Random-5x5-v0", {}, 20, 0)
    return f"a random policy solves {episodes.success_rate:.0%} of 20 rooms"


def _mujoco() -> str:
    return f"a random policy's return on Ant-v4 is {random_policy('Ant-v4', {}, 1, 0).mean_return:.0f}"


def _smac() -> str:
    space = load_study("demo").arms[0].space
    basis = Basis(space, 0, 1, 1, 2, 2, [], [], [1], "lowest")
    return f"suggests {suggest(basis)[0]}"


def _workers() -> str:
    with open_dispatcher(1, inline=False) as dispatcher:
        dispatcher.submit(Job("doctor", "grownn_hpo.cli.examining:torch_version", ""))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for _, ending in dispatcher.wait(1.0):
                if isinstance(ending, Returned):
                    return f"a Dask worker trains with torch {ending.value}"
                raise GrowNNError(str(ending))
    raise GrowNNError("a Dask worker on this machine did not answer within 60 s")


def torch_version(payload: str, beat: Callable[[], None]) -> str:
    """What the doctor's job returns, from a process of its own."""
    import torch

    beat()
    device = f", {torch.cuda.device_count()} GPUs" if torch.cuda.is_available() else ", no GPU"
    return f"{torch.__version__}{device}"


def _disk() -> str:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        began = time.perf_counter()
        write_file(Path(folder) / "probe", b"x" * 2**20)
        return f"a durable write of 1 MiB takes {(time.perf_counter() - began) * 1000:.0f} ms"


CHECKS: dict[str, Callable[[], str]] = {
    "durable files": _disk,
    "MiniHack": _minihack,
    "MuJoCo": _mujoco,
    "SMAC": _smac,
    "workers": _workers,
}
