"""What a report shows, in reading order: each figure with the words around it, or the words in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from grownn_hpo.report import comparing_figures, figures, search_figures, verdict, wording
from grownn_hpo.report.comparison import Basis, Question, across_questions
from grownn_hpo.report.drawing import Draw
from grownn_hpo.report.evaluation import FinalEvaluation
from grownn_hpo.report.foresight import foresight
from grownn_hpo.report.importance import FAIR_FIT, FEWEST, Importance, importance
from grownn_hpo.report.incumbent import standings
from grownn_hpo.report.record import ArmRecord
from grownn_hpo.report.statistics import FEWEST_PAIRS
from grownn_hpo.report.summary import Table
from grownn_hpo.trial import Trial

Arms = Mapping[str, ArmRecord]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to look at: a figure that `draw` makes for a width in inches, a table, notes, or several of these.

    `notes` say what is missing and what to beware of.
    """

    name: str
    title: str
    caption: str = ""
    draw: Draw | None = None
    table: Table | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chapter:
    """Items under one heading."""

    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """All that a report is made from; arms, incumbents, evaluations and the runs of these by the arms' labels."""

    arms: Arms
    incumbents: Mapping[str, Trial | None]
    evaluations: Mapping[str, FinalEvaluation]
    fresh: Mapping[str, ArmRecord]
    questions: tuple[Question, ...]


def chapters(given: Given) -> tuple[Chapter, ...]:
    """The report's figures and tables of comparison; what is drawn is computed when `draw` is called."""
    several = len(given.questions) > 1
    found = []
    for number, question in enumerate(given.questions, 1):
        title = f"How the arms compare in {question.env}" if several else "How the arms compare"
        if len(question.arms) == 1:
            title = f"How it learned in {question.env}" if several else "How it learned"
        found.append(Chapter(title, tuple(_compared(given, question, f"-{number}" if several else ""))))
    if across := across_questions(given.questions):
        item = Item(
            "improvement_over_tasks",
            "Probability of improvement over tasks",
            "The mean over tasks of the probability that a run of one arm returns more than one of the other; its"
            " intervals resample each task's runs among themselves.",
            lambda inches: comparing_figures.improvement([], across, inches),
        )
        found.append(Chapter("Over all tasks", (item,)))
    found.append(Chapter("What the search learned", tuple(_searched(given))))
    return tuple(found)


def _compared(given: Given, question: Question, suffix: str) -> Iterator[Item]:
    arms, among = question.arms, tuple(given.arms)
    baselines = {e.random.mean_return for label, e in given.evaluations.items() if label in arms and e.random}
    fresh = {label: record for label, record in given.fresh.items() if label in arms}
    drawable = any(given.incumbents.get(label) for label in arms)
    nothing = () if drawable else ("No trial is complete yet.",)
    yield Item(
        f"learning_curves{suffix}",
        "Learning curves",
        "How each arm's best configuration learned, from the first env step to the last, growth included.",
        partial(
            _curves, arms, given.incumbents, baselines.pop() if len(baselines) == 1 else None, fresh=fresh, among=among
        )
        if drawable
        else None,
        notes=nothing,
    )
    if missing := verdict.missing_comparison(question):
        if len(arms) > 1 or len(given.arms) == 1:
            yield Item(f"comparison{suffix}", "Run against run", notes=(missing,))
    else:
        caution = "" if question.basis is Basis.FRESH else " By these very runs the incumbents were chosen."
        yield Item(
            f"performance_profiles{suffix}",
            "Performance profiles",
            f"Of each incumbent's runs on {question.basis.value}, how many end above a return (Agarwal et al."
            f" 2021).{caution}",
            partial(comparing_figures.performance_profiles, question, among=among),
        )
        pairs = tuple(question.pairs())
        yield Item(
            f"improvement{suffix}",
            "Probability of improvement",
            "How likely a run of one arm's incumbent returns more than one of the other's (Mann and Whitney's U; a tie"
            " counts half), with 95% bootstrap intervals. From a few runs these intervals are too narrow: the"
            " test's p beside them holds for any number.",
            lambda inches: comparing_figures.improvement(pairs, (), inches),
            verdict.comparisons([question]),
        )
    yield Item(
        f"incumbent_trajectory{suffix}",
        "The search's progress",
        "The best result known after so many env steps of search, compared only among trials of the highest rung"
        " reached: a drop is a higher rung's first trial, which replaces all lower ones.",
        (lambda inches: figures.incumbent_trajectories(arms, inches, among=among)) if drawable else None,
        notes=nothing,
    )


