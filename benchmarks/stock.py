"""Gymnasium's own environments, as a trainer would make them: what ours are measured against."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium

from grownn_hpo.envs.opening import is_minihack


def make(env: str, kwargs: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    """The registered environment; MiniHack's with the one observation that ours has, and no calendar."""
    with warnings.catch_warnings():
        # A study names a version on purpose: Ant-v4 is the paper's.
        warnings.filterwarnings("ignore", r"(?s).*out of date", DeprecationWarning)
        if not is_minihack(env):
            return gymnasium.make(env, **kwargs)
        import grownn_hpo.envs.minihack  # noqa: F401  (registers the 10x10 rooms)

        return gymnasium.make(env, observation_keys=("chars",), fix_moon_phase=True, **kwargs)
