"""Packages of the optional extras: on a user's machine a test that needs one says so and skips, in CI it fails."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest


def needed(module: str, extra: str) -> ModuleType:
    """The module, imported."""
    try:
        return importlib.import_module(module)
    except ImportError:
        said = f"{module} is not installed: pip install 'grownn-hpo[{extra}]'"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
