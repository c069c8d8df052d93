"""`grownn evaluate`: configurations retrained on fresh seeds, in arms of their own that are driven like any other."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from grownn_hpo.cli.driving import drive_arms
from grownn_hpo.cli.output import refuse_output, write_output
from grownn_hpo.driver.arms import OpenArm, check_arms, open_evaluations, open_path
from grownn_hpo.driver.site import Site
from grownn_hpo.envs import random_policy
from grownn_hpo.errors import GrowNNError, InputError
from grownn_hpo.report import wording
from grownn_hpo.report.evaluation import FinalEvaluation, Promise, RandomPolicy, SeedScore
from grownn_hpo.report.evaluation import evaluate as evaluation_of
from grownn_hpo.report.incumbent_file import Incumbent, export_incumbent, leading, read_incumbent
from grownn_hpo.report.read import keep_evaluation, one_arm
from grownn_hpo.report.reranking import Reranking, rerank
from grownn_hpo.report.statistics import Estimate
from grownn_hpo.spec import Arm
from grownn_hpo.spec.study import Study
from grownn_hpo.store.known import read_known
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment

RANDOM_EPISODES = 100


def evaluate(
    path: Path,
    seeds: str,
    site: Site,
    results: Path,
    as_json: bool = False,
    form: Literal["csv", "json"] | None = None,
    top: int | None = None,
    output: Path | None = None,
) -> None:
    """Retrain on fresh seeds the incumbent at `path`, or the arm's `top` best; tell people how they do, and programs.

    `as_json` prints everything, `form` the seeds' scores as a table; `output` is where the new first is written.
    """
    if as_json and form is not None:
        raise InputError(f"--json --format {form}: both go to stdout; choose one")
    if output is not None and top is None:
        raise InputError(f"--output {output}: is for the new first of --top K; an incumbent's file is there already")
    if output is not None:
        refuse_output(output)
    fresh = parse_seeds(seeds)
    incumbents, searched = _incumbents(path, top, results)
    arm = incumbents[0].arm
    check_arms(Study(str(path), (arm,)), [arm])
    site.check([arm], str(path), searched.evaluations)
    opened = open_evaluations(incumbents, fresh, searched)
    for incumbent, each in zip(incumbents, opened, strict=True):
        open_path(each.folder.root)
        _say(
            f"retraining configuration {incumbent.config} of {arm.study}/{arm.name} on"
            f" {wording.count(len(fresh), 'fresh seed')}, as c0001 in {each.folder.root}"
        )
    drive_arms(opened, site, searched.evaluations, summary=False, again="the same command")
    random = _random_policy(arm)
    found = [_sum_up(*pair, random) for pair in zip(incumbents, opened, strict=True)]
    for each, evaluation in zip(opened, found, strict=True):
        keep_evaluation(each.folder, evaluation)
    ranking = None if top is None else rerank(found)
    _tell(found, ranking)
    if as_json:
        print(json.dumps((ranking or found[0]).to_json()))
    elif form is not None:
        _print_scores(found, ranking, form)
    if output is not None and ranking is not None:
        write_output(output, _new_first(ranking, searched))
    _say(f"Next: {_next(fresh, output, searched)}")


def _incumbents(path: Path, top: int | None, results: Path) -> tuple[tuple[Incumbent, ...], ArmFolder]:
    """What is to be evaluated, in the search's order, and the folder of the arm that it belongs to."""
    if path.is_dir():
        folder = one_arm(path)
        if folder.is_evaluation:
            raise InputError(f"{path}: is a final evaluation itself; name the arm's folder, or an incumbent's file")
        found = leading(folder, top or 1)
        if top is not None and len(found) < 2:
            raise InputError(f"--top {top}: only one configuration has completed rung {found[0].rung} of {path}")
        if top is not None and len(found) < top:
            _say(f"only {len(found)} configurations have completed rung {found[0].rung}: these are ranked")
        return found, folder
    if top is not None:
        rule = "an incumbent's file holds one configuration alone; name the arm's folder, results/<study>/<arm>"
        raise InputError(f"--top {top} {path}: {rule}")
    incumbent = read_incumbent(path)
    return (incumbent,), ArmFolder(results / incumbent.arm.study / incumbent.arm.name)


