"""What a configuration makes of an arm's rung: its settings, and the legs that a segment is trained in.

A *leg* is a stretch of training between two *boundaries* of a segment; the first begins and the last ends with the
segment. At a boundary every run, interrupted or not, begins fresh episodes with fresh seeds: so a new attempt can go on
from there to the very same bits.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from grownn_hpo.spec.values import Arm, PPOSettings


def configured(settings: PPOSettings, configuration: Mapping[str, JsonValue]) -> PPOSettings:
    """The study's PPO settings with a configuration laid over them, validated as a whole."""
    return PPOSettings.model_validate({**settings.model_dump(), **configuration})


def legs(env_steps: int, rollout_env_steps: int, boundary_env_steps: int | None) -> tuple[int, ...]:
    """The env steps of each leg of a segment of `env_steps`, in order; their sum is exactly that.

    Each is the smallest number of whole rollouts (of `rollout_env_steps`) that makes at least `boundary_env_steps`; the
    last is what is left. One leg where there are no boundaries (None). All numbers are at least 1.
    """
    if boundary_env_steps is None:
        return (env_steps,)
    leg = -(-boundary_env_steps // rollout_env_steps) * rollout_env_steps
    whole, rest = divmod(env_steps, leg)
    return (leg,) * whole + ((rest,) if rest else ())


def legs_of(arm: Arm, rung: int, configuration: Mapping[str, JsonValue]) -> tuple[int, ...]:
    """The env steps of each leg of a configuration's segments at `rung` (counted from 1)."""
    rollout = configured(arm.ppo, configuration).n_steps * arm.task.envs
    return legs(arm.rungs[rung - 1].env_steps, rollout, arm.boundary_env_steps)
