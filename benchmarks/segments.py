"""Our training against Stable-Baselines3's PPO and against its own limits.

Every training is a process of its own with one torch thread on the core that all are pinned to. They take turns, a
rollout with its update each: ours, its limits (the environments alone under the same actions, the matrix products
alone), theirs, ours, ... What counts is the CPU time of each (on a GPU: time on the wall). The first rollout of a
training warms up. Medians are of rollouts, ratios of pairs that took turns; how cost grows is told from each training's
cheapest rollouts. Prints a table and, last, one JSON object: case -> ratio (null where the figure is a growth), ours,
theirs, unit.

    python -m benchmarks.segments [CASE ...] [--full] [--pairs N] [--device cpu|cuda] [--write FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from benchmarks.cases import ENV_CASES, LONG, TARGETS, Group, Size, groups
from benchmarks.figures import (
    Figure,
    Rollout,
    against_env,
    compared,
    cost,
    depth_growth,
    markdown,
    of_limits,
    over_a_segment,
    plain,
    table,
)

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = "benchmarks/results"
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
VERSIONS = ("torch", "stable-baselines3", "gymnasium", "mujoco", "nle", "minihack", "numpy")
TIMES = {"cpu": "computing on one core with one torch thread", "cuda": "wall time, both training on the GPU"}
NOTE = (
    "Ours, theirs: env steps per second of {time}; theirs is Stable-Baselines3's PPO with"
    " the same network and hyperparameters on the stock environments. Ratio: the median over pairs of rollouts, with"
    " their updates, that took turns. Rollouts are shorter than the studies' 10,240 env steps, with as many minibatches"
    " per env step. Of env alone: what our environments take for the same actions, as a part of what training takes;"
    " with products: and the network's matrix products alone."
)


class Child:
    """A training in a process of its own, which runs when it has the turn."""

    def __init__(self, **job: Any) -> None:
        command = [sys.executable, "-m", "benchmarks.trainings", json.dumps(job)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | ONE_THREAD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._job = job

    def ready(self) -> None:
        """Wait until everything is built."""
        self._answer()

    def turn(self, actions: Path) -> Rollout:
        """One rollout and its update."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"actions": str(actions)}) + "\n")
        self._process.stdin.flush()
        return Rollout(**json.loads(self._answer()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise SystemExit(f"the benchmark's child {self._job} ended with code {code}: its message stands above")
        return line


@dataclasses.dataclass
class Taken:
    """The counted rollouts of a group, by who took them: "ours", "limits", and the readings of theirs."""

    group: Group
    rollouts: dict[str, list[Rollout]]

    @property
    def ours(self) -> list[Rollout]:
        return self.rollouts["ours"]

    @property
    def limits(self) -> list[Rollout]:
        return self.rollouts["limits"]

    def theirs(self, reading: str | None) -> list[Rollout]:
        return self.rollouts[f"theirs {reading}"]


def take(group: Group, pairs: int, device: str, core: int) -> Taken:
    """Train all of the group's in turns."""
    sizes: dict[str, Size] = {"ours": group.ours, "limits": group.ours}
    sizes |= {f"theirs {reading}": group.theirs(reading) for reading in group.readings}
    jobs: dict[str, dict[str, Any]] = {"ours": {"side": "ours"}, "limits": {"side": "limits"}}
    jobs |= {f"theirs {reading}": {"side": "theirs", "reading": reading} for reading in group.readings}
    taken: dict[str, list[Rollout]] = {name: [] for name in jobs}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        actions = Path(folder) / "actions.npy"
        common = {"setting": dataclasses.asdict(group.setting), "device": device, "core": core}
        children = {
            name: running.enter_context(Child(**job, **common, n_steps=sizes[name].n_steps, batch=sizes[name].batch))
            for name, job in jobs.items()
        }
        for child in children.values():
            child.ready()
        for number in range(1 + pairs):
            for name, child in children.items():
                if number or sizes[name].warm_up:
                    rollout = child.turn(actions)
                    if number:
                        taken[name].append(rollout)
            for mine, limit in zip(taken["ours"], taken["limits"], strict=True):
                if mine.rewards != limit.rewards:  # the same actions in the same episodes, or no limit
                    rewards = f"{limit.rewards!r} instead of {mine.rewards!r}"
                    raise SystemExit(f"{group.setting.name}: the same actions earned {rewards}: a defect")
    return Taken(group, taken)


def figures_of(taken: Taken) -> list[Figure]:
    """A figure for each of the group's cases."""
    figures = []
    of_env, of_both = (f"{100 * statistics.median(parts):.0f}%" for parts in of_limits(taken.ours, taken.limits))
    limits = {"ours of env alone": of_env, "with products": of_both}
    for reading, name in taken.group.cases.items():
        figure = compared(name, TARGETS.get(name, 1.0), taken.ours, taken.theirs(reading))
        figures.append(dataclasses.replace(figure, notes=figure.notes | limits))
    beside_env = f"{taken.group.setting.name}-of-env"
    if beside_env in TARGETS:
        figures.append(against_env(beside_env, TARGETS[beside_env], taken.ours, taken.limits))
    return figures


def growths_with_depth(everything: Sequence[Taken]) -> list[Figure]:
    """Of each task and batch that was trained at all three depths; of a map, by lookup."""
    costs: dict[str, dict[int, tuple[float, float]]] = {}
    for taken in everything:
        setting = taken.group.setting
        if setting.task != "cartpole":
            by_depth = costs.setdefault(f"{setting.task}-b{setting.batch}-depth", {})
            by_depth[setting.depth] = cost(taken.ours), cost(taken.theirs(taken.group.readings[0]))
    return [depth_growth(name, by_depth) for name, by_depth in costs.items() if len(by_depth) == 3]


def environments(names: Sequence[str], pairs: int, core: int) -> list[Figure]:
    """The environments alone against the stock ones."""
    command = [sys.executable, "-m", "benchmarks.environments", *names, "--pairs", str(pairs), "--core", str(core)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return [Figure(name, **its, target=TARGETS.get(name)) for name, its in found.items()]


def machine(device: str) -> str:
    """The CPU by its name, and the GPU where one is used."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    named = models[0] if models else platform.processor() or platform.machine()
    if device == "cuda":
        import torch  # the parent has no other need of it

        named += f", {torch.cuda.get_device_name()}"
    return named


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="names or parts of names; all of the form if none")
    parser.add_argument("--full", action="store_true", help="the whole grid, and what grows with depth and env steps")
    parser.add_argument("--pairs", type=int, help="of each case with a ratio, instead of its own number")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where both train")
    into = f"the table too: into FILE, or one in {WRITTEN} named by the machine"
    parser.add_argument("--write", type=Path, nargs="?", const=Path(), metavar="FILE", help=into)
    return parser.parse_args()


def measured(asked: argparse.Namespace, core: int, everything: list[Taken]) -> Iterator[list[Figure]]:
    """The figures of one group after another; what was taken for them goes to `everything`."""

    def wanted(*names: str) -> bool:
        return not asked.cases or any(part in name for part in asked.cases for name in names)

    def taken(group: Group, pairs: int) -> Taken:
        everything.append(take(group, pairs, asked.device, core))
        return everything[-1]

    for group in groups(asked.full):
        if wanted(*group.cases.values()):
            yield figures_of(taken(group, asked.pairs or group.pairs))
    names = [name for name in ENV_CASES if wanted(name) and (asked.full or name in TARGETS)]
    if names and asked.device == "cpu":
        yield environments(names, asked.pairs or 5, core)
    yield growths_with_depth(everything)
    for group in LONG if asked.full else ():
        if wanted(name := f"{group.setting.task}-segment"):
            its = taken(group, group.pairs)
            yield over_a_segment(name, its.ours, its.theirs(group.readings[0]))


def main() -> None:
    asked, began, core = arguments(), time.monotonic(), max(os.sched_getaffinity(0))
    where = machine(asked.device)
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    about = f"{where}; Python {platform.python_version()}, {versions}"
    print(f"{about}\nload {os.getloadavg()[0]:.2f}; core {core}; device {asked.device}\n", flush=True)
    figures: list[Figure] = []
    everything: list[Taken] = []
    for found in measured(asked, core, everything):
        figures += found
        for f in found:
            print(f"{time.monotonic() - began:5.0f} s  {f.name}: {f.ours:.5g} against {f.theirs:.5g}", flush=True)
    if not figures:
        raise SystemExit(f"{' '.join(asked.cases)}: no case has such a name; --full has more of them")

    rollouts = [r for taken in everything for its in taken.rollouts.values() for r in its]
    note = NOTE.format(time=TIMES[asked.device])
    if rollouts:
        busy = sum(r.seconds for r in rollouts) / sum(r.wall_seconds for r in rollouts)
        note += f" The core was the benchmark's own for {100 * busy:.0f}% of the time."
    rows = table(figures)
    print(f"\n{plain(rows)}\n\n{note}")
    if asked.write is not None:
        named = "-".join(re.findall(r"[a-z0-9]+", where.lower()))
        file = asked.write if asked.write.name else ROOT / WRITTEN / f"{named}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{about}.\n\n{markdown(rows)}\n\n{note}\n")
    print(json.dumps({figure.name: figure.record for figure in figures}))


if __name__ == "__main__":
    main()
