"""What training takes at one environment and one depth, as a rehearsal found it, and what a segment takes by that.

Notation: a rollout has `M` env steps, an update passes `E` times over them in `K` minibatches of at most `B`. A rollout
and its update take  e M + E (a K + b M)  seconds: `e` for an env step with its forward pass, `a` for a minibatch
whatever its size, `b` for each of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from grownn_hpo.spec import Evaluation, PPOSettings


@dataclass(frozen=True, slots=True)
class Timing:
    """One rollout with its update, as timed: what it was of, and the seconds it took."""

    env_steps: int
    batch_size: int
    n_epochs: int
    seconds: float

    @property
    def minibatches(self) -> int:
        """In one epoch; the last may be smaller."""
        return -(-self.env_steps // self.batch_size)


@dataclass(frozen=True, slots=True)
class Effort:
    """Seconds and bytes, each for one of what it names; `start` is a leg's building, restoring and writing."""

    start_seconds: float
    env_step_seconds: float
    minibatch_seconds: float
    row_seconds: float
    episode_seconds: float
    checkpoint_bytes: float
    record_bytes: float
    memory_gib: float

    def segment_seconds(self, settings: PPOSettings, envs: int, legs: Sequence[int], evaluation: Evaluation) -> float:
        """What a segment takes that is trained in these legs (each in env steps) with these settings."""
        rollout = settings.n_steps * envs
        sizes = [size for leg in legs for size in (rollout,) * (leg // rollout) + (leg % rollout,) if size]
        minibatches = sum(-(-size // settings.batch_size) for size in sizes)
        rounds = min(evaluation.rounds, len(sizes))  # several that fall due within one rollout are one
        return (
            self.start_seconds * len(legs)
            + self.env_step_seconds * sum(legs)
            + settings.n_epochs * (self.minibatch_seconds * minibatches + self.row_seconds * sum(legs))
            + self.episode_seconds * evaluation.episodes * rounds
        )


def between(shallow: Effort, deep: Effort, share: float) -> Effort:
    """The effort at a depth the `share` (0 to 1) of the way from one to the other: every layer adds the same."""
    pairs = zip(astuple(shallow), astuple(deep), strict=True)
    return Effort(*(low + share * (high - low) for low, high in pairs))


def costs(few_epochs: Timing, many_epochs: Timing, small_batches: Timing) -> tuple[float, float, float]:
    """`e`, `a` and `b` of the module's notation, from timings that differ in epochs, and in the size of a minibatch.

    What noise would make negative is 0.
    """
    epochs = many_epochs.n_epochs - few_epochs.n_epochs
    if epochs < 1 or small_batches.minibatches <= many_epochs.minibatches:
        raise ValueError(f"{few_epochs}, {many_epochs}, {small_batches}: must differ in epochs, and in minibatches")
    rows = few_epochs.env_steps
    epoch = max(0.0, (many_epochs.seconds - few_epochs.seconds) / epochs)
    env_step = max(0.0, (few_epochs.seconds - few_epochs.n_epochs * epoch) / rows)
    other = max(0.0, (small_batches.seconds - env_step * rows) / small_batches.n_epochs)
    minibatch = max(0.0, (other - epoch) / (small_batches.minibatches - many_epochs.minibatches))
    minibatch = min(minibatch, epoch / many_epochs.minibatches)
    # Rounding, too, can make nothing a little less than that.
    return env_step, minibatch, max(0.0, epoch - minibatch * many_epochs.minibatches) / rows
