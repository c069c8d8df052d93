"""Tests of what is an optional extra: they skip, and say so, where it is not installed; in CI they must run."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest


def module(extra: str, name: str) -> Any:
    """The module of that name; for the top of a test's module, or of a test."""
    package = name.partition(".")[0]
    if find_spec(package) is None and os.environ.get("CI") != "true":
        pytest.skip(f"{package} is not installed: pip install -e '.[{extra}]'", allow_module_level=True)
    return import_module(name)
