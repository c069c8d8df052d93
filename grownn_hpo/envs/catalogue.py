"""Building an environment by its id, and saying what is wrong with an id that builds nothing."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium

from grownn_hpo.errors import Fault, InputError


def make(env: str, kwargs: Mapping[str, Any], **fixed: Any) -> Any:
    """Gymnasium's environment of this id, without the passive checker (it costs time and changes nothing).

    `kwargs` are the user's, `fixed` ours. The result is a `gymnasium.Env`, which its own methods' types do not bear.

    Raises:
        InputError: no such environment, or it cannot be built from `kwargs`.
    """
    try:
        with warnings.catch_warnings():
            # A study names a version on purpose: Ant-v4 is the paper's.
            warnings.filterwarnings("ignore", r"(?s).*The environment \S+ is out of date", DeprecationWarning)
            return gymnasium.make(env, disable_env_checker=True, **kwargs, **fixed)
    except ModuleNotFoundError as error:
        raise fault(env, f"a module is missing: {error}; install it, or mend the name") from error
    except gymnasium.error.DependencyNotInstalled as error:
        raise fault(env, f"a package it needs is missing: {error}") from error
    except gymnasium.error.UnregisteredEnv as error:
        raise fault(env, f"is no environment that Gymnasium knows{_near(env)}") from error
    except gymnasium.error.Error as error:
        raise fault(env, str(error)) from error
    except Exception as error:  # a constructor is someone else's code, and may raise anything at all
        reason = f"{type(error).__name__}: {error}"
        if kwargs:
            rule = f"{env} cannot be built from these: {reason}"
            raise InputError(Fault("", "task.kwargs", dict(kwargs), rule)) from error
        raise fault(env, f"cannot be built: {reason}") from error


def fault(env: str, rule: str) -> InputError:
    """The error of an environment's id that breaks `rule`; who read the study file adds the file's name."""
    return InputError(Fault("", "task.env", env, rule))


def _near(env: str) -> str:
    """The known ids most like `env`, as the end of a sentence."""
    _, _, name = env.rpartition(":")
    if "hack" in name.casefold():
        import grownn_hpo.envs.minihack  # noqa: F401  (registers its environments; too slow to load for others)
    known = {known.casefold(): known for known in gymnasium.registry}
    near = [known[match] for match in difflib.get_close_matches(name.casefold(), known, n=3)]
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return "; `module:EnvId` imports a module that registers its own"
