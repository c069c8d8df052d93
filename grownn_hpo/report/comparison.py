"""Which arms can be compared, by which scores, and what follows: does growing help here?

Only arms that end in the same environment answer one question, and only runs of equal length compare.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from grownn_hpo.report.evaluation import FinalEvaluation
from grownn_hpo.report.incumbent import standings
from grownn_hpo.report.record import ArmRecord
from grownn_hpo.report.statistics import (
    Estimate,
    difference_interval,
    interquartile_mean,
    least_p,
    mann_whitney_p,
    probability_of_improvement,
)
from grownn_hpo.trial import Trial

SIGNIFICANT = 0.05


class Basis(Enum):
    """Which runs the scores are of: `FRESH` seeds are those that no search has seen, `SEARCH` those that chose."""

    FRESH = "fresh seeds"
    SEARCH = "the search's own seeds"


@dataclass(frozen=True, slots=True)
class Contender:
    """An arm's incumbent, trained to the end: the mean return of each of its runs at the last evaluation."""

    label: str
    record: ArmRecord
    trial: Trial
    scores: tuple[float, ...]

    @property
    def grows(self) -> bool:
        return grows(self.record)

    @property
    def env_steps(self) -> int:
        return self.record.arm.env_steps


@dataclass(frozen=True, slots=True)
class Question:
    """The arms that end in one environment, by their labels, and those of them that can be compared now."""

    env: str
    arms: Mapping[str, ArmRecord]
    basis: Basis
    contenders: tuple[Contender, ...]

    @property
    def studies(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(record.arm.study for record in self.arms.values()))

    def pairs(self) -> Iterator[Pair]:
        """Every two contenders whose runs are equally long, those that grow first."""
        ordered = sorted(self.contenders, key=lambda c: not c.grows)
        return (compare(a, b) for a, b in itertools.combinations(ordered, 2) if a.env_steps == b.env_steps)


@dataclass(frozen=True, slots=True)
class Pair:
    """One contender against another, run against run.

    `gain`: the difference of their interquartile means; `improvement`: the probability that a run of `one` beats one of
    `other`; `p`: Mann and Whitney's, two-sided; `least_p`: the smallest that so many runs could give.
    """

    one: Contender
    other: Contender
    gain: Estimate
    improvement: Estimate
    p: float
    least_p: float

    @property
    def verdict(self) -> Verdict:
        """Told by the test; an interval from a few seeds is too narrow to tell by."""
        if self.p > SIGNIFICANT:
            return Verdict.OPEN
        return Verdict.BETTER if self.improvement.value > 0.5 else Verdict.WORSE


class Verdict(Enum):
    """What can be said of the first of a pair."""

    BETTER = "better"
    WORSE = "worse"
    OPEN = "open"


def grows(record: ArmRecord) -> bool:
    """Whether the arm's network is larger at the end than at the start."""
    return record.arm.rungs[-1].depth > record.arm.rungs[0].depth


def questions(
    records: Mapping[str, ArmRecord],
    incumbents: Mapping[str, Trial | None],
    evaluations: Mapping[str, FinalEvaluation],
) -> tuple[Question, ...]:
    """The arms by the environment they end in, in the order in which they were given.

    Scores are those of the final evaluations where every arm that has trained to the end has one of its incumbent, with
    at least one seed finished, and else those of the search's own seeds: a mixture would favour what was not evaluated.
    """
    by_env: dict[tuple[str, str], dict[str, ArmRecord]] = {}
    for label, record in records.items():
        kwargs = json.dumps(record.arm.task.kwargs, sort_keys=True)
        by_env.setdefault((record.arm.env_of(len(record.arm.rungs)), kwargs), {})[label] = record
    found = []
    for (env, _), arms in by_env.items():
        leaders = {
            label: trial
            for label, record in arms.items()
            if (trial := incumbents.get(label)) is not None and trial.rung == len(record.arm.rungs)
        }
        fresh = {
            label: scores
            for label, trial in leaders.items()
            if (evaluation := evaluations.get(label)) is not None
            and evaluation.config == trial.config
            and (scores := tuple(s.mean_return for s in evaluation.scores if s.mean_return is not None))
        }
        basis = Basis.FRESH if leaders and fresh.keys() == leaders.keys() else Basis.SEARCH
        scores_of = fresh if basis is Basis.FRESH else {n: standings(arms[n])[t].returns for n, t in leaders.items()}
        contenders = tuple(Contender(label, arms[label], leaders[label], scores_of[label]) for label in leaders)
        found.append(Question(env, arms, basis, contenders))
    return tuple(found)


def compare(one: Contender, other: Contender) -> Pair:
    """The first against the second; the same two give the same figures."""
    return Pair(
        one,
        other,
        difference_interval(one.scores, other.scores, interquartile_mean),
        probability_of_improvement([one.scores], [other.scores]),
        mann_whitney_p(one.scores, other.scores),
        least_p(len(one.scores), len(other.scores)),
    )


def decisive_pair(question: Question) -> Pair | None:
    """The best arm that grows against the best that does not, by interquartile mean; None where one is missing.

    The choice among several of either kind is by these very scores, which flatters both sides.
    """

    def best(growing: bool, env_steps: int) -> Contender | None:
        able = [c for c in question.contenders if c.grows is growing and c.env_steps == env_steps]
        return max(able, key=score, default=None)

    for env_steps in sorted({c.env_steps for c in question.contenders}, reverse=True):
        one, other = best(True, env_steps), best(False, env_steps)
        if one is not None and other is not None:
            return compare(one, other)
    return None


def score(contender: Contender) -> float:
    """The interquartile mean of the contender's runs."""
    return float(interquartile_mean(contender.scores))


def across_questions(found: tuple[Question, ...]) -> tuple[tuple[str, str, int, Estimate], ...]:
    """For every two arms that several questions have under the same names: the probability of improvement over tasks.

    Each is (one arm's name, the other's, tasks, estimate).
    """
    by_names: dict[tuple[str, str], list[Pair]] = {}
    for question in found:
        for pair in question.pairs():
            names = pair.one.record.arm.name, pair.other.record.arm.name
            by_names.setdefault(names, []).append(pair)
    return tuple(
        (*names, len(pairs), probability_of_improvement([p.one.scores for p in pairs], [p.other.scores for p in pairs]))
        for names, pairs in by_names.items()
        if len({pair.one.record.arm.study for pair in pairs}) == len(pairs) > 1
    )
