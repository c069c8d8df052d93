"""The answer in two sentences, and the table behind it: pure functions of the questions that the arms answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grownn_hpo.report import wording
from grownn_hpo.report.comparison import (
    SIGNIFICANT,
    Basis,
    Contender,
    Pair,
    Question,
    Verdict,
    decisive_pair,
    grows,
    score,
)
from grownn_hpo.report.incumbent import standings
from grownn_hpo.report.statistics import bootstrap_interval, least_p
from grownn_hpo.report.summary import Table
from grownn_hpo.report.wording import interval, number, signed
from grownn_hpo.trial import Trial

_SAID = {
    Verdict.BETTER: "Growing helps here",
    Verdict.WORSE: "Growing hurts here",
    Verdict.OPEN: "It cannot be told whether growing helps here",
}


def answer(question: Question, incumbents: Mapping[str, Trial | None]) -> str:
    """Does growing help, by how much, how certainly; and which settings to use. Two sentences."""
    pair = decisive_pair(question)
    first = _undecided(question) if pair is None else _decided(pair, question.basis)
    return f"{first} {_settings(question, incumbents)}"


def _decided(pair: Pair, basis: Basis) -> str:
    one, other = pair.one, pair.other
    runs = f"{len(one.scores)} and {len(other.scores)} runs on {basis.value}"
    said = (
        f"{_SAID[pair.verdict]}: after {wording.env_steps(one.env_steps)}, {_told(one)} reaches"
        f" {interval(bootstrap_interval(one.scores))} and {_told(other)}"
        f" {interval(bootstrap_interval(other.scores))}, a difference of {signed(pair.gain)} (interquartile means of"
        f" {runs}, 95% intervals), and a run of {one.label} returns more than one of {other.label} with probability"
        f" {_chance(pair)} (Mann-Whitney, {_p(pair.p)})"
    )
    if pair.verdict is Verdict.OPEN and pair.least_p > SIGNIFICANT:
        needed = next(n for n in range(2, 99) if least_p(n, n) <= SIGNIFICANT)
        said += f"; so few runs could not tell whatever they gave, it takes at least {needed} of each"
    return f"{said}."


def _undecided(question: Question) -> str:
    growing = [label for label, record in question.arms.items() if grows(record)]
    static = [label for label in question.arms if label not in growing]
    if not growing or not static:
        all_told = "no arm grows" if static else "every arm grows"
        return (
            f"Whether growing helps cannot be said from {' and '.join(question.arms)} alone, where {all_told}: it takes"
            " one that grows and one, trained as long, that does not."
        )
    trained = {c.label for c in question.contenders}
    if waiting := [label for label in question.arms if label not in trained]:
        return (
            f"Whether growing helps here cannot be said yet: no configuration of {' and '.join(waiting)} has completed"
            " its last rung."
        )
    return "Whether growing helps here cannot be said: no arm that grows trains as long as one that does not."


def _settings(question: Question, incumbents: Mapping[str, Trial | None]) -> str:
    if question.contenders:
        best = max(question.contenders, key=lambda c: (c.env_steps, score(c)))
        label, trial, lead = best.label, best.trial, "Use"
    else:
        leaders = [(t.rung, label, t) for label in question.arms if (t := incumbents.get(label)) is not None]
        if not leaders:
            return "No trial is complete yet, so that there are no settings to recommend."
        rung, label, trial = max(leaders)
        lead = f"The best so far, at rung {rung} of {len(question.arms[label].arm.rungs)}, is"
    record = question.arms[label]
    chosen = ", ".join(
        f"{name} {number(value) if isinstance(value, float) else value}"
        for name, value in record.configurations.get(trial.config, {}).items()
    )
    rate = standings(record)[trial].success_rate
    solved = f" (success rate {wording.percent(rate)} in the search)" if rate is not None else ""
    return f"{lead} configuration {trial.config} of {label}: {chosen or 'the study file as it is'}{solved}."


def comparisons(found: Sequence[Question]) -> Table:
    """Every two arms that compare: their scores, the difference, the probability of improvement and its test."""
    rows = []
    for question in found:
        for pair in question.pairs():
            rows.append(
                (
                    f"{pair.one.label} over {pair.other.label}",
                    f"{len(pair.one.scores)}, {len(pair.other.scores)}",
                    _chance(pair),
                    _p(pair.p).removeprefix("p = "),
                    signed(pair.gain),
                    interval(bootstrap_interval(pair.one.scores)),
                    interval(bootstrap_interval(pair.other.scores)),
                )
            )
    heading = ("", "runs", "probability of improvement", "p", "difference of IQM", "the first's IQM", "the second's")
    return Table(heading, tuple(rows))


def missing_comparison(question: Question) -> str | None:
    """Why there is nothing to compare, None where there is."""
    if next(question.pairs(), None) is not None:
        return None
    if len(question.arms) < 2:
        return "A single arm: there is nothing to compare it with. Name several arms or studies: grownn report PATH..."
    if len(question.contenders) < 2:
        done = " and ".join(c.label for c in question.contenders) or "no arm"
        return f"So far {done} has an incumbent that trained to the end; a comparison takes two."
    return "The arms train for different lengths, and only runs of equal length compare."


def cautions(found: Sequence[Question]) -> list[str]:
    """What a reader must know of the comparisons."""
    said = []
    for question in found:
        spent = {label: record.env_steps_spent for label, record in question.arms.items()}
        if len(question.contenders) > 1 and max(spent.values()) > 1.1 * min(spent.values()):
            listed = ", ".join(f"{label} {wording.env_steps(n)}" for label, n in spent.items())
            said.append(f"The arms' searches have spent different amounts of training: {listed}.")
        if len({tuple(c.record.arm.seeds) for c in question.contenders}) > 1:
            said.append("The arms' searches averaged over different seeds.")
    return said


def _told(contender: Contender) -> str:
    rungs = contender.record.arm.rungs
    depth = f"{rungs[0].depth} to {rungs[-1].depth}" if contender.grows else f"{rungs[-1].depth}"
    return f"{contender.label} (depth {depth})"


def _chance(pair: Pair) -> str:
    """The probability of improvement; where every run of one beat every run of the other, resampling shows no width."""
    if pair.improvement.value in (0.0, 1.0):
        return f"{pair.improvement.value:.0f}, in all {len(pair.one.scores) * len(pair.other.scores)} pairings"
    return interval(pair.improvement)


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
