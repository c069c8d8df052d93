"""MuJoCo without two things that cost a quarter of Ant's env steps and change no number.

`touching_the_world` compiles a task's model anew, with the pairs of geoms that can touch named beforehand. Where moving
geoms touch only what stands still (Ant and HalfCheetah the floor), MuJoCo's broad phase finds the same pairs at every
evaluation of the dynamics, after it has sorted those that never can.

`without_timers` takes away the clock that MuJoCo's Python package has its stages timed with, for `mjData.timer`.
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

_ALIKE = ("condim", "priority", "friction", "solmix", "solref", "solimp")
"""Where both geoms of a pair have the same, so has their contact, by every rule of MuJoCo's for mixing them."""


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


def without_timers() -> None:
    """Set `timer` to what it is in MuJoCo itself: nothing. `mujoco.set_mjcb_time(None)` would set Python's again."""
    timer().value = None


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
