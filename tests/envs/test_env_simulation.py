"""MuJoCo spared what it does in vain, beside MuJoCo as it comes."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.ant_v5 import AntEnv

from grownn_hpo.envs import VectorEnv
from grownn_hpo.envs.generic import GymnasiumEnv
from grownn_hpo.envs.mujoco import MuJoCoTeam
from grownn_hpo.envs.simulation import _say, touching_the_world, without_islands

pytestmark = pytest.mark.filterwarnings("ignore:.*settotalmass:UserWarning")

ASSETS = Path(gymnasium.__file__).parent / "envs/mujoco/assets"
CONTACT = (
    "dist",
    "pos",
    "frame",
    "includemargin",
    "friction",
    "solref",
    "solreffriction",
    "solimp",
    "mu",
    "dim",
    "geom",
)

CAPSULES = """\
<mujoco>
  <default><geom condim="3" friction="1 0.5 0.5" margin="0.01"/></default>
  <worldbody>
    <geom name="floor" type="plane" size="9 9 9" {floor}/>
    <body name="left" pos="0 0 0.3"><freejoint/><geom name="left" type="capsule" size="0.1 0.2" {left}/></body>
    <body name="right" pos="1 0 0.3"><freejoint/><geom {right} type="capsule" size="0.1 0.2"/></body>
  </worldbody>
  {more}
</mujoco>
"""
APART = {"floor": 'conaffinity="1"', "left": 'conaffinity="0"', "right": 'name="right" conaffinity="0"', "more": ""}


@pytest.fixture(autouse=True)
def _away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings to a log in the folder where it runs


def written(text: str) -> str:
    Path("model.xml").write_text(text)
    return str(Path("model.xml").absolute())


@pytest.mark.parametrize(("task", "pairs"), [("ant", 13), ("half_cheetah", 8)])
def test_wherever_a_body_lies_its_contacts_are_the_same(task: str, pairs: int) -> None:
    """In poses in which few geoms, and in which all, are below the floor; so are the accelerations that follow."""
    file = str(ASSETS / f"{task}.xml")
    stock, told = mujoco.MjModel.from_xml_path(file), copy(touching_the_world(file))
    assert told is not None
    assert (stock.npair, told.npair) == (0, pairs)
    seen, ours = mujoco.MjData(stock), mujoco.MjData(told)
    generator = np.random.default_rng(0)
    contacts, most = 0, 0
    for number in range(500):
        pose = stock.qpos0 + generator.normal(0, 0.5, stock.nq)
        for model, data in ((stock, seen), (told, ours)):
            model.geom("floor").pos[2] = number % 10 / 5
            mujoco.mj_resetData(model, data)
            data.qpos[:] = pose
            mujoco.mj_forward(model, data)
        assert seen.ncon == ours.ncon
        for name in CONTACT:
            np.testing.assert_array_equal(getattr(ours.contact, name), getattr(seen.contact, name), err_msg=name)
        np.testing.assert_array_equal(ours.qacc, seen.qacc)
        contacts, most = contacts + seen.ncon, max(most, seen.ncon)
    assert contacts > 1000
    assert most >= pairs


def test_models_of_bodies_apart_are_told_their_contacts() -> None:
    told = touching_the_world(written(CAPSULES.format(**APART)))
    assert told is not None
    assert told.npair == 2


@pytest.mark.parametrize(
    "spoilt",
    [
        {"left": ""},  # the two can touch each other
        {"left": 'conaffinity="0" friction="0.5 0.5 0.5"'},
        {"left": 'conaffinity="0" solref="0.03 1"'},
        {"left": 'conaffinity="0" gap="0.001"'},
        {"right": 'conaffinity="0"'},  # it has no name
        {"more": '<contact><exclude body1="left" body2="right"/></contact>'},
        {"more": '<contact><pair geom1="left" geom2="right"/></contact>'},
        {"floor": 'conaffinity="0" contype="0"'},  # nothing can touch anything
    ],
)
def test_models_that_mix_or_hide_what_can_touch_are_left_alone(spoilt: dict[str, str]) -> None:
    assert touching_the_world(written(CAPSULES.format(**APART | spoilt))) is None


@pytest.mark.parametrize("task", ["hopper", "walker2d", "inverted_pendulum"])
def test_tasks_whose_parts_can_touch_are_left_alone(task: str) -> None:
    assert touching_the_world(str(ASSETS / f"{task}.xml")) is None


def simulated(env: str, kwargs: dict[str, Any], pictures: bool = False) -> Any:
    """The task below one of our environments."""
    ours = GymnasiumEnv(env, kwargs, pictures)
    ours.close()
    return ours._env.unwrapped


def test_a_task_that_is_drawn_keeps_the_simulation_that_its_viewer_shows() -> None:
    drawn, trained = simulated("Ant-v5", {}, pictures=True), simulated("Ant-v5", {})
    assert drawn.data is drawn.mujoco_renderer.data
    assert (drawn.model.npair, trained.model.npair) == (0, 13)


def test_a_model_of_ones_own_is_as_it_was_read() -> None:
    """It may change between two readings, and what is known of a model is kept."""
    task = simulated("Ant-v5", {"xml_file": str(ASSETS / "ant.xml")})
    assert task.model.npair == 0


class OwnAnt(AntEnv):
    """A task of somebody's own."""


