"""What training asks of the environments: a structure, so that this room knows none of them.

`N` is the number of environments side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from grownn_hpo.spec import Spaces

Array = NDArray[Any]


class Episode(Protocol):
    """A finished episode: the sum of its (unscaled) rewards, its length in env steps, success where that is known."""

    @property
    def total(self) -> float: ...
    @property
    def length(self) -> int: ...
    @property
    def success(self) -> bool | None: ...


class Step(Protocol):
    """What one step of all environments gave.

    `observations` [N, ...] are the next ones to act on: of the new episode where one ended. `rewards` float64 [N];
    `terminated`, `truncated` bool [N]. `final_observations` maps the index of each environment whose episode ended to
    the last observation of that episode; `episodes` are those that ended.
    """

    @property
    def observations(self) -> Array: ...
    @property
    def rewards(self) -> NDArray[np.float64]: ...
    @property
    def terminated(self) -> NDArray[np.bool_]: ...
    @property
    def truncated(self) -> NDArray[np.bool_]: ...
    @property
    def final_observations(self) -> Mapping[int, Array]: ...
    @property
    def episodes(self) -> Sequence[Episode]: ...


class Environments(Protocol):
    """`n` environments side by side; an episode that ends is followed by a reset within the same step.

    Observations are float32 [N, size] or uint8 [N, rows, columns]. Actions are int64 [N], or float32 [N, A] as sampled:
    the environments clip them to their bounds.
    """

    @property
    def n(self) -> int: ...
    @property
    def spaces(self) -> Spaces: ...
    def reset(self) -> Array: ...
    def step(self, actions: Array) -> Step: ...
