"""What a final evaluation says: a configuration retrained at full length on seeds that the search never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from pydantic import JsonValue

from grownn_hpo.errors import InputError
from grownn_hpo.report import wording
from grownn_hpo.report.statistics import Estimate, bootstrap_interval, difference_interval, mean, median

FEW_SEEDS = 5
"""Over fewer values a percentile bootstrap's interval is much too narrow."""


@dataclass(frozen=True, slots=True)
class SeedScore:
    """One fresh seed's last evaluation; `mean_return` is None where its training diverged or crashed.

    `promised_return` is that of the rung which the promise is of; None where that is the last, or was not reached.
    """

    seed: int
    mean_return: float | None
    success_rate: float | None = None
    promised_return: float | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """What was measured for the configuration when it was chosen: means over `seeds`, and each seed's own return.

    `returns` is empty where they were not kept; `env_steps` is the training behind them, None for a whole one.
    """

    mean_return: float
    success_rate: float | None
    seeds: tuple[int, ...]
    returns: tuple[float, ...] = ()
    env_steps: int | None = None


@dataclass(frozen=True, slots=True)
class RandomPolicy:
    """What uniformly random actions get on the same task."""

    mean_return: float
    success_rate: float | None
    episodes: int


@dataclass(frozen=True, slots=True)
class FinalEvaluation:
    """Scores on fresh seeds and what follows from them; make one with `evaluate`.

    The statistics, with 95% stratified bootstrap intervals, are over the seeds that finished and None where none did.
    `success_rate` is the mean over seeds. `tuning_gap` is what was promised minus what fresh seeds gave, mean against
    mean after the same training: positive where the search promised too much.
    """

    arm: str
    config: int
    env_steps: int
    scores: tuple[SeedScore, ...]
    promise: Promise
    random: RandomPolicy | None
    iqm: Estimate | None
    mean: Estimate | None
    median: Estimate | None
    success_rate: Estimate | None
    tuning_gap: Estimate | None

    @property
    def failed(self) -> tuple[int, ...]:
        """The seeds whose training did not finish."""
        return tuple(score.seed for score in self.scores if score.mean_return is None)

    @property
    def cut_short(self) -> bool:
        """Whether the promise is of a shorter training than the scores."""
        return self.promise.env_steps not in (None, self.env_steps)

    def to_json(self) -> dict[str, JsonValue]:
        """Everything, with what was derived; `from_json` reads it back to an equal value."""
        return {**asdict(self), "failed": list(self.failed)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FinalEvaluation:
        """The inverse of `to_json`; what was derived is computed afresh from the scores."""
        told = data["promise"]
        promise = Promise(**{**told, "seeds": tuple(told["seeds"]), "returns": tuple(told.get("returns", ()))})
        random = None if data["random"] is None else RandomPolicy(**data["random"])
        scores = [SeedScore(**score) for score in data["scores"]]
        return evaluate(data["arm"], data["config"], data["env_steps"], scores, promise, random)

    def describe(self) -> list[str]:
        """The same as lines of text for a terminal."""
        finished = len(self.scores) - len(self.failed)
        lines = [
            f"{self.arm}, configuration {self.config}, trained for {wording.env_steps(self.env_steps)} on each of "
            f"{wording.count(len(self.scores), 'fresh seed')}"
        ]
        if self.failed:
            seeds = ", ".join(map(str, self.failed))
            lines.append(
                f"{wording.count(len(self.failed), 'seed')} did not finish ({seeds}): "
                f"all below is over the other {finished}, and so too rosy"
            )
        if self.iqm is None or self.mean is None or self.median is None:
            return lines
        lines.append(f"return, IQM [95% bootstrap interval]: {wording.interval(self.iqm)}")
        lines.append(f"return, mean: {wording.interval(self.mean)}; median: {wording.interval(self.median)}")
        if self.success_rate is not None:
            lines.append(f"success rate, mean over seeds: {wording.percentage(self.success_rate)}")
        if 1 < finished < FEW_SEEDS:
            lines.append(f"intervals over {finished} seeds are too narrow: take {FEW_SEEDS} or more, better 10")
        lines += self._gap_told()
        if self.random is not None:
            rate = self.random.success_rate
            success = "" if rate is None else f", success rate {wording.percent(rate)}"
            lines.append(
                f"a random policy gets {wording.number(self.random.mean_return)}{success} "
                f"(over {wording.count(self.random.episodes, 'episode')})"
            )
        return lines

    def _gap_told(self) -> list[str]:
        promise, gap = self.promise, self.tuning_gap
        steps = f" after {wording.env_steps(promise.env_steps)}" if self.cut_short and promise.env_steps else ""
        seeds = wording.count(len(promise.seeds), "seed")
        promised = f"promised before: {wording.number(promise.mean_return)}{steps} (mean over {seeds})"
        if gap is None:
            return [f"{promised}; fresh seeds have none to compare with it"]
        return [f"{promised}; tuning gap, promised minus got{steps}: {wording.interval(gap, alone='no interval')}"]


def evaluate(
    arm: str,
    config: int,
    env_steps: int,
    scores: Sequence[SeedScore],
    promise: Promise,
    random: RandomPolicy | None = None,
) -> FinalEvaluation:
    """Sums up the scores: IQM, mean, median and success rate with 95% bootstrap intervals (Agarwal et al. 2021).

    `env_steps` is one seed's whole training. The result does not depend on the scores' order. The gap's interval
    resamples the promise's seeds and the fresh ones each on their own; it has none where the promise is one figure.
    Raises InputError without scores, for a seed given twice, and for a seed that the promise was made with.
    """
    seeds = [score.seed for score in scores]
    if not seeds:
        raise InputError(f"{arm}: no scores: a final evaluation needs at least one seed")
    if len(set(seeds)) != len(seeds):
        raise InputError(f"{arm}: seeds = {sorted(seeds)}: a seed may stand here only once")
    if seen := sorted(set(seeds) & set(promise.seeds)):
        raise InputError(
            f"{arm}: seeds = {seen}: the search has tuned on these; a final evaluation needs seeds that it never saw"
        )
    scores = tuple(sorted(scores, key=lambda score: score.seed))
    returns = [score.mean_return for score in scores if score.mean_return is not None]
    rates = [s.success_rate for s in scores if s.mean_return is not None and s.success_rate is not None]
    comparable = returns
    if promise.env_steps not in (None, env_steps):
        comparable = [score.promised_return for score in scores if score.promised_return is not None]
    return FinalEvaluation(
        arm=arm,
        config=config,
        env_steps=env_steps,
        scores=scores,
        promise=promise,
        random=random,
        iqm=bootstrap_interval(returns) if returns else None,
        mean=bootstrap_interval(returns, mean) if returns else None,
        median=bootstrap_interval(returns, median) if returns else None,
        success_rate=bootstrap_interval(rates, mean) if returns and len(rates) == len(returns) else None,
        tuning_gap=_gap(promise, comparable) if comparable else None,
    )


def _gap(promise: Promise, returns: Sequence[float]) -> Estimate:
    if promise.returns:
        return difference_interval(promise.returns, returns)
    return Estimate(promise.mean_return - fmean(returns), None, None, len(returns))
