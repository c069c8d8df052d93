"""The values a study file is made of. They are frozen, and they cannot exist invalid.

Every budget is in env steps: one transition of one environment, summed over the parallel environments.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

# A name is a folder's name too: no separators, no leading dot, no "..".
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$", max_length=64)]
# Up to here integers are exact as floats too, and fit SQLite's columns.
LARGEST = 2**53
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
# What the driver counts through, or a network is built of: beyond these a study could only run out of time or memory.
Count = Annotated[int, Field(ge=1, le=10**6)]
Depth = Annotated[int, Field(ge=1, le=1000)]
Width = Annotated[int, Field(ge=1, le=2**16)]
Seed = Annotated[int, Field(ge=0, le=LARGEST)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]

MOST_LEGS = 100_000
"""How many legs a segment may have."""

RESERVED_NAMES = ("mirror", "report", "slurm")

# f(f(x)) = f(x): only behind these is an identity layer invisible (Chen et al. 2016, Net2Net, section 2.2).
IDEMPOTENT_ACTIVATIONS = ("relu", "hardtanh")
Activation = Literal["relu", "hardtanh", "tanh", "gelu", "silu"]


class RuleBroken(ValueError):
    """A rule that spans several keys; `key` is relative to the value whose validator raised it."""

    def __init__(self, key: str, value: object, rule: str) -> None:
        super().__init__(rule)
        self.key, self.value, self.rule = key, value, rule


class Value(BaseModel):
    """The habits of all values: frozen, no unknown keys, no silent conversion, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Task(Value):
    """What the agent trains on: a Gymnasium id (`module:EnvId` works too) and how many run side by side."""

    env: Annotated[str, Field(min_length=1)]
    envs: Annotated[int, Field(ge=1, le=2**16)] = 5
    kwargs: dict[str, JsonValue] = {}


class Evaluation(Value):
    """Deterministic episodes: so many a round, so many rounds spread evenly over each segment."""

    episodes: Count = 10
    rounds: Count = 20


class PPOSettings(Value):
    """Everything PPO can be told. Any of these may be searched; Stable-Baselines3's defaults otherwise.

    `n_steps` is per environment and rollout. `anneal_learning_rate` falls linearly to 0 over the whole arm.
    """

    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    n_steps: Positive = 2048
    batch_size: Positive = 64
    n_epochs: Positive = 10
    gamma: Fraction = 0.99
    gae_lambda: Fraction = 0.95
    clip_range: Annotated[float, Field(gt=0)] = 0.2
    ent_coef: NonNegative = 0.0
    vf_coef: NonNegative = 0.5
    max_grad_norm: Annotated[float, Field(gt=0)] = 0.5
    adam_eps: Annotated[float, Field(gt=0)] = 1e-5
    normalize_advantage: bool = True
    normalize_observations: bool = False
    normalize_rewards: bool = False
    anneal_learning_rate: bool = False
    initial_log_std: float = 0.0


class Network(Value):
    """The agent's network: an input part, a stack of `depth` growing layers (declared by the rung), two heads.

    `width` is that of the input part's output and of every growing layer. `heads` is the width of the one hidden
    layer in the policy's and the value's head (`width` when left out, 0 for none). `cells: varying` leaves out the
    map's cells that never change; it and `channels` concern `minihack-cnn` alone.
    """

    kind: Literal["mlp", "minihack-cnn"]
    width: Width = 64
    heads: Annotated[int, Field(ge=0, le=2**16)] | None = None
    activation: Activation = "relu"
    head_activation: Activation = "tanh"
    initialisation: Literal["orthogonal", "torch"] = "orthogonal"
    channels: Width = 2
    cells: Literal["all", "varying"] = "all"

    @property
    def head_width(self) -> int:
        return self.width if self.heads is None else self.heads


class Growth(Value):
    """What happens to the optimizer when the network grows.

    `carry` keeps the moments and step counts of the parameters that were there and starts the new layer's afresh;
    `reset` starts all afresh.
    """

    optimizer_state: Literal["carry", "reset"] = "carry"


class Search(Value):
    """How configurations are chosen: `trials` in ladder order, the first `initial_design` from a Sobol sequence.

    With `begin_with_default` the very first is the search space's default configuration, and counts as one of them.
    `surrogate` names the rungs the random forest learns from. `lookahead` is how far a bracket may run ahead: the
    configurations of bracket b are chosen from the outcomes of brackets up to b - lookahead.
    """

    trials: Count
    lookahead: Count | Literal["auto"] = 1
    surrogate: Literal["lowest", "highest", "all"] = "lowest"
    initial_design: Count = 10
    begin_with_default: bool = False