def _sum_up(incumbent: Incumbent, opened: OpenArm, random: RandomPolicy) -> FinalEvaluation:
    arm, promise = opened.arm, incumbent.promise
    results, last = read_known(opened.folder).ledger.results, len(opened.arm.rungs)
    ends = {arm.env_steps_before(rung + 1): rung for rung in range(1, last + 1)}
    # The rung that the promise is of; exports of earlier versions say only how far the search got.
    promised = incumbent.rung if promise.env_steps is None else ends[promise.env_steps]
    if promised == last:
        promise = Promise(promise.mean_return, promise.success_rate, promise.seeds, promise.returns, arm.env_steps)

    def score(seed: int) -> SeedScore:
        end, there = results.get(Segment(1, last, seed)), results.get(Segment(1, promised, seed))
        at_promise = there.mean_return if there is not None and promised < last else None
        if end is None:
            return SeedScore(seed, None, None, at_promise)
        return SeedScore(seed, end.mean_return, end.success_rate, at_promise)

    return evaluation_of(arm.name, incumbent.config, arm.env_steps, [*map(score, arm.seeds)], promise, random)


def _random_policy(arm: Arm) -> RandomPolicy:
    chance = random_policy(arm.env_of(len(arm.rungs)), arm.task.kwargs, RANDOM_EPISODES, arm.seed)
    return RandomPolicy(chance.mean_return, chance.success_rate, RANDOM_EPISODES)


def _tell(found: Sequence[FinalEvaluation], ranking: Reranking | None) -> None:
    if ranking is None:
        _say(*found[0].describe())
        return
    first = found[0]
    _say(
        f"{first.arm}: {len(found)} configurations, each trained for {wording.env_steps(first.env_steps)} on each of"
        f" {wording.count(len(first.scores), 'fresh seed')}"
    )
    Console(stderr=True, highlight=False).print(ranking_table(ranking))
    _say(*ranking.describe())
    if first.random is not None:
        _say(f"a random policy gets {wording.number(first.random.mean_return)}")


def ranking_table(ranking: Reranking) -> Table:
    """The new ranking for a terminal; intervals are 95% bootstrap intervals."""
    success = any(c.evaluation.success_rate is not None for c in ranking.candidates)
    listing = Table(box=None, pad_edge=False, header_style="dim")
    names = ("rank", "search", "config", "return, mean [95%]", "IQM", *(["success"] if success else []), "promised")
    for name in (*names, "gap", "first in"):
        listing.add_column(name, justify="right")
    means = [c.evaluation.mean.value for c in ranking.candidates if c.evaluation.mean is not None]
    for candidate in ranking.candidates:
        e = candidate.evaluation
        failed = f", {len(e.failed)} of {len(e.scores)} failed" if e.failed else ""
        listing.add_row(
            str(candidate.rank),
            str(candidate.search_rank),
            f"c{e.config:04d}",
            (wording.interval(e.mean, alone="one seed") if e.mean else wording.number(None)) + failed,
            wording.number(_value(e.iqm), means),
            *([wording.percent(_value(e.success_rate))] if success else []),
            wording.number(e.promise.mean_return, means),
            wording.number(_value(e.tuning_gap), means),
            wording.percent(candidate.first),
        )
    return listing


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _print_scores(found: Sequence[FinalEvaluation], ranking: Reranking | None, form: Literal["csv", "json"]) -> None:
    """A row per configuration and seed, the best configuration first."""
    evaluations = [c.evaluation for c in ranking.candidates] if ranking else list(found)
    rows = [
        {"config": e.config, "seed": s.seed, "mean_return": s.mean_return, "success_rate": s.success_rate}
        for e in evaluations
        for s in e.scores
    ]
    if form == "json":
        print(json.dumps(rows, indent=1))
        return
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _new_first(ranking: Reranking, searched: ArmFolder) -> str:
    """The winner as an incumbent's file, whose promise is what the fresh seeds gave: it was chosen by these."""
    winner = ranking.winner
    if winner is None or winner.mean is None:
        raise GrowNNError("no configuration finished on all fresh seeds: nothing is written")
    returns = tuple(score.mean_return for score in winner.scores if score.mean_return is not None)
    rate = None if winner.success_rate is None else winner.success_rate.value
    seeds = tuple(score.seed for score in winner.scores)
    return export_incumbent(searched, winner.config, Promise(winner.mean.value, rate, seeds, returns, winner.env_steps))


def _next(fresh: Sequence[int], output: Path | None, searched: ArmFolder) -> str:
    if output is None:
        return f"grownn report {searched.root}"
    others = f"{max(fresh) + 1}-{max(fresh) + len(fresh)}"
    return f"grownn evaluate {output} --seeds {others} (the first of several looks better than it is: ask other seeds)"


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr)


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
