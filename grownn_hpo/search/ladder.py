"""The static schedule as a pure function: from the outcomes that are known to the trials that are needed now.

Notation: rung r = 1..R takes n_r configurations; bracket b = 1, 2, .. starts with the n_1 configurations numbered
(b-1) n_1 + 1 to b n_1. A bracket offers n_1 + ... + n_R slots, and a study's budget counts slots in *ladder order*:
bracket by bracket, rung by rung. A slot for which too few trials of the rung below completed stays empty and is used up
all the same, so that which slots a budget reaches never depends on outcomes.

Successive halving with fixed counts (Jamieson and Talwalkar 2016), restarted bracket by bracket at the lowest rung.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import isnan
from typing import Literal

from grownn_hpo.spec import Arm
from grownn_hpo.trial import Outcome, Segment, Status, Trial

Outcomes = Mapping[Trial, Outcome]
Brackets = Mapping[int, int]  # bracket -> how many configurations it holds, for those already suggested


@dataclass(frozen=True, slots=True)
class Ladder:
    """An arm's schedule: n_r for every rung, the budget in slots, and what each bracket is suggested from."""

    configurations: tuple[int, ...]
    trials: int
    lookahead: int = 1
    surrogate: Literal["lowest", "highest", "all"] = "lowest"

    def __post_init__(self) -> None:
        counts = self.configurations
        if not counts or min(counts) < 1 or any(above > below for below, above in pairwise(counts)):
            raise ValueError(f"configurations = {counts}: one positive count per rung, none larger than the one below")
        if self.trials < 1 or self.lookahead < 1:
            raise ValueError(f"trials = {self.trials}, lookahead = {self.lookahead}: both must be at least 1")

    @classmethod
    def of(cls, arm: Arm) -> Ladder:
        """The ladder of an arm whose `lookahead` is resolved; raises ValueError while it is still `auto`."""
        lookahead = arm.search.lookahead
        if lookahead == "auto":
            raise ValueError("search.lookahead = 'auto': it must be resolved to a number when the study is created")
        counts = tuple(rung.configurations for rung in arm.rungs)
        return cls(counts, arm.search.trials, lookahead, arm.search.surrogate)

    @property
    def rungs(self) -> int:
        return len(self.configurations)

    @property
    def slots_per_bracket(self) -> int:
        return sum(self.configurations)

    @property
    def brackets(self) -> int:
        """How many brackets the budget reaches, the last perhaps in part."""
        return -(-self.trials // self.slots_per_bracket)

    def slots(self, bracket: int, rung: int) -> int:
        """How many slots of `rung` in `bracket` the budget reaches: 0 to n_rung."""
        before = (bracket - 1) * self.slots_per_bracket + sum(self.configurations[: rung - 1])
        return max(0, min(self.configurations[rung - 1], self.trials - before))

    def first_config(self, bracket: int) -> int:
        """The number of the bracket's first configuration."""
        return (bracket - 1) * self.configurations[0] + 1

    def bracket_of(self, config: int) -> int:
        """The bracket that configuration number `config` starts in."""
        return (config - 1) // self.configurations[0] + 1

    def learned_rungs(self) -> range:
        """The rungs whose outcomes the surrogate is given."""
        return range(1, 2 if self.surrogate == "lowest" else self.rungs + 1)

    def learns_from(self, bracket: int, rung: int) -> int:
        """The last bracket whose outcomes at `rung` count when `bracket` is suggested (0 or less: none).

        One bracket later for each rung higher, since that outcome is one training segment later: a fixed rule keeps the
        pipeline moving and lets nothing depend on the order in which results arrive.
        """
        return bracket - self.lookahead - (rung - 1)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now: trials that are `needed`, in ladder order, and the bracket to `suggest`; neither when `complete`.

    One bracket at a time, even where `lookahead` lets several be open: the next must know what this one holds, which it
    may not repeat, and must not exist if this one exhausts the space. Plan again once its configurations are recorded.
    """

    needed: tuple[Trial, ...]
    suggest: int | None

    @property
    def complete(self) -> bool:
        return not self.needed and self.suggest is None


@dataclass(frozen=True, slots=True)
class RungProgress:
    """One rung of one bracket within the budget.

    Of its `slots`, `known` have an outcome (`failed` of them diverged or crashed) and `void` can never be filled.
    """

    bracket: int
    rung: int
    slots: int
    known: int
    failed: int
    void: int


@dataclass(frozen=True, slots=True)
class _Rung:
    """A decided rung of a bracket: who is on it, in the order in which they take its slots, and what came of them."""

    bracket: int
    rung: int
    slots: int
    members: tuple[Trial, ...]
    results: tuple[Outcome | None, ...]

    @property
    def settled(self) -> bool:
        return None not in self.results

    def best(self, count: int) -> list[Trial]:
        """The best `count` completed members; of equals, the lower number."""
        pairs = zip(self.members, self.results, strict=True)
        return _ranked((trial, outcome) for trial, outcome in pairs if outcome is not None)[:count]


def plan(ladder: Ladder, brackets: Brackets, outcomes: Outcomes) -> Plan:
    """What the study needs next; linear in the number of trials.

    `brackets` says how many configurations each suggested bracket holds: n_1, or fewer (perhaps none) when a finite
    space is exhausted, which makes it the last. `outcomes` holds every trial that has one.
    """
    needed: list[Trial] = []
    settled = dict.fromkeys(ladder.learned_rungs(), 0)  # rung -> brackets 1 to this one are known there
    for rung in _decided_rungs(ladder, brackets, outcomes):
        if settled.get(rung.rung) == rung.bracket - 1 and rung.settled:
            settled[rung.rung] = rung.bracket
        if None in rung.results[: rung.slots]:
            pairs = zip(rung.members[: rung.slots], rung.results, strict=False)
            needed += sorted(trial for trial, outcome in pairs if outcome is None)
    missing = next((b for b in range(1, _last_bracket(ladder, brackets) + 1) if b not in brackets), None)
    if missing and any(last < ladder.learns_from(missing, rung) for rung, last in settled.items()):
        missing = None
    return Plan(tuple(needed), missing)


def observations_for(ladder: Ladder, bracket: int, outcomes: Outcomes) -> tuple[tuple[Trial, Outcome], ...]:
    """What `bracket` is suggested from, in ladder order; complete as soon as a plan asks to suggest it."""
    learned = ladder.learned_rungs()
    counted = (
        (ladder.bracket_of(trial.config), trial.rung, trial.config, trial)
        for trial in outcomes
        if trial.rung in learned and ladder.bracket_of(trial.config) <= ladder.learns_from(bracket, trial.rung)
    )
    return tuple((trial, outcomes[trial]) for *_, trial in sorted(counted))


def incumbent(outcomes: Outcomes) -> Trial | None:
    """The best completed trial at the highest rung that any has completed; of equals, the lower number.

    Never across rungs: the cost after a longer training is another quantity.
    """
    top = max((trial.rung for trial, outcome in outcomes.items() if outcome.status is Status.COMPLETED), default=0)
    return next(iter(_ranked((trial, outcome) for trial, outcome in outcomes.items() if trial.rung == top)), None)


def rung_progress(ladder: Ladder, brackets: Brackets, outcomes: Outcomes) -> tuple[RungProgress, ...]:
    """Every rung that the budget reaches, in ladder order; the slots add up to `ladder.trials`."""
    decided = {(rung.bracket, rung.rung): rung for rung in _decided_rungs(ladder, brackets, outcomes)}
    last = _last_bracket(ladder, brackets)
    rows = []
    for bracket in range(1, ladder.brackets + 1):
        for rung in range(1, ladder.rungs + 1):
            slots = ladder.slots(bracket, rung)
            if slots == 0:
                break
            here = decided.get((bracket, rung))
            results = here.results[:slots] if here else ()
            known = [outcome.status for outcome in results if outcome is not None]
            failed = sum(status is not Status.COMPLETED for status in known)
            void = slots - len(results) if here or bracket > last else 0
            rows.append(RungProgress(bracket, rung, slots, len(known), failed, void))
    return tuple(rows)


def spent(ladder: Ladder, brackets: Brackets, outcomes: Outcomes) -> tuple[Trial, ...]:
    """The trials with an outcome from whose checkpoints no other trial can start any more, by configuration and rung.

    A checkpoint is spent when its trial failed, stands on the last rung, was passed over once its rung was decided, or
    has its successor's outcome. A promotion beyond the budget counts as still possible: the budget may be extended.
    """
    awaited: set[Trial] = set()
    for rung in _decided_rungs(ladder, brackets, outcomes):
        if rung.rung < ladder.rungs and not rung.settled:
            awaited.update(rung.best(len(rung.members)))
        if rung.rung > 1:
            pairs = zip(rung.members, rung.results, strict=True)
            awaited.update(Trial(trial.config, trial.rung - 1) for trial, outcome in pairs if outcome is None)
    return tuple(sorted(trial for trial in outcomes if trial not in awaited))


def needed_segments(trials: Iterable[Trial], seeds: Collection[int], known: Collection[Segment]) -> tuple[Segment, ...]:
    """The segments of `trials` that are not in `known`, in the order in which to dispatch them.

    Higher rungs first, since the next promotions wait for them; then by configuration, then by seed.
    """
    missing = (Segment(trial.config, trial.rung, seed) for trial in trials for seed in seeds)
    return tuple(sorted((s for s in missing if s not in known), key=lambda s: (-s.rung, s.config, s.seed)))


def _decided_rungs(ladder: Ladder, brackets: Brackets, outcomes: Outcomes) -> Iterator[_Rung]:
    """All rungs whose members are decided, in ladder order."""
    for bracket in range(1, _last_bracket(ladder, brackets) + 1):
        yield from _climb(ladder, bracket, brackets, outcomes)


def _climb(ladder: Ladder, bracket: int, brackets: Brackets, outcomes: Outcomes) -> Iterator[_Rung]:
    """One bracket's rungs from the lowest up to the first whose members are not decided yet."""
    if bracket not in brackets:
        return
    first, before = ladder.first_config(bracket), (bracket - 1) * ladder.slots_per_bracket
    members = tuple(Trial(config, 1) for config in range(first, first + brackets[bracket]))
    starts = accumulate(ladder.configurations, initial=before)
    for rung, (count, start) in enumerate(zip(ladder.configurations, starts, strict=False), start=1):
        slots = max(0, min(count, ladder.trials - start))
        here = _Rung(bracket, rung, slots, members, tuple(map(outcomes.get, members)))
        yield here
        if rung == ladder.rungs or not here.settled:
            return
        members = tuple(Trial(trial.config, rung + 1) for trial in here.best(ladder.configurations[rung]))


def _ranked(pairs: Iterable[tuple[Trial, Outcome]]) -> list[Trial]:
    """The completed among the trials of one rung, best first; of equals, the lower number."""
    completed = [(_cost(trial, outcome), trial.config, trial) for trial, outcome in pairs if _completed(outcome)]
    return [trial for *_, trial in sorted(completed)]


def _completed(outcome: Outcome) -> bool:
    return outcome.status is Status.COMPLETED


def _cost(trial: Trial, outcome: Outcome) -> float:
    if outcome.cost is None or isnan(outcome.cost):
        raise ValueError(f"{trial}: {outcome}: a completed trial must have a cost that can be compared")
    return outcome.cost


def _last_bracket(ladder: Ladder, brackets: Brackets) -> int:
    """The study's last bracket: the budget's, or the first that could not be filled since the space was exhausted."""
    full = ladder.configurations[0]
    return min((bracket for bracket, held in brackets.items() if held < full), default=ladder.brackets)
