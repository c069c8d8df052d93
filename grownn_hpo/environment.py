"""What a ledger depends on beside its study file: versions, the kernels' compiler, the CPU's instruction set."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import JsonValue

from grownn_hpo import __version__
from grownn_hpo.native import compiler
from grownn_hpo.native.cpu import cpu_capability, cpuinfo

PACKAGES = ("torch", "numpy", "gymnasium", "nle", "minihack", "mujoco", "smac", "ConfigSpace", "scipy", "scikit-learn")


def environment() -> dict[str, JsonValue]:
    """Versions, CPU and git commit, as `environment.json` keeps them. Raises NotBuilt where the kernels are missing."""
    return {
        "grownn_hpo": __version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpu_capability": cpu_capability(),
        "kernels": f"compiled by {compiler()}",
        "threads_per_attempt": 1,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def changes(recorded: dict[str, JsonValue], now: dict[str, JsonValue]) -> list[str]:
    """What changed that can change a result's bits, a line each; the git commit and the CPU's name cannot."""
    lines = []
    for key in ("grownn_hpo", "python", "cpu_capability", "kernels"):
        if recorded.get(key) != now[key]:
            lines.append(f"{key}: was {recorded.get(key)!r}, is {now[key]!r}")
    before, after = recorded.get("packages"), now["packages"]
    if isinstance(before, dict) and isinstance(after, dict):
        lines += [f"{n}: was {before.get(n)!r}, is {after[n]!r}" for n in PACKAGES if before.get(n) != after[n]]
    return lines


def _cpu() -> str:
    return cpuinfo("model name") or platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    folder = Path(sys.modules["grownn_hpo"].__path__[0]).parent
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        if not (folder / ".git").exists():  # an installed wheel may lie inside somebody else's repository
            return None
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
