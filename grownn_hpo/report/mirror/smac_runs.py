"""Run directories as SMAC 2 writes them, one per arm: costs are minus the mean return, budgets are total env steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grownn_hpo.report.incumbent import trajectory
from grownn_hpo.report.mirror.view import ArmView

if TYPE_CHECKING:
    from grownn_hpo.search.smac_run import SmacRun


def write_smac(arms: Sequence[ArmView], folder: Path, place: Path) -> None:
    """Writes `folder/<arm>/` with SMAC's five files, which say that they lie in `place/<arm>`."""
    from grownn_hpo.search.smac_run import write_run

    for arm in arms:
        # Flat, where SMAC has name and seed: DeepCAVE calls a run by the last part of its path.
        (folder / arm.name).mkdir()
        write_run(smac_run(arm), folder / arm.name, place / arm.name)


def smac_run(arm: ArmView) -> SmacRun:
    """The arm as a run of SMAC's; `more` of each trial holds its numbers in the study and the seeds' returns."""
    from grownn_hpo.search.smac_run import Incumbent, RunTrial, SmacRun

    terms = arm.record.arm
    trials = [
        RunTrial(
            config=view.trial.config,
            budget=float(view.env_steps),
            status=None if view.outcome is None else view.outcome.status,
            cost=None if view.outcome is None else view.outcome.cost,
            starts=view.starts,
            ends=view.ends,
            more={
                "config": view.trial.config,
                "bracket": view.bracket,
                "rung": view.trial.rung,
                "depth": view.depth,
                "returns": dict(view.returns),
                "failures": dict(view.failures),
            },
        )
        for view in arm.trials
    ]
    done = [view for view in arm.trials if view.outcome is not None]
    ended = {view.trial: (count, view.ends) for count, view in enumerate(done, 1)}
    leads = [lead.standing for lead in trajectory(arm.record)]
    return SmacRun(
        name=arm.name,
        seed=terms.seed,
        space=terms.space,
        configurations=arm.record.configurations,
        budgets=(float(terms.rungs[0].env_steps), float(terms.env_steps)),
        n_trials=terms.search.trials,
        finished=arm.complete,
        trials=trials,
        trajectory=[Incumbent(lead.trial.config, -lead.mean_return, *ended[lead.trial]) for lead in leads],
    )