def test_a_task_of_ones_own_keeps_its_simulation() -> None:
    gymnasium.register("OwnAnt-v0", entry_point=OwnAnt, max_episode_steps=9)
    try:
        task = simulated("OwnAnt-v0", {})
    finally:
        del gymnasium.registry["OwnAnt-v0"]
    assert (task.model.npair, task.model.opt.disableflags) == (0, 0)


@pytest.mark.parametrize("number_of_trees", [1, 2])
def test_only_what_is_one_tree_is_solved_as_a_whole(number_of_trees: int) -> None:
    capsule = '<body><freejoint/><geom type="capsule" size="0.1 0.2"/></body>'
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{capsule * number_of_trees}</worldbody></mujoco>")
    without_islands(model)
    assert bool(model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_ISLAND) == (number_of_trees == 1)


def test_nothing_is_timed() -> None:
    task = simulated("Ant-v5", {})
    task.reset(seed=0)
    mujoco.mj_step(task.model, task.data, nstep=10)
    step = task.data.timer[mujoco.mjtTimer.mjTIMER_STEP]
    assert (step.number, step.duration) == (10, 0)


def test_warnings_are_printed_once_and_leave_no_log(capfd: pytest.CaptureFixture[str]) -> None:
    _say.cache_clear()
    for _ in range(3):
        task = simulated("HalfCheetah-v5", {})
    task.data.qvel[:] = 1e12
    mujoco.mj_step(task.model, task.data)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(maxsplit=3)[:3] for line in lines] == [
        ["MuJoCo:", "compiler", "attribute"],
        ["MuJoCo:", "Nan,", "Inf"],
    ]
    assert not list(Path().iterdir())


def test_each_environment_of_a_team_warns_in_each_of_its_episodes() -> None:
    """As often as the tasks themselves do."""
    heard: list[str] = []
    mujoco.set_mju_user_warning(heard.append)
    try:
        with VectorEnv("Hopper-v4", {}, 3, seed=0) as vector:
            team = vector._team
            assert isinstance(team, MuJoCoTeam)
            for _ in range(2):
                vector.reset()
                heard.clear()
                for step in range(3):
                    team._batch.bind("qvel")[1:] = 1e12
                    vector.advance(np.zeros((3, 3)))
                    assert len(heard) == 2, step  # a simulation warns once until it is reset
    finally:
        mujoco.set_mju_user_warning(None)
    assert "QVEL" in heard[0]


def test_somebodys_own_handler_of_warnings_stays() -> None:
    heard: list[str] = []
    mujoco.set_mju_user_warning(heard.append)
    try:
        simulated("HalfCheetah-v5", {})
    finally:
        mujoco.set_mju_user_warning(None)
    assert heard
