"""What a final evaluation says: the incumbent retrained at full length on seeds that the search never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from pydantic import JsonValue

from grownn_hpo.errors import InputError
from grownn_hpo.report import wording
from grownn_hpo.report.statistics import Estimate, bootstrap_interval, mean


@dataclass(frozen=True, slots=True)
class SeedScore:
    """One fresh seed's last evaluation; `mean_return` is None where its training diverged or crashed."""

    seed: int
    mean_return: float | None
    success_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """What the search measured for the configuration: the mean over the search's own seeds."""

    mean_return: float
    success_rate: float | None
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RandomPolicy:
    """What uniformly random actions get on the same task."""

    mean_return: float
    success_rate: float | None
    episodes: int


@dataclass(frozen=True, slots=True)
class FinalEvaluation:
    """Scores on fresh seeds and what follows from them; make one with `evaluate`.

    The statistics are over the seeds that finished and None where none did. `success_rate` is the mean over seeds.
    """

    arm: str
    config: int
    env_steps: int
    scores: tuple[SeedScore, ...]
    promise: Promise
    random: RandomPolicy | None
    iqm: Estimate | None
    mean: float | None
    median: float | None
    success_rate: Estimate | None

    @property
    def failed(self) -> tuple[int, ...]:
        """The seeds whose training did not finish."""
        return tuple(score.seed for score in self.scores if score.mean_return is None)

    @property
    def tuning_gap(self) -> float | None:
        """Promised minus got, mean against mean; positive where the search promised too much."""
        return None if self.mean is None else self.promise.mean_return - self.mean

    def to_json(self) -> dict[str, JsonValue]:
        """Everything, with what was derived; `from_json` reads it back to an equal value."""
        return {**asdict(self), "failed": list(self.failed), "tuning_gap": self.tuning_gap}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FinalEvaluation:
        """The inverse of `to_json`; what was derived is computed afresh from the scores."""
        promise = Promise(**{**data["promise"], "seeds": tuple(data["promise"]["seeds"])})
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
        if self.iqm is None or self.mean is None or self.tuning_gap is None:
            return lines
        lines.append(f"return, IQM [95% bootstrap interval]: {wording.interval(self.iqm)}")
        lines.append(f"return, mean: {wording.number(self.mean)}; median: {wording.number(self.median, [self.mean])}")
        if self.success_rate is not None:
            low, high = self.success_rate.low, self.success_rate.high
            spread = "" if low is None else f" [{wording.percent(low)}, {wording.percent(high)}]"
            lines.append(f"success rate, mean over seeds: {wording.percent(self.success_rate.value)}{spread}")
        lines.append(
            f"the search promised {wording.number(self.promise.mean_return)} "
            f"(mean over its {wording.count(len(self.promise.seeds), 'seed')}); "
            f"tuning gap, promised minus got: {wording.number(self.tuning_gap, [self.mean])}"
        )
        if self.random is not None:
            rate = self.random.success_rate
            success = "" if rate is None else f", success rate {wording.percent(rate)}"
            lines.append(
                f"a random policy gets {wording.number(self.random.mean_return)}{success} "
                f"(over {wording.count(self.random.episodes, 'episode')})"
            )
        return lines


def evaluate(
    arm: str,
    config: int,
    env_steps: int,
    scores: Sequence[SeedScore],
    promise: Promise,
    random: RandomPolicy | None = None,
) -> FinalEvaluation:
    """Sums up the scores: IQM with a 95% bootstrap interval (Agarwal et al. 2021), mean, median, success rate.

    `env_steps` is one seed's whole training. The result does not depend on the scores' order. Raises InputError
    without scores, for a seed given twice, and for a seed that the search has seen.
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
    return FinalEvaluation(
        arm=arm,
        config=config,
        env_steps=env_steps,
        scores=scores,
        promise=promise,
        random=random,
        iqm=bootstrap_interval(returns) if returns else None,
        mean=fmean(returns) if returns else None,
        median=median(returns) if returns else None,
        success_rate=bootstrap_interval(rates, mean) if returns and len(rates) == len(returns) else None,
    )
