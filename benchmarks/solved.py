"""Do the bundled settings solve their tasks? Five seeds each, by the real program, by the environments' own end status.

Runs the first trial of each study, which is its search space's default configuration, through `grownn run`, and reads
its ledger. A success is what MiniHack itself calls one, the policy is deterministic, and the last evaluation of a
seed has 100 episodes. Prints a line per study and, last, one JSON object. With --write, the table for the README.

    python -m benchmarks.solved [--study NAME]... [--workers N] [--results DIR] [--write]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grownn_hpo.report.statistics import bootstrap_interval, mean
from grownn_hpo.store.ledger import read_ledger
from grownn_hpo.store.paths import ArmFolder

RESULTS = Path(__file__).parent / "results"
EPISODES = 100


@dataclass(frozen=True, slots=True)
class Aim:
    """A study's arm, and the mean over seeds that its default configuration is to reach."""

    study: str
    arm: str
    key: str
    target: float


AIMS = (
    Aim("room-random-5x5", "static-1", "success_rate", 0.98),
    Aim("room-random-10x10-quick", "static-1", "success_rate", 0.95),
    Aim("ant-quick", "static-1", "mean_return", 3000.0),
)


def solved(aim: Aim, results: Path, workers: int) -> dict[str, Any]:
    settings = ("search.trials=1", f"evaluation.episodes={EPISODES}", "evaluation.rounds=1")
    overlaid = [part for one in settings for part in ("--set", f"arms.{aim.arm}.{one}")]
    run = ("run", aim.study, "--arm", aim.arm, "--results", str(results), "--workers", str(workers), *overlaid)
    subprocess.run([sys.executable, "-m", "grownn_hpo", *run], check=True)
    folder = results / aim.study / aim.arm
    entries = list(read_ledger(ArmFolder(folder)).entries.values())
    assert len(entries) >= 5
    return {
        "values": [float(getattr(entry.result, aim.key)) for entry in entries],
        "env_steps": entries[0].result.env_steps,
        "minutes": float(np.median([entry.seconds for entry in entries])) / 60,
    }


def line(aim: Aim, found: dict[str, Any]) -> str:
    """One study's line of the table, as Markdown."""
    rate = aim.key == "success_rate"
    show = "{:.1%}".format if rate else "{:,.0f}".format
    estimate = bootstrap_interval(found["values"], mean)
    assert estimate.low is not None
    assert estimate.high is not None
    return (
        f"| `{aim.study}` | {found['env_steps']:,} | {'success' if rate else 'return'} |"
        f" {show(estimate.value)} [{show(estimate.low)}, {show(estimate.high)}] |"
        f" {', '.join(show(value) for value in sorted(found['values']))} |"
        f" {show(aim.target)} | {found['minutes']:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--study", action="append", choices=[aim.study for aim in AIMS])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--results", type=Path, default=Path("results/solved"))
    parser.add_argument("--write", action="store_true", help="write solved.md to benchmarks/results")
    arguments = parser.parse_args()
    lines = [
        "| study | env steps | last evaluation | mean over seeds [95%] | each seed | target | minutes a seed |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    told = {}
    for aim in AIMS:
        if arguments.study and aim.study not in arguments.study:
            continue
        found = solved(aim, arguments.results, arguments.workers)
        lines.append(line(aim, found))
        told[aim.study] = {**found, "mean": float(np.mean(found["values"])), "target": aim.target}
        print(lines[-1], flush=True)
    if arguments.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "solved.md").write_text("\n".join(lines) + "\n")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
