"""The random streams of a segment, each with a seed of its own in every leg."""

from __future__ import annotations

import hashlib
from enum import StrEnum


class Stream(StrEnum):
    """The random streams of a segment."""

    INITIALISATION = "initialisation"
    ENVIRONMENTS = "environments"
    EVALUATION = "evaluation"
    ACTIONS = "actions"
    MINIBATCHES = "minibatches"


def stream_seed(study_seed: int, seed: int, rung: int, stream: Stream, leg: int = 1) -> int:
    """The seed of a random stream in a leg (counted from 1), 0 to 2^63 - 1."""
    text = f"{study_seed}/{seed}/{rung}/{stream}" + (f"/{leg}" if leg > 1 else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
