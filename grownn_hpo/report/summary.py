"""What the page says in words and tables, as plain text: pure functions of the records."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from grownn_hpo.errors import GrowNNError
from grownn_hpo.report import wording
from grownn_hpo.report.evaluation import FinalEvaluation
from grownn_hpo.report.incumbent import Standing, leaderboard, outcomes, standings
from grownn_hpo.report.record import ArmRecord, Failure
from grownn_hpo.report.wording import count, number, percent
from grownn_hpo.trial import Trial

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A heading row and rows as wide; the first column names the row."""

    heading: Row
    rows: tuple[Row, ...]


def incumbent_standing(label: str, record: ArmRecord, trial: Trial) -> Standing:
    """How the incumbent did. Raises GrowNNError where the record has no such completed trial."""
    standing = standings(record).get(trial)
    if standing is None:
        raise GrowNNError(
            f"{label}: incumbent = configuration {trial.config} at rung {trial.rung}: must be a trial that is complete "
            "in this arm's ledger; look at `grownn table`"
        )
    return standing


def answer(label: str, record: ArmRecord, trial: Trial | None, evaluation: FinalEvaluation | None) -> str:
    """Two sentences: what the search found and what it took."""
    arm, ended = record.arm, len(outcomes(record))
    seconds = sum(record.seconds.values())
    took = (
        f"{'It took' if ended >= arm.search.trials else 'So far it took'} {ended:,} of"
        f" {count(arm.search.trials, 'trial')}, {wording.env_steps(record.env_steps_spent)}"
        f" and {wording.duration(seconds)} of training."
    )
    if trial is None:
        return f"No trial is complete yet, so there is no incumbent. {took}"
    standing = incumbent_standing(label, record, trial)
    rate = standing.success_rate
    steps = wording.env_steps(arm.env_steps_before(trial.rung + 1))
    found = (
        f"Configuration {trial.config} leads at rung {trial.rung} of {len(arm.rungs)}"
        f" (depth {arm.rungs[trial.rung - 1].depth}, {steps} a run) with a mean return of"
        f" {number(standing.mean_return)}" + (f" and a success rate of {percent(rate)}" if rate is not None else "")
    )
    found += f" over the search's {count(len(standing.returns), 'seed')}"
    if evaluation is not None and evaluation.iqm is not None:
        found += (
            f"; retrained on {count(evaluation.iqm.n, 'fresh seed')} it reaches {wording.interval(evaluation.iqm)}"
            " (interquartile mean, 95% interval)"
        )
    return f"{found}. {took}"


def cautions(
    records: Mapping[str, ArmRecord],
    incumbents: Mapping[str, Trial | None],
    evaluations: Mapping[str, FinalEvaluation],
) -> list[str]:
    """What a reader must know before comparing: unfinished arms, unequal terms, growth that was not exact."""
    found = []
    lengths: defaultdict[str, set[int]] = defaultdict(set)
    for record in records.values():
        lengths[record.arm.env_of(len(record.arm.rungs))].add(record.arm.env_steps)
    envs = sorted(lengths)
    for env in envs:
        if len(lengths[env]) > 1:
            listed = ", ".join(map(wording.env_steps, sorted(lengths[env])))
            where = f" in {env}" if len(envs) > 1 else ""
            found.append(f"The arms{where} train for different lengths: {listed} a run.")
    if len(envs) > 1:
        found.append(f"The arms end in different environments ({', '.join(envs)}): their returns do not compare.")
    for label, record in records.items():
        ended, trial, board = len(outcomes(record)), incumbents.get(label), leaderboard(record)
        if ended < record.arm.search.trials:
            found.append(f"{label} is not finished: {ended:,} of {count(record.arm.search.trials, 'trial')}.")
        if trial is not None and trial.rung < len(record.arm.rungs):
            found.append(
                f"{label}'s incumbent has not trained to the end: rung {trial.rung} of {len(record.arm.rungs)}."
            )
        if trial is not None and trial != board[0].trial:
            found.append(
                f"{label}'s incumbent, as given, is not the first on its leaderboard: that is {_name(board[0])}."
            )
        if (worst := max(_differences(record), default=0.0)) > 0:
            found.append(f"{label}: growth changed what a network computes, by up to {number(worst)}; it must be 0.")
        if (final := evaluations.get(label)) and final.failed:
            found.append(f"{label}: {count(len(final.failed), 'fresh seed')} did not finish and count nowhere below.")
    return found


def hyperparameters(records: Mapping[str, ArmRecord], incumbents: Mapping[str, Trial | None]) -> Table:
    """The incumbents' hyperparameters side by side, in full precision."""
    leaders = {label: trial for label in records if (trial := incumbents.get(label)) is not None}
    chosen = {label: records[label].configurations.get(trial.config, {}) for label, trial in leaders.items()}
    names = sorted({name for values in chosen.values() for name in values})
    rows = tuple((name, *(_exact(values.get(name)) for values in chosen.values())) for name in names)
    return Table(("", *(f"{label}, configuration {trial.config}" for label, trial in leaders.items())), rows)


