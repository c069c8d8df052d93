"""`grownn evaluate`: an incumbent's arm of its own, driven like any other, and what came of it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from grownn_hpo.cli.driving import drive_arms
from grownn_hpo.driver.arms import check_arms, open_evaluation, open_path
from grownn_hpo.driver.site import Site
from grownn_hpo.envs import random_policy
from grownn_hpo.errors import InputError
from grownn_hpo.report.evaluation import RandomPolicy, SeedScore
from grownn_hpo.report.evaluation import evaluate as evaluation_of
from grownn_hpo.report.incumbent_file import read_incumbent
from grownn_hpo.report.read import keep_evaluation
from grownn_hpo.spec.study import Study
from grownn_hpo.store.known import read_known
from grownn_hpo.trial import Segment

RANDOM_EPISODES = 100


def evaluate(path: Path, seeds: str, site: Site, results: Path, as_json: bool) -> None:
    """Retrain the incumbent in the file at `path` on fresh seeds, and print how it does."""
    incumbent = read_incumbent(path)
    fresh = parse_seeds(seeds)
    check_arms(Study(str(path), (incumbent.arm,)), [incumbent.arm])
    site.check([incumbent.arm], str(path), results / incumbent.arm.study)
    opened = open_evaluation(incumbent, fresh, results)
    open_path(opened.folder.root)
    arm = opened.arm
    print(
        f"retraining configuration {incumbent.config} of {arm.study}/{arm.name} on {len(fresh)} fresh seeds,"
        f" as c0001 in {opened.folder.root}",
        file=sys.stderr,
    )
    drive_arms([opened], site, opened.folder.root, summary=False)
    last = len(arm.rungs)
    found = read_known(opened.folder).ledger.results
    scores = [
        SeedScore(seed, result.mean_return, result.success_rate) if result else SeedScore(seed, None)
        for seed, result in ((seed, found.get(Segment(1, last, seed))) for seed in fresh)
    ]
    chance = random_policy(arm.env_of(last), arm.task.kwargs, RANDOM_EPISODES, arm.seed)
    random = RandomPolicy(chance.mean_return, chance.success_rate, RANDOM_EPISODES)
    told = evaluation_of(arm.name, incumbent.config, arm.env_steps, scores, incumbent.promise, random)
    keep_evaluation(opened.folder, told)
    if as_json:
        print(json.dumps(told.to_json()))
    else:
        print("\n".join(told.describe()))
    if incumbent.rung < last:
        print(f"(the search saw it only up to rung {incumbent.rung} of {last}: the gap compares unequal training)")
    print(f"Next: grownn report {results / arm.study / arm.name}", file=sys.stderr)


def parse_seeds(text: str) -> tuple[int, ...]:
    """`100-109` or `100,103,107`, or both, as the seeds they name."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part, re.ASCII)
        if match is None:
            raise InputError(f"--seeds {text}: {part!r} must be a seed or a range of seeds, as in 100-109 or 100,103")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= 1000:
            raise InputError(f"--seeds {text}: {part!r} must rise, and name at most 1,000 seeds")
        seeds += range(first, last + 1)
    if len(set(seeds)) != len(seeds):
        raise InputError(f"--seeds {text}: a seed may stand here only once")
    return tuple(seeds)
