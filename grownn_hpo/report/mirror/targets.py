"""The programs that a study can be mirrored to, and what each of them needs to be installed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from grownn_hpo.errors import InputError


class Target(StrEnum):
    """What a mirror is for."""

    optuna = "optuna"
    smac = "smac"
    tensorboard = "tensorboard"
    csv = "csv"
    parquet = "parquet"
    wandb = "wandb"


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror as written: its folder, and the command that opens it."""

    folder: Path
    open_with: str


_NEEDS = {
    Target.optuna: ("mirror", ("optuna",)),
    Target.tensorboard: ("mirror", ("tensorboard",)),
    Target.parquet: ("mirror", ("pyarrow",)),
    Target.wandb: ("wandb", ("wandb",)),
}
"""The optional extra that a target needs, and the packages of it; the others need nothing beyond this one."""


def check_installed(target: Target) -> None:
    """Raises InputError, naming the extra to install, where a package is missing that writes mirrors of this kind."""
    extra, packages = _NEEDS.get(target, ("", ()))
    if missing := [package for package in packages if find_spec(package) is None]:
        raise InputError(
            f"--to {target}: needs {', '.join(missing)}, which is not installed:"
            f" pip install 'grownn-hpo[{extra}]' (in a clone: pip install -e '.[{extra}]')"
        )