def final_evaluations(evaluations: Mapping[str, FinalEvaluation]) -> Table:
    """The final evaluations side by side, beside what the search promised and what random actions get."""
    finals = list(evaluations.values())
    all_means = [f.mean.value if f.mean else None for f in finals]
    spoken: list[tuple[str, list[str]]] = [
        ("fresh seeds", [f"{len(f.scores) - len(f.failed)} of {len(f.scores)} finished" for f in finals]),
        ("return, IQM [95% interval]", [wording.interval(f.iqm) if f.iqm else number(None) for f in finals]),
        ("return, mean [95% interval]", [wording.interval(f.mean) if f.mean else number(None) for f in finals]),
        ("return, median [95% interval]", [wording.interval(f.median) if f.median else number(None) for f in finals]),
        ("success rate", [wording.percentage(f.success_rate) if f.success_rate else number(None) for f in finals]),
        ("promised by the search", [number(f.promise.mean_return, all_means) for f in finals]),
        ("tuning gap (promised minus got)", [_gap(f) for f in finals]),
        ("random policy, return", [number(f.random.mean_return if f.random else None, all_means) for f in finals]),
        ("random policy, success rate", [percent(f.random.success_rate if f.random else None) for f in finals]),
    ]
    rows = tuple((name, *values) for name, values in spoken if any(value != number(None) for value in values))
    return Table(("", *(f"{label}, configuration {f.config}" for label, f in evaluations.items())), rows)


def _gap(final: FinalEvaluation) -> str:
    return number(None) if final.tuning_gap is None else wording.interval(final.tuning_gap, alone="no interval")


def board(record: ArmRecord, longest: int = 10) -> Table:
    """The `longest` best of the highest rung that any trial has completed, with their hyperparameters."""
    top = leaderboard(record)[:longest]
    success = any(standing.success_rate is not None for standing in top)
    values = {standing.trial: record.configurations.get(standing.trial.config, {}) for standing in top}
    names = sorted({name for chosen in values.values() for name in chosen})
    heading = ("rank", "configuration", "mean return", "lowest to highest seed", *(["success rate"] if success else []))
    returns = [s.mean_return for s in top]
    rows = []
    for rank, s in enumerate(top, 1):
        rates = [percent(s.success_rate)] if success else []
        spread = f"{number(min(s.returns), returns)} to {number(max(s.returns), returns)}"
        chosen = [_rounded(values[s.trial].get(name)) for name in names]
        rows.append((f"{rank}", f"{s.trial.config}", number(s.mean_return, returns), spread, *rates, *chosen))
    return Table((*heading, *names), tuple(rows))


def failures(record: ArmRecord, longest: int = 50) -> tuple[str, tuple[Failure, ...]]:
    """How many of which cause, and the first `longest` of them."""
    found = record.all_failures()
    if not found:
        return "Nothing failed.", ()
    causes = ", ".join(f"{n:,} {cause}" for cause, n in Counter(failure.cause for failure in found).most_common())
    shown = "" if len(found) <= longest else f" The first {longest}:"
    return f"{count(len(found), 'failure')}: {causes}.{shown}", found[:longest]


def growth(record: ArmRecord) -> str:
    """Whether growing left the networks' functions unchanged."""
    differences = _differences(record)
    if not differences:
        return "No network has grown."
    worst = max(differences)
    exact = "exactly 0" if worst == 0 else number(worst)
    return (
        f"{count(len(differences), 'segment')} began by growing: the largest absolute difference of logits and values"
        f" before and after was {exact}."
    )


def environment(record: ArmRecord) -> Table:
    """Versions, CPU and commit, nested keys joined by dots."""
    return Table(("", "recorded"), tuple(_flat("", record.environment)))


def commands(records: Sequence[ArmRecord]) -> list[str]:
    """What to type to get the same ledgers again, under the versions that the page lists, and this page of them."""
    runs, again = [], []
    for record in records:
        arm = f"{record.arm.study}/{record.arm.name}"
        recorded = shlex.quote(f"{record.path or f'results/{arm}'}/study.yaml")
        runs.append(f"grownn run {recorded} --results again")
        again.append(shlex.quote(f"again/{arm}"))
    return [*runs, f"grownn report {' '.join(again)} -o again/report"]


def _differences(record: ArmRecord) -> list[float]:
    return [result.growth_difference for result in record.results if result.growth_difference is not None]


def _name(standing: Standing) -> str:
    return f"configuration {standing.trial.config} at rung {standing.trial.rung}"


def _exact(value: JsonValue) -> str:
    return number(None) if value is None else str(value)


def _rounded(value: JsonValue) -> str:
    return number(value) if isinstance(value, float) else _exact(value)


def _flat(prefix: str, value: JsonValue | Mapping[str, JsonValue]) -> Iterator[Row]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, below)
    else:
        yield prefix, _exact(value)
