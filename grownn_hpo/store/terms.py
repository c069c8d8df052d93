"""What stored files belong to, by its hash, so that one from another study or arm in their place is noticed.

A segment's *terms* are all that its result is a function of beside its own key and its parent's checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from pydantic import JsonValue

from grownn_hpo.spec import Arm

# What of an arm says nothing about a single segment's training; `extend` and `--set limits` change some of it.
_NOT_TERMS = {"limits", "search", "seeds", "space"}


def terms_sha256(arm: Arm, configuration: Mapping[str, JsonValue]) -> str:
    """The terms of a configuration's segments."""
    return _sha256(_dumped(arm, _NOT_TERMS), configuration)


def terms_of(arm: Arm, configurations: Mapping[int, Mapping[str, JsonValue]]) -> dict[int, str]:
    """The terms of an arm's configurations, by their numbers."""
    dumped = _dumped(arm, _NOT_TERMS)
    return {number: _sha256(dumped, configuration) for number, configuration in configurations.items()}


def arm_sha256(arm: Arm) -> str:
    """The SHA-256 of all that an arm's brackets are a function of beside their numbers and earlier outcomes."""
    dumped = _dumped(arm, {"limits": True, "search": {"trials"}})
    return hashlib.sha256(json.dumps(dumped, sort_keys=True).encode()).hexdigest()


def _dumped(arm: Arm, leave_out: set[str] | dict[str, bool | set[str]]) -> dict[str, JsonValue]:
    """Without what is as it is by default: a setting that a later version adds leaves older studies' hashes alone."""
    return arm.model_dump(mode="json", exclude=leave_out, exclude_defaults=True)


def _sha256(arm: Mapping[str, JsonValue], configuration: Mapping[str, JsonValue]) -> str:
    terms = {"arm": arm, "configuration": configuration}
    return hashlib.sha256(json.dumps(terms, sort_keys=True).encode()).hexdigest()
