"""The way to build one environment from its id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grownn_hpo.envs.interface import Single
from grownn_hpo.spec import Spaces


def is_minihack(env: str) -> bool:
    """Whether `env` names a MiniHack environment, with or without a `module:` before it."""
    return env.rpartition(":")[2].startswith("MiniHack-")


def modules(env: str) -> tuple[str, ...]:
    """The modules that building `env` imports: a process that has them builds it faster. Nothing for an unknown id."""
    if is_minihack(env):
        return ("grownn_hpo.envs.minihack",)
    import gymnasium

    try:
        entry = gymnasium.spec(env).entry_point
    except (gymnasium.error.Error, ImportError):
        return ()
    outside = env.rpartition(":")[0]
    own = entry.partition(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", "")
    return ("grownn_hpo.envs.generic", *(name for name in (outside, own) if name))


def open_env(env: str, kwargs: Mapping[str, Any], pictures: bool = False) -> Single:
    """Build one environment; with `pictures`, one that can be drawn, if its kind ever can (MiniHack is text).

    Raises:
        InputError: the id is unknown, its module or a dependency is missing, it refuses `kwargs`, or its spaces are
            none that the networks know.
    """
    # The imports wait until here: together they cost half a second, and a driver needs none of them.
    if is_minihack(env):
        from grownn_hpo.envs.minihack import MiniHackEnv

        return MiniHackEnv(env, kwargs)
    from grownn_hpo.envs.generic import GymnasiumEnv

    return GymnasiumEnv(env, kwargs, pictures)


def describe(env: str, kwargs: Mapping[str, Any]) -> Spaces:
    """What an agent sees and does in `env`; builds the environment once and closes it.

    A Box is seen as Vector(its flattened size), a Discrete as Vector(n), one-hot; MiniHack as Characters(21, 79).

    Raises:
        InputError: as `open_env`; its faults have the key `task.env` or one below `task.kwargs`, and no file.
    """
    single = open_env(env, kwargs)
    try:
        return single.spaces
    finally:
        single.close()