class Limits(Value):
    """What an attempt may use before it is ended; none of it changes a result.

    A segment whose attempts failed `attempts` times makes its trial *crashed*, and the study goes on.
    """

    attempts: Count = 3
    memory_gib: Annotated[float, Field(gt=0, le=2**20)] | None = None
    stalled_seconds: Annotated[float, Field(gt=0, le=10**9)] = 900.0


class Rung(Value):
    """One level of the static schedule: a segment's env steps, the network's depth, how many configurations come here.

    `env`, when given, replaces the task's environment at this rung.
    """

    env_steps: Positive
    depth: Depth
    configurations: Count
    env: Annotated[str, Field(min_length=1)] | None = None


class Arm(Value):
    """One way of training, whole: everything that its ledger is a function of.

    With `boundary_env_steps` a segment is trained in *legs* of at least so many env steps (whole rollouts; the last leg
    is what is left). Between two legs lies a *boundary*, where every run begins fresh episodes with fresh seeds, and
    where a new attempt goes on after a kill. It changes the result, so it belongs to the study; null: no boundaries.
    """

    study: Name
    name: Name
    seed: Seed
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    device: Literal["auto", "cpu", "cuda"] = "auto"
    boundary_env_steps: Positive | None = None
    task: Task
    evaluation: Evaluation = Evaluation()
    space: dict[str, JsonValue]
    ppo: PPOSettings = PPOSettings()
    network: Network
    growth: Growth = Growth()
    search: Search
    limits: Limits = Limits()
    rungs: Annotated[tuple[Rung, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _rules_across_keys(self) -> Arm:
        if self.name in RESERVED_NAMES:
            rule = f"an arm cannot be called so: beside the arms' folders lie {', '.join(RESERVED_NAMES)}"
            raise RuleBroken("name", self.name, rule)
        if len(set(self.seeds)) != len(self.seeds):
            raise RuleBroken("seeds", list(self.seeds), "a seed may stand here only once")
        for i, rung in enumerate(self.rungs):
            if rung.env_steps % self.task.envs:
                raise RuleBroken(
                    f"rungs[{i}].env_steps",
                    rung.env_steps,
                    f"must be a multiple of task.envs ({self.task.envs}), so that env steps are counted exactly;"
                    f" the nearest is {max(1, round(rung.env_steps / self.task.envs)) * self.task.envs}",
                )
        if self.boundary_env_steps is not None:
            longest = max(rung.env_steps for rung in self.rungs)
            if longest // self.boundary_env_steps > MOST_LEGS:
                rule = f"a segment of {longest} env steps would have more than {MOST_LEGS:,} boundaries"
                fewest = -(-longest // MOST_LEGS)
                raise RuleBroken("boundary_env_steps", self.boundary_env_steps, f"{rule}: must be at least {fewest}")
        for i in range(1, len(self.rungs)):
            below, rung = self.rungs[i - 1], self.rungs[i]
            if rung.depth < below.depth:
                raise RuleBroken(
                    f"rungs[{i}].depth",
                    rung.depth,
                    f"a network may not shrink: must be at least {below.depth}, the depth of the rung below",
                )
            if rung.configurations > below.configurations:
                raise RuleBroken(
                    f"rungs[{i}].configurations",
                    rung.configurations,
                    f"a rung cannot promote more configurations than it has: must be at most {below.configurations}",
                )
        grows = self.rungs[-1].depth > self.rungs[0].depth
        if grows and self.network.activation not in IDEMPOTENT_ACTIVATIONS:
            raise RuleBroken(
                "network.activation",
                self.network.activation,
                "the rungs deepen the network, and an identity layer is exact only behind an idempotent activation,"
                f" f(f(x)) = f(x): use one of {', '.join(IDEMPOTENT_ACTIVATIONS)}, or the same depth on every rung",
            )
        if self.network.kind == "minihack-cnn" and self.ppo.normalize_observations:
            rule = "a map of characters has no mean: must be false for minihack-cnn"
            raise RuleBroken("ppo.normalize_observations", True, rule)
        rollout = self.ppo.n_steps * self.task.envs
        if self.ppo.batch_size > rollout:
            raise RuleBroken(
                "ppo.batch_size",
                self.ppo.batch_size,
                f"a minibatch cannot be larger than a rollout, ppo.n_steps x task.envs = {rollout}",
            )
        return self

    def env_of(self, rung: int) -> str:
        """The environment's id at `rung` (counted from 1)."""
        return self.rungs[rung - 1].env or self.task.env

    @property
    def env_steps(self) -> int:
        """Env steps from the first rung's start to the last rung's end."""
        return sum(rung.env_steps for rung in self.rungs)

    def env_steps_before(self, rung: int) -> int:
        """Env steps a lineage has behind it when `rung` (counted from 1) starts."""
        return sum(r.env_steps for r in self.rungs[: rung - 1])
