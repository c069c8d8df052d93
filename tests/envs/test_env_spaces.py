from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import toy_envs  # noqa: F401  (found here, it can be found by `toy_envs:` ids)

from grownn_hpo.envs import describe
from grownn_hpo.errors import InputError
from grownn_hpo.spec import Characters, Continuous, Discrete, Spaces, Vector

INF = float("inf")


@pytest.mark.parametrize(
    ("env", "kwargs", "spaces"),
    [
        ("CartPole-v1", {}, Spaces(Vector(4), Discrete(2))),
        ("Pendulum-v1", {}, Spaces(Vector(3), Continuous((-2.0,), (2.0,)))),
        ("FrozenLake-v1", {"map_name": "8x8"}, Spaces(Vector(64), Discrete(4))),
        # The paper's: without the contact forces, which would make 111.
        ("Ant-v4", {}, Spaces(Vector(27), Continuous((-1.0,) * 8, (1.0,) * 8))),
        ("MiniHack-Room-5x5-v0", {}, Spaces(Characters(21, 79), Discrete(8))),
        ("MiniHack-Room-Random-10x10-v0", {"actions": [107, 106]}, Spaces(Characters(21, 79), Discrete(2))),
        ("toy_envs:Shaped-v0", {}, Spaces(Vector(35), Discrete(3))),
        ("toy_envs:Shaped-v0", {"observation": "integers"}, Spaces(Vector(4), Discrete(3))),
        ("toy_envs:Counter-v0", {}, Spaces(Vector(4), Discrete(4))),
        (
            "toy_envs:Echo-v0",
            {"shape": [2, 1], "low": None, "high": 3, "dtype": "float64"},
            Spaces(Vector(3), Continuous((-INF, -INF), (3.0, 3.0))),
        ),
    ],
)
def test_spaces(env: str, kwargs: dict[str, Any], spaces: Spaces) -> None:
    assert describe(env, kwargs) == spaces


@pytest.mark.parametrize(
    ("env", "kwargs", "key", "words"),
    [
        ("Antt-v4", {}, "task.env", "no environment that Gymnasium knows; did you mean Ant-v"),
        ("cartpole-v1", {}, "task.env", "did you mean CartPole-v1"),
        ("MiniHack-Room-Random-10x11-v0", {}, "task.env", "did you mean MiniHack-Room-Random-10x10-v0"),
        ("Minihack-Room-Random-10x10-v0", {}, "task.env", "did you mean MiniHack-Room-Random-10x10-v0"),
        ("Xq-v0", {}, "task.env", "`module:EnvId` imports a module"),
        ("CartPole-v9", {}, "task.env", "no environment that Gymnasium knows"),
        ("two words", {}, "task.env", "Malformed environment ID"),
        ("no_such_module:Thing-v0", {}, "task.env", "no_such_module"),
        ("toy_envs:Thing-v0", {}, "task.env", "no environment that Gymnasium knows"),
        ("toy_envs:Needy-v0", {}, "task.env", "pip install moonlander"),
        ("toy_envs:Echo-v0", {}, "task.env", "missing 4 required"),
        ("CartPole-v1", {"gravity_": 1}, "task.kwargs", "gravity_"),
        ("MiniHack-Room-5x5-v0", {"gravity": 1}, "task.kwargs", "gravity"),
        ("MiniHack-Room-5x5-v0", {"observation_keys": ["glyphs"]}, "task.kwargs.observation_keys", "leave it out"),
        ("MiniHack-Room-5x5-v0", {"fix_moon_phase": False}, "task.kwargs.fix_moon_phase", "leave it out"),
        ("MiniHack-Room-5x5-v0", {"max_episode_steps": 0}, "task.kwargs.max_episode_steps", "at least 1"),
        (
            "toy_envs:Shaped-v0",
            {"observation": "dictionary"},
            "task.env",
            "observation space must be a Box or Discrete",
        ),
        ("toy_envs:MiniHack-Toy-v0", {}, "task.env", "must show `chars`"),
        ("toy_envs:Shaped-v0", {"action": "choices"}, "task.env", "action space must be a Box or Discrete"),
    ],
)
def test_what_builds_nothing_is_named(env: str, kwargs: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        describe(env, kwargs)
    (fault,) = caught.value.faults
    assert (fault.file, fault.key) == ("", key)
    assert words in fault.rule
    value: Any = {"task.env": env, "task.kwargs": kwargs}.get(key, kwargs.get(key.rpartition(".")[2]))
    assert fault.value == value


def test_the_room_loads_no_simulator_until_one_is_built() -> None:
    heavy = ("gymnasium", "minihack", "nle", "mujoco", "torch", "smac")
    program = f"import sys, grownn_hpo.envs; print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
