"""What the scripts of all our Slurm jobs have in common."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from grownn_hpo.errors import InputError


def output(folder: Path, name: str) -> str:
    """The directive that has a job write to the file `name` (where `%j` is the job's number) in `folder`.

    Raises InputError where no directive can name that folder.
    """
    told = str(folder)
    if not told.isprintable() or {"'", '"', "\\"} & set(told):
        rule = "no log there can be named to Slurm: its name holds a quote, \\ or a control character; choose another"
        raise InputError(f"--results {str(folder.parent.parent)!r}: {rule}")
    return f"--output={shlex.quote(told.replace('%', '%%') + '/' + name)}"


def outside(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what an enclosing Slurm job, or options of `sbatch` in variables, would lay over ours."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(("SLURM", "SBATCH_")) or name == "SLURM_CONF"
    }
