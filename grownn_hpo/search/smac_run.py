"""A run directory as SMAC 2 writes it, of trials that the ladder ran: for SMAC's own readers, and for DeepCAVE.

SMAC's classes write scenario, configuration space and run history. Its optimizer and intensifier write the other two
files only from a live search, so that their few keys are written here. Import this module inside functions only.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import smac
from pydantic import JsonValue
from smac import Scenario
from smac.constants import MAXINT
from smac.runhistory import RunHistory, StatusType
from smac.runhistory.dataclasses import TrajectoryItem

from grownn_hpo.search.space import from_plain, read_space
from grownn_hpo.trial import Status

logging.getLogger("smac").setLevel(logging.ERROR)  # it warns of a scenario that no facade has seen

_INFINITE = float("inf")
_STATUSES = {
    None: StatusType.RUNNING,
    Status.COMPLETED: StatusType.SUCCESS,
    Status.DIVERGED: StatusType.CRASHED,
    Status.CRASHED: StatusType.CRASHED,
}


@dataclass(frozen=True, slots=True)
class RunTrial:
    """One entry of the run history; `status` is None while the trial runs, `cost` is None unless it completed.

    `starts` and `ends` are seconds; `more` is what SMAC has no place for.
    """

    config: int
    budget: float
    status: Status | None
    cost: float | None
    starts: float
    ends: float
    more: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Incumbent:
    """From `seconds` on, after `trials` finished trials, configuration `config` led with `cost`."""

    config: int
    cost: float
    trials: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SmacRun:
    """All that a run directory tells; `budgets` is the lowest and the highest, `n_trials` the study's own budget.

    `configurations` go by their numbers, and `trials` name only such.
    """

    name: str
    seed: int
    space: Mapping[str, Any]
    configurations: Mapping[int, Mapping[str, JsonValue]]
    budgets: tuple[float, float]
    n_trials: int
    finished: bool
    trials: Sequence[RunTrial]
    trajectory: Sequence[Incumbent]


def write_run(run: SmacRun, folder: Path, recorded_as: Path) -> None:
    """Writes SMAC's five files to `folder`; its scenario says that they lie at `recorded_as`.

    Configurations have SMAC's numbers, which are the study's own where every earlier one has a trial; `more` of each
    trial should name the study's.
    """
    space = read_space(run.space, "the study's search space")
    history = RunHistory()
    for trial in run.trials:
        running = trial.status is None
        history.add(
            from_plain(space, run.configurations[trial.config]),
            cost=float(MAXINT) if running else _INFINITE if trial.cost is None else trial.cost,  # as SMAC does
            time=trial.ends - trial.starts,
            status=_STATUSES[trial.status],
            seed=0,  # SMAC's own for a deterministic target: the trial's cost is over all of the study's seeds
            budget=trial.budget,
            starttime=trial.starts,
            endtime=0.0 if running else trial.ends,
            additional_info=dict(trial.more),
        )
    history.save(folder / "runhistory.json")
    scenario = Scenario(
        space,
        name=run.name,
        deterministic=True,
        min_budget=run.budgets[0],
        max_budget=run.budgets[1],
        n_trials=run.n_trials,
        seed=run.seed,
    )
    # Where SMAC would have put it is its own name and seed below a folder; a mirror says where it really lies.
    object.__setattr__(scenario, "output_directory", folder)
    scenario._set_meta({"facade": {"name": "GrowNN HPO"}, "version": smac.version})
    scenario.save()
    told = json.loads((folder / "scenario.json").read_text())
    _write(folder / "scenario.json", told | {"output_directory": str(recorded_as)})
    suggested = {trial.config: from_plain(space, run.configurations[trial.config]) for trial in run.trials}
    ids = {config: history.get_config_id(configuration) for config, configuration in suggested.items()}
    steps = [TrajectoryItem([ids[i.config]], [i.cost], i.trials, i.seconds) for i in run.trajectory]
    seconds = max((trial.ends for trial in run.trials), default=0.0)
    _write(
        folder / "intensifier.json",
        {
            "incumbent_ids": steps[-1].config_ids if steps else [],
            "rejected_config_ids": [],
            "incumbents_changed": len(steps),
            "trajectory": [asdict(step) for step in steps],
            "state": {},
        },
    )
    _write(
        folder / "optimization.json",
        {
            "used_walltime": seconds,
            "used_target_function_walltime": seconds,
            "used_target_function_cputime": seconds,
            "last_update": seconds,
            "finished": run.finished,
        },
    )


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
