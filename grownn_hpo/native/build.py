"""Compiles the kernels when the package is built or installed: hatchling's build hook.

One library for each instruction set that torch distinguishes too, so that an installation serves all machines of a
cluster, and what is computed depends on the instruction set alone.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "kernels.c"
# Flags of each instruction set, by torch's names. `-ffast-math` is not among them: sums are added in the order written.
FLAGS = ["-std=gnu11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fPIC"]
FLAGS += ["-fvisibility=hidden"]
# By what they have, and not as -march=x86-64-v4, which gcc knows from 11 on: clusters have older ones.
AVX2 = ["-mavx2", "-mfma"]
AVX512 = [*AVX2, *(f"-mavx512{part}" for part in ("f", "bw", "cd", "dq", "vl")), "-mprefer-vector-width=512"]
X86_64 = {"AVX512": AVX512, "AVX2": AVX2, "DEFAULT": []}


class CompileKernels(BuildHookInterface[Any]):
    """Writes the libraries beside their source, for an editable installation as for a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as one for this kind of machine."""
        for library in compile_kernels(FOLDER):
            build_data["artifacts"].append(str(library.relative_to(self.root)))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def compile_kernels(folder: Path, *warnings: str) -> list[Path]:
    """Compile into `folder`; the libraries. Raises SystemExit, with what to do, where that cannot be done."""
    compiler = shlex.split(os.environ.get("CC") or "gcc")
    if shutil.which(compiler[0]) is None:
        raise SystemExit(
            f"{compiler[0]!r} was not found: grownn-hpo's kernels are compiled when it is installed;"
            " install a C compiler (Debian: gcc), or name one in the environment variable CC, or install a wheel"
        )
    sets = X86_64 if platform.machine() == "x86_64" else {"DEFAULT": []}
    libraries = []
    for name, flags in sets.items():
        objects = []
        for precision in ([], ["-DDOUBLE"]):
            objects.append(folder / f"kernels-{name}{'-double' * bool(precision)}.o")
            _run([*compiler, *FLAGS, *flags, *precision, *warnings, "-c", str(SOURCE), "-o", str(objects[-1])])
        libraries.append(folder / f"kernels-{name}.so")
        unfinished = libraries[-1].with_suffix(f".{os.getpid()}")
        _run([*compiler, "-shared", *map(str, objects), "-lm", "-o", str(unfinished)])
        unfinished.replace(libraries[-1])  # what runs has the old one open
        for its in objects:
            its.unlink()
    return libraries


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
