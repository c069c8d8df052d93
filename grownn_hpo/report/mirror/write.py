"""The one door: read the arms, build the mirror of the kind that is asked for beside its place, move it there."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from grownn_hpo.errors import InputError
from grownn_hpo.report.mirror.placing import built_beside, check_place
from grownn_hpo.report.mirror.targets import Mirror, Target, check_installed
from grownn_hpo.store.paths import ArmFolder


def write_mirror(folders: Sequence[ArmFolder], target: Target, place: Path) -> Mirror:
    """Writes the arms in `folders`, all of one study, to the folder `place`, replacing an earlier mirror whole.

    Raises InputError, before anything is written, where a package is missing or `place` holds something else.
    """
    check_installed(target)
    check_place(place)
    # Each of these is seconds to import; whoever mirrors to one has perhaps not installed the others.
    from grownn_hpo.report.mirror.view import read_view

    arms = [read_view(folder, progress=target in (Target.tensorboard, Target.wandb)) for folder in folders]
    if not arms:
        raise InputError("folders = (): a mirror needs at least one arm; name the folder of a study or of an arm")
    with built_beside(place, target) as building:
        match target:
            case Target.optuna:
                from grownn_hpo.report.mirror.optuna_storage import JOURNAL, write_optuna

                write_optuna(arms, building)
                opening = f"optuna-dashboard {_quoted(place / JOURNAL)}"
            case Target.smac:
                from grownn_hpo.report.mirror.smac_runs import write_smac

                write_smac(arms, building, place)
                opening = f"deepcave --open, then add the runs in {_quoted(place)}"
            case Target.tensorboard:
                from grownn_hpo.report.mirror.event_files import write_tensorboard

                write_tensorboard(arms, building)
                opening = f"tensorboard --logdir {_quoted(place)}"
            case Target.csv:
                from grownn_hpo.report.mirror.tables import write_csv

                write_csv(arms, building)
                opening = f"pandas.read_csv({str(place / 'points.csv')!r})"
            case Target.parquet:
                from grownn_hpo.report.mirror.tables import write_parquet

                write_parquet(arms, building)
                opening = f"pandas.read_parquet({str(place / 'points.parquet')!r})"
            case Target.wandb:
                from grownn_hpo.report.mirror.wandb_runs import write_wandb

                write_wandb(arms, building)
                opening = f"wandb sync {_quoted(place / 'wandb')}/offline-run-*"
    return Mirror(place, opening)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
