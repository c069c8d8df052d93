"""The CPU's instruction set, by the names that torch chooses its kernels by."""

from __future__ import annotations

import os
from pathlib import Path

_ORDER = ("DEFAULT", "AVX2", "AVX512")


def cpu_capability() -> str:
    """What decides how sums are rounded: AVX512, AVX2 or DEFAULT, told without importing torch.

    Where ATEN_CPU_CAPABILITY limits torch's kernels, and ours, both: others, such as MKL's, do not heed it.
    """
    has, used = _has(), used_capability()
    return has if used == has else f"{has} limited to {used}"


def used_capability() -> str:
    """The instruction set for our kernels: the CPU's, or what ATEN_CPU_CAPABILITY names, if that is less."""
    has, wanted = _has(), os.environ.get("ATEN_CPU_CAPABILITY", "").upper()
    return min(has, wanted, key=_ORDER.index) if wanted in _ORDER else has


def _has() -> str:
    flags = set(cpuinfo("flags").split())
    if {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma"} <= flags:
        return "AVX512"
    return "AVX2" if {"avx2", "fma"} <= flags else "DEFAULT"


def cpuinfo(field: str) -> str:
    """What the kernel says of the first CPU under this name; empty where it says nothing."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == field), "")