def _curves(
    arms: Arms,
    incumbents: Mapping[str, Trial | None],
    random_return: float | None,
    inches: float,
    *,
    fresh: Arms,
    among: tuple[str, ...],
) -> Figure:
    return figures.learning_curves(arms, incumbents, inches, random_return, fresh=fresh, among=among)


def _searched(given: Given) -> Iterator[Item]:
    arms, among = given.arms, tuple(given.arms)
    begun = {label: record for label, record in arms.items() if standings(record)}
    idle = tuple(f"{label}: no trial is complete yet." for label in arms if label not in begun)
    weighed = {label: _importances(record) for label, record in begun.items()}
    telling = any(each.shares is not None for found in weighed.values() for each in found)
    yield Item(
        "importance",
        "Which hyperparameters mattered",
        "fANOVA (Hutter et al. 2014): a random forest learns from the configurations which mean return they reached;"
        " shown is the share of its variance over the whole search space that each hyperparameter explains alone, and"
        " what only several explain together. Lines: what eight of ten of its 100 trees say. R²: how well it foretells"
        " configurations that a tree was not shown (out-of-bag); 1 is perfect, 0 is no better than their mean.",
        (lambda inches: search_figures.importances(begun, weighed, inches, among=among)) if telling else None,
        notes=(*(line for label, found in weighed.items() for line in _importance_notes(label, found)), *idle),
    )
    yield Item(
        "parallel_coordinates",
        "Every configuration tried",
        "Each line is a configuration that completed rung 1: its hyperparameters, and the mean return that it reached.",
        (lambda inches: search_figures.parallel_coordinates(begun, given.incumbents, inches, among=among))
        if begun
        else None,
        notes=idle,
    )
    ranked = {label: found for label, record in arms.items() if (found := foresight(record)) is not None}
    rows = [
        (label, f"{rung}", f"{e.n}", f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]")
        for label, found in ranked.items()
        for rung, e in enumerate(found.correlations, 1)
        if e is not None
    ]
    climbing = [label for label, record in arms.items() if len(record.arm.rungs) > 1]
    single = [label for label in arms if label not in climbing]
    notes = [f"{', '.join(single)}: a single rung, nothing to foretell."] if single else []
    notes += [
        f"{label}: fewer than two configurations have completed the last rung so far."
        for label in climbing
        if label not in ranked
    ]
    notes += [
        f"{label}: too few configurations, or equal returns; no correlation is told below {FEWEST_PAIRS}."
        for label, found in ranked.items()
        if None in found.correlations
    ]
    if ranked:
        notes.append(
            "Only those that were promoted reached the last rung: among them the lower rungs tell less than they would"
            " among all, and what was passed over nobody knows."
        )
    yield Item(
        "rung_ranks",
        "Do the lower rungs foretell the last?",
        "Ranks by mean return of the configurations that completed the last rung. Lines that cross are orders that"
        " changed with more training.",
        (lambda inches: search_figures.rung_ranks(arms, ranked, given.incumbents, inches, among=among))
        if ranked
        else None,
        Table(("arm", "rung", "configurations", "rank correlation with the last rung"), tuple(rows)) if rows else None,
        tuple(notes),
    )
    yield Item(
        "survivors",
        "Who was promoted",
        "Every configuration's mean return at every rung it reached, and which were promoted.",
        (lambda inches: figures.survivors(begun, given.incumbents, inches, among=among)) if begun else None,
        notes=idle,
    )


def _importances(record: ArmRecord) -> tuple[Importance, ...]:
    """At rung 1, and at the highest rung above it that has enough configurations."""
    reached = [trial.rung for trial in standings(record)]
    above = [rung for rung in range(2, len(record.arm.rungs) + 1) if reached.count(rung) >= FEWEST]
    return tuple(importance(record, rung) for rung in (1, *above[-1:]))


def _importance_notes(label: str, found: tuple[Importance, ...]) -> Iterator[str]:
    for each in found:
        if each.shares is None:
            yield f"{label}, rung {each.rung}: {each.why}."
        elif each.fit is not None and each.fit < FAIR_FIT:
            yield f"{label}, rung {each.rung}: R² is only {each.fit:.2f}; take its shares as a hint at most."
        elif each.rung > 1:
            yield (
                f"{label}, rung {each.rung}: of {wording.count(each.configurations, 'configuration')} that were"
                " promoted, so of a part of the search space only."
            )
