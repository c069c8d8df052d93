"""An arm of 1,000 finished segments: how long opening, tabulating and resuming it take, as whole commands.

Prints a line per command (median and range of 5 runs, seconds) and, last, one JSON object.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from grownn_hpo.environment import environment
from grownn_hpo.search.ladder import Ladder, plan
from grownn_hpo.spec.study import load_study
from grownn_hpo.store.arm import Bracket, create_arm, write_bracket
from grownn_hpo.store.attempts import Measured, claim_attempt, commit_result
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment, SegmentResult, Status, outcomes_of

RUNS = 5


def fill(folder: ArmFolder) -> int:
    """The paper's ladder of 200 trials with five seeds, every segment committed; how many there are."""
    arm = next(a for a in load_study("room-random-10x10").arms if a.name == "grown-4")
    create_arm(folder, arm, environment())
    ladder, held = Ladder.of(arm), {}
    results: dict[Segment, SegmentResult] = {}
    while not (now := plan(ladder, held, outcomes_of(results, arm.seeds))).complete:
        if now.suggest is not None:
            first, count = ladder.first_config(now.suggest), ladder.configurations[0]
            configurations = tuple(
                {"batch_size": 64, "ent_coef": 0.3 / (first + i), "learning_rate": 1e-4 * (first + i), "n_epochs": 5}
                for i in range(count)
            )
            write_bracket(folder, Bracket(now.suggest, configurations, "0" * 64))
            held[now.suggest] = count
        for trial in now.needed:
            for seed in arm.seeds:
                segment = Segment(trial.config, trial.rung, seed)
                grown = 0.0 if trial.rung > 1 else None
                steps = 500_000 * trial.rung
                mean_return = ((trial.config * 37) % 101 + seed / 7) / 100
                results[segment] = SegmentResult(
                    *(segment, Status.COMPLETED, mean_return, 0.5, steps, trial.rung, grown), "1" * 64, "2" * 64
                )
                commit_result(claim_attempt(folder, segment), results[segment], Measured(60.0, 50.0, 9.0, 0.4, "here"))
    return len(results)


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = ArmFolder(Path(root) / "results" / "room-random-10x10" / "grown-4")
        segments = fill(folder)
        figures: dict[str, dict[str, float]] = {}
        for name in ("resume", "table", "status"):
            took = []
            for _ in range(RUNS + 1):
                began = time.perf_counter()
                command = [sys.executable, "-m", "grownn_hpo", name, str(folder.root)]
                subprocess.run(command, check=True, capture_output=True)
                took.append(time.perf_counter() - began)
            counted = took[1:]  # the first resume also builds the database
            figures[name] = {"median": statistics.median(counted), "first": took[0]}
            low, high = min(counted), max(counted)
            print(f"grownn {name}: {statistics.median(counted):.2f} s ({low:.2f} to {high:.2f}), first {took[0]:.2f} s")
        print(json.dumps({"segments": segments, "seconds": figures}))


if __name__ == "__main__":
    main()
