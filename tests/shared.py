"""What is made once for all of pytest's processes, and copied by the tests that need it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from program import TINY, command, surroundings


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name, made by whichever process needs it first: nobody may change it."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each of xdist's processes has a folder in there
    folder, half_made = base / f"made-{name}", base / f"half-made-{name}"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(half_made, ignore_errors=True)
            half_made.mkdir()
            make(half_made)
            half_made.rename(folder)
    return folder


def run_tiny(folder: Path, *words: object) -> None:
    """The tiny study, run to its end in `folder` without interruption and without Dask, and its table."""
    (folder / "tiny.yaml").write_text(TINY)
    for args in (("run", "tiny.yaml", "--workers", 0, *words), ("table", "results/tiny")):
        done = subprocess.run(
            command(*args), cwd=folder, env=surroundings(), capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr
    (folder / "table.csv").write_text(done.stdout)
