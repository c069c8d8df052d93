"""Tests of what is an optional extra: they skip, and say so, where it is not installed; in CI they must run."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest


def needs(extra: str, package: str) -> None:
    """For the top of a test's module, or of a test."""
    if find_spec(package) is None:
        told = f"{package} is not installed: pip install -e '.[{extra}]'"
        if os.environ.get("CI") == "true":
            pytest.fail(told, pytrace=False)
        pytest.skip(told, allow_module_level=True)


def module(extra: str, name: str) -> Any:
    """The module of that name, for the same places."""
    needs(extra, name.partition(".")[0])
    return import_module(name)
