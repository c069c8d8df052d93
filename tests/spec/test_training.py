"""Legs: exact, of whole rollouts, and one where nothing asks for boundaries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grownn_hpo.spec import PPOSettings, configured, legs, legs_of
from grownn_hpo.spec.study import load_study

steps = st.integers(1, 5000)


@given(steps, steps, steps)
def test_legs_are_exact_and_as_short_as_whole_rollouts_allow(env_steps: int, rollout: int, boundary: int) -> None:
    cut = legs(env_steps, rollout, boundary)
    assert sum(cut) == env_steps
    assert min(cut) >= 1
    for leg in cut[:-1]:
        assert leg % rollout == 0
        assert leg >= boundary > leg - rollout
    assert len(set(cut[:-1])) <= 1
    assert len(cut) == 1 or cut[-1] <= cut[0]


@given(steps, steps)
def test_without_boundaries_there_is_one_leg(env_steps: int, rollout: int) -> None:
    assert legs(env_steps, rollout, None) == (env_steps,)
    assert legs(env_steps, rollout, env_steps) == (env_steps,)


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [({}, (102_400,) * 4 + (90_400,)), ({"n_steps": 512}, (102_400,) * 4 + (90_400,)), ({"n_steps": 20_001}, None)],
)
def test_rollouts_are_those_of_the_configuration(
    configuration: dict[str, int], expected: tuple[int, ...] | None
) -> None:
    arm = load_study("room-random-10x10").arms[0]
    assert legs_of(arm, 1, configuration) == (expected or (100_005,) * 4 + (99_980,))


def test_a_configuration_is_validated_as_a_whole() -> None:
    assert configured(PPOSettings(), {"n_steps": 64}) == PPOSettings(n_steps=64)
    with pytest.raises(ValueError, match="n_step"):
        configured(PPOSettings(), {"n_step": 64})
