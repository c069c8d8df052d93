"""A search space's hyperparameters as numbers from 0 to 1: axes to draw, and what a forest learns from.

A continuous or integer value stands where it lies in its range (by its logarithm where the space says so), a choice
where it stands among the choices. Constants are left out: they explain nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

INACTIVE = -1.0
"""Where a hyperparameter stands in configurations that do not use it."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One hyperparameter: its range, or its choices (then `low` and `high` say nothing)."""

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple[JsonValue, ...] = ()

    def place(self, value: JsonValue) -> float:
        """Where the value stands, 0 to 1; `INACTIVE` for None."""
        if value is None:
            return INACTIVE
        if self.choices:
            return (self.choices.index(value) + 0.5) / len(self.choices)
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, float(value)))  # type: ignore[arg-type]
        return (at - low) / (high - low)

    def mass_below(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share of the hyperparameter's values, all of its range or choices alike, that stand below `places`."""
        if not self.choices:
            return np.clip(places, 0, 1)
        return np.round(np.clip(places, 0, 1) * len(self.choices)) / len(self.choices)

    def ticks(self) -> list[tuple[float, str]]:
        """Places to name, and their names: a range's ends, or every choice (of many, the first and the last)."""
        if not self.choices:
            return [(0.0, f"{self.low:g}"), (1.0, f"{self.high:g}")]
        shown = self.choices if len(self.choices) <= 8 else (self.choices[0], self.choices[-1])
        return [(self.place(choice), str(choice)) for choice in shown]


def axes_of(space: Mapping[str, JsonValue], configurations: Sequence[Mapping[str, JsonValue]]) -> tuple[Axis, ...]:
    """The axes of a search space in ConfigSpace's serialisation, in its order.

    Where a distribution has no bounds, what was tried bounds it. One that can only take, or only took, a single value
    is left out.
    """
    entries: Any = space.get("hyperparameters", ())
    axes = []
    for entry in entries:
        name = entry["name"]
        if choices := entry.get("choices") or entry.get("sequence"):
            if len(choices) > 1:
                axes.append(Axis(name, choices=tuple(choices)))
            continue
        tried = [float(v) for c in configurations if isinstance(v := c.get(name), int | float)]
        if "value" in entry or not tried:
            continue
        low = entry["lower"] if entry.get("lower") is not None else min(tried)
        high = entry["upper"] if entry.get("upper") is not None else max(tried)
        if low < high:
            axes.append(Axis(name, float(low), float(high), bool(entry.get("log"))))
    return tuple(axes)


def placed(axes: Sequence[Axis], configurations: Sequence[Mapping[str, JsonValue]]) -> NDArray[np.float64]:
    """Every configuration's places on the axes, shape (configurations, axes)."""
    rows = [[axis.place(configuration.get(axis.name)) for axis in axes] for configuration in configurations]
    return np.array(rows, dtype=np.float64).reshape(len(configurations), len(axes))
