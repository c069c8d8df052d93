"""An arm of 1,000 finished segments: how long opening, tabulating and resuming it take, as whole commands; and a report
of it beside a static arm of 250.

Prints a line per command (median and range of 5 runs, seconds) and, last, one JSON object.
"""

from __future__ import annotations

import json
import math
import random
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
from grownn_hpo.store.commit import write_file
from grownn_hpo.store.paths import CHECKPOINT, CURVE, ArmFolder
from grownn_hpo.trial import Segment, SegmentResult, Status, outcomes_of

RUNS = 5


def fill(folder: ArmFolder) -> int:
    """The paper's ladder (200 trials, or 50 of one rung, with five seeds), every segment committed; how many."""
    arm = next(a for a in load_study("room-random-10x10").arms if a.name == folder.root.name)
    create_arm(folder, arm, environment())
    rng = random.Random(0)
    ladder, held, configurations = Ladder.of(arm), {}, {}
    results: dict[Segment, SegmentResult] = {}
    while not (now := plan(ladder, held, outcomes_of(results, arm.seeds))).complete:
        if now.suggest is not None:
            first, count = ladder.first_config(now.suggest), ladder.configurations[0]
            drawn = tuple(
                {
                    "batch_size": rng.choice([32, 64, 128, 256]),
                    "ent_coef": rng.uniform(0, 0.3),
                    "learning_rate": 10 ** rng.uniform(-4, -2),
                    "n_epochs": rng.randint(5, 20),
                }
                for _ in range(count)
            )
            configurations |= dict(enumerate(drawn, first))
            write_bracket(folder, Bracket(now.suggest, drawn, "0" * 64))
            held[now.suggest] = count
        for trial in now.needed:
            for seed in arm.seeds:
                segment = Segment(trial.config, trial.rung, seed)
                values, rung = configurations[trial.config], arm.rungs[trial.rung - 1]
                fit = math.exp(-abs(math.log10(values["learning_rate"]) + 3)) * (1 - values["ent_coef"])
                attempt, start = claim_attempt(folder, segment), arm.env_steps_before(trial.rung)
                rows = ["env_steps,mean_return,std_return,mean_length,success_rate,episodes"]
                for k in range(1, arm.evaluation.rounds + 1):
                    at = start + rung.env_steps * k // arm.evaluation.rounds
                    rate = min(1.0, max(0.0, fit * at / arm.env_steps + rng.gauss(0, 0.04)))
                    rows.append(f"{at},{2 * rate - 1!r},0.3,100.0,{rate!r},10")
                (attempt / CURVE).write_text("\n".join([*rows, ""]))
                grown = 0.0 if trial.rung > 1 else None
                results[segment] = SegmentResult(
                    *(segment, Status.COMPLETED, 2 * rate - 1, rate, start + rung.env_steps, rung.depth, grown),
                    *("1" * 64, write_file(attempt / CHECKPOINT, str(segment).encode())),
                )
                measured = Measured(60.0, 50.0, 9.0, 0.4, "here", rung.env_steps)
                commit_result(attempt, results[segment], measured)
    return len(results)


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = ArmFolder(Path(root) / "results" / "room-random-10x10" / "grown-4")
        segments = fill(folder)
        fill(ArmFolder(folder.root.with_name("static-4")))
        figures: dict[str, dict[str, float]] = {}
        for name, what in (
            ("resume", folder.root),
            ("table", folder.root),
            ("status", folder.root),
            ("report", folder.root.parent),
        ):
            took = []
            for _ in range(RUNS + 1):
                began = time.perf_counter()
                command = [sys.executable, "-m", "grownn_hpo", name, str(what)]
                subprocess.run(command, check=True, capture_output=True)
                took.append(time.perf_counter() - began)
            counted = took[1:]  # the first resume also builds the database
            figures[name] = {"median": statistics.median(counted), "first": took[0]}
            low, high = min(counted), max(counted)
            print(f"grownn {name}: {statistics.median(counted):.2f} s ({low:.2f} to {high:.2f}), first {took[0]:.2f} s")
        print(json.dumps({"segments": segments, "seconds": figures}))


if __name__ == "__main__":
    main()
