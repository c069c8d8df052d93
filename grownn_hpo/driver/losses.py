"""Attempts that were lost: they never count against a configuration, but nobody should wait for ever."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from grownn_hpo.errors import Stopped
from grownn_hpo.trial import Segment

LOST_LIMIT = 50
"""So often may a segment's attempts be ended from outside, without getting it any further, before the study stops."""
CUT_LIMIT = 3
"""So often may they spend all the time of a worker job on that."""
HICCUP_LIMIT = 2
"""So often may an attempt end with an error of the storage that may pass, and the segment be tried again."""


@dataclass(slots=True)
class _Lost:
    reached: int
    attempts: int = 0
    cut: int = 0


class Losses:
    """The losses of each segment since it last got further."""

    def __init__(self, boundary_env_steps: int | None) -> None:
        self._boundary_env_steps = boundary_env_steps
        self._lost: dict[Segment, _Lost] = {}
        self._hiccups: Counter[Segment] = Counter()

    def hiccup(self, segment: Segment, detail: str) -> None:
        """One more attempt met an error of the storage that may pass. Raises Stopped with `detail`."""
        self._hiccups[segment] += 1
        if self._hiccups[segment] > HICCUP_LIMIT:
            raise Stopped(detail)

    def count(self, segment: Segment, reached: int, reason: str, had_all_time: bool) -> None:
        """One more attempt was lost; `reached` are the segment's env steps where the next begins. Raises Stopped."""
        lost = self._lost.get(segment)
        if lost is None or reached > lost.reached:
            lost = self._lost[segment] = _Lost(reached)
        lost.attempts += 1
        lost.cut += had_all_time
        if lost.attempts >= LOST_LIMIT:
            raise Stopped(f"{segment}: its attempts were ended from outside {LOST_LIMIT} times: {reason}")
        if lost.cut >= CUT_LIMIT:
            boundary = self._boundary_env_steps
            now = "the study has none" if boundary is None else f"now {boundary}"
            raise Stopped(
                f"{segment}: {CUT_LIMIT} worker jobs spent all their time on it without reaching a boundary. Give the"
                " jobs more time (`walltime` in the cluster profile), or begin the study anew, under another name, with"
                f" a smaller boundary_env_steps ({now}): what is trained up to a boundary is kept"
            )
