"""What an agent sees and does, in the few shapes that the networks know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vector:
    """A float vector of `size` numbers: a flattened Box, or a one-hot Discrete."""

    size: int


@dataclass(frozen=True, slots=True)
class Characters:
    """A map of `rows` x `columns` characters, uint8."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Discrete:
    """One of `n` actions, 0 to n-1."""

    n: int


@dataclass(frozen=True, slots=True)
class Continuous:
    """A float vector of actions, each clipped to its bounds (which may be infinite)."""

    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Spaces:
    """An environment's two spaces."""

    observation: Vector | Characters
    action: Discrete | Continuous
