"""MuJoCo's simulation without what changes no number: a third of Ant's env steps.

- Contacts. Where moving geoms touch only what stands still (Ant and HalfCheetah the floor), MuJoCo's broad phase sorts
  pairs that never can touch, at every evaluation of the dynamics. A model that names those that can leaves nothing to
  sort.
- Islands, the parts of a model that no constraint connects, and that are solved each by itself. A model of a single
  kinematic tree is a single part, which MuJoCo finds anew each time.
- The clock by which MuJoCo's Python package has all stages timed, for `mjData.timer`.

And without the log of warnings that MuJoCo would leave in whichever folder it runs in.
"""

from __future__ import annotations

import ctypes
import sys
import warnings
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from itertools import combinations
from typing import Any

import gymnasium
import numpy as np

_TASKS = "gymnasium.envs.mujoco."
_ALIKE = ("condim", "priority", "friction", "solmix", "solref", "solimp")
"""Where both geoms of a pair have the same, so has their contact, by every rule of MuJoCo's for mixing them."""


def spare(task: Any, kwargs: Mapping[str, Any]) -> None:
    """Have a task that was built from `kwargs` simulate as fast as it can; it must be reset before its next step.

    Only Gymnasium's own MuJoCo tasks, unwrapped, are changed: what others keep of their simulation is not known.
    """
    if not type(task).__module__.startswith(_TASKS):
        return
    from mujoco import MjData

    if task.render_mode is None and "xml_file" not in kwargs:  # a viewer shows the simulation that it was made for
        model = touching_the_world(task.fullpath)
        if model is not None:
            task.model, task.data = model, MjData(model)
    without_islands(task.model)
    # MuJoCo's own default. `mujoco.set_mjcb_time(None)` would set Python's clock again.
    timer().value = None


def keep_no_log(env: str) -> None:
    """Where `env` is one of Gymnasium's MuJoCo tasks, have warnings printed, and not written to MUJOCO_LOG.TXT.

    Somebody's own handler of MuJoCo's warnings stays.
    """
    known = gymnasium.registry.get(env)
    if known is None or not str(known.entry_point).startswith(_TASKS):
        return
    from mujoco import get_mju_user_warning, set_mju_user_warning

    if get_mju_user_warning() is None:
        set_mju_user_warning(_say)


@lru_cache(maxsize=64)
def _say(warning: str) -> None:
    """Once for all environments that are built from the same file."""
    print(f"MuJoCo: {warning.strip()}", file=sys.stderr)


@cache
def touching_the_world(file: str) -> Any | None:
    """The model in `file`, with its possible contacts named; it simulates the same as without, bit for bit.

    None where that is not known: moving geoms that can touch each other, pairs that are named or left out already,
    flexible bodies, or geoms whose contacts mix what differs between the two.
    """
    from mujoco import MjSpec

    spec = MjSpec.from_file(file)
    stock = _compiled(spec)
    pairs = list(_can_touch(stock))
    if stock.npair or stock.nexclude or stock.nflex or not pairs or not all(_simple(stock, *pair) for pair in pairs):
        return None
    for one, other in pairs:
        slide, spin, roll = stock.geom_friction[one]
        spec.add_pair(
            geomname1=stock.geom(one).name,
            geomname2=stock.geom(other).name,
            condim=stock.geom_condim[one],
            friction=[slide, slide, spin, roll, roll],
            solref=stock.geom_solref[one],
            solimp=stock.geom_solimp[one],
            margin=stock.geom_margin[one] + stock.geom_margin[other],
        )
    for geom in spec.geoms:
        geom.contype = geom.conaffinity = 0  # found by name alone
    return _compiled(spec)


def without_islands(model: Any) -> None:
    """Have a model of one kinematic tree solved as a whole."""
    from mujoco import mjtDisableBit

    if model.ntree == 1:
        model.opt.disableflags |= mjtDisableBit.mjDSBL_ISLAND


def timer() -> ctypes.c_void_p:
    """MuJoCo's global variable `mjcb_time`, which holds the address of a clock."""
    from mujoco import _functions

    return ctypes.c_void_p.in_dll(ctypes.CDLL(_functions.__file__), "mjcb_time")


def _compiled(spec: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium has compiled the same file, and what there is to say was said then
        return spec.compile()


def _can_touch(model: Any) -> Iterator[tuple[int, int]]:
    """The pairs of geoms that MuJoCo does not rule out by their bodies and bit masks."""
    kinds, takes = model.geom_contype, model.geom_conaffinity
    welded = model.body_weldid[model.geom_bodyid]
    for one, other in combinations(range(model.ngeom), 2):
        if welded[one] != welded[other] and (kinds[one] & takes[other] or kinds[other] & takes[one]):
            yield one, other


def _simple(model: Any, one: int, other: int) -> bool:
    """Whether one of the two stands still, and their contact has what both have; geoms are named by their names."""
    alike = all(np.array_equal(its[one], its[other]) for its in (getattr(model, f"geom_{name}") for name in _ALIKE))
    still = 0 in model.body_weldid[model.geom_bodyid[[one, other]]]
    named = bool(model.geom(one).name and model.geom(other).name)
    return alike and still and named and not model.geom_gap[[one, other]].any()
