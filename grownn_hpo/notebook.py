"""The package from Python: `import grownn_hpo as gh`.

    study = gh.load("results/demo")
    arm = study.arm("grown-3")
    arm.ledger()                       # data frames; of a study still running too
    agent = arm.incumbent.agent()
    agent.act(observations)

Everything is read from the study's files when it is asked for, and nothing is written.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grownn_hpo.errors import InputError
from grownn_hpo.report.incumbent import Standing, leaderboard, standings
from grownn_hpo.report.read import arms_at, read_record
from grownn_hpo.report.record import ArmRecord
from grownn_hpo.report.table import COLUMNS, hyperparameters, table_rows
from grownn_hpo.search.ladder import Ladder
from grownn_hpo.spec import Arm as ArmTerms
from grownn_hpo.store.arm import Configuration, read_arm
from grownn_hpo.store.known import read_known
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import CurvePoint, Trial

if TYPE_CHECKING:
    from pandas import DataFrame

    from grownn_hpo.acting.trained import TrainedAgent

_POINT = tuple(CurvePoint.__dataclass_fields__)
_CURVE_COLUMNS = ("bracket", "config", "rung", "seed", "depth", *_POINT)


def load(path: str | os.PathLike[str]) -> Study:
    """The study whose folder is at `path`, or with one arm alone if it is an arm's; InputError if there is none."""
    return Study(Path(path))


class Study:
    """A study on disk, finished or not; make one with `load`.

    `arms` are its arms by name. `ledger()` and `curves()` are those of all arms, one below the other, with the arm's
    name as the first column.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        arms = [Arm(folder) for folder in arms_at(path)]
        self.arms: dict[str, Arm] = {arm.name: arm for arm in arms}
        self.name = arms[0].terms.study

    def arm(self, name: str) -> Arm:
        """The arm of that name; InputError if there is none."""
        if name not in self.arms:
            near = difflib.get_close_matches(name, self.arms, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise InputError(f"{self.path}: has no arm {name!r}: {hint}its arms are {', '.join(self.arms)}")
        return self.arms[name]

    def ledger(self) -> DataFrame:
        return self._together({name: arm.ledger() for name, arm in self.arms.items()})

    def curves(self) -> DataFrame:
        return self._together({name: arm.curves() for name, arm in self.arms.items()})

    def _together(self, frames: Mapping[str, DataFrame]) -> DataFrame:
        for name, frame in frames.items():
            frame.insert(0, "arm", name)
        # What is empty has columns without a type, which would take the others' away.
        filled = [frame for frame in frames.values() if len(frame)] or [*frames.values()][:1]
        return _pandas().concat(filled, ignore_index=True)

    def __repr__(self) -> str:
        return f"Study({self.name!r}, arms: {', '.join(self.arms)})"


class Arm:
    """An arm on disk, finished or not. `terms` is all that its ledger is a function of (see `grownn_hpo.spec`)."""

    def __init__(self, folder: ArmFolder) -> None:
        self._folder = folder
        self.terms: ArmTerms = read_arm(folder)

    @property
    def path(self) -> Path:
        return self._folder.root

    @property
    def name(self) -> str:
        return self.terms.name

    def ledger(self) -> DataFrame:
        """One row per finished segment, as `grownn table` prints them: by configuration, rung and seed."""
        known = read_known(self._folder)
        rows = list(table_rows(known.arm, known.ledger.results, known.configurations))
        return _pandas().DataFrame(rows, columns=[*COLUMNS, *hyperparameters(known.arm)])

    def curves(self) -> DataFrame:
        """One row per evaluation of a finished segment; `env_steps` counts the configuration's whole training."""
        record = read_record(self._folder)
        ladder = Ladder.of(record.arm)
        rows = [
            {
                "bracket": ladder.bracket_of(segment.config),
                "config": segment.config,
                "rung": segment.rung,
                "seed": segment.seed,
                "depth": record.arm.rungs[segment.rung - 1].depth,
            }
            | asdict(point)
            for segment in sorted(record.curves)
            for point in record.curves[segment]
        ]
        return _pandas().DataFrame(rows, columns=list(_CURVE_COLUMNS))

    def configurations(self) -> DataFrame:
        """One row per configuration suggested so far, by its number.

        Its bracket and hyperparameters, the highest rung that it completed and, there, its mean return and success
        rate over seeds; the last three are missing where it has completed none.
        """
        record = read_record(self._folder)
        ladder = Ladder.of(record.arm)
        best: dict[int, Standing] = {}
        for trial, standing in standings(record).items():  # in ladder order: a higher rung comes later
            best[trial.config] = standing
        names = hyperparameters(record.arm)
        rows = []
        for config, values in sorted(record.configurations.items()):
            done = best.get(config)
            rows.append(
                {"config": config, "bracket": ladder.bracket_of(config)}
                | {name: values.get(name) for name in names}
                | {
                    "rung": done.trial.rung if done else None,
                    "mean_return": done.mean_return if done else None,
                    "success_rate": done.success_rate if done else None,
                }
            )
        columns = ["config", "bracket", *names, "rung", "mean_return", "success_rate"]
        frame = _pandas().DataFrame(rows, columns=columns).set_index("config")
        return frame.astype({"rung": "Int64", "mean_return": "float64", "success_rate": "float64"})

    @property
    def incumbent(self) -> Incumbent | None:
        """The best configuration at the highest rung that any has completed; None while no trial has."""
        record = read_record(self._folder)
        leaders = leaderboard(record)
        return Incumbent(self, record, leaders[0]) if leaders else None

    def agent(self, config: int, seed: int, rung: int | None = None) -> TrainedAgent:
        """The agent of a configuration and seed at the end of a rung; the highest that it has finished, if None.

        InputError where there is none: the study has not come so far, it failed, or its checkpoint was deleted.
        """
        from grownn_hpo.acting.trained import load_agent

        if rung is None:
            finished = read_known(self._folder).ledger.results
            rung = max((s.rung for s in finished if (s.config, s.seed) == (config, seed)), default=1)
        return load_agent(self._folder, config, rung, seed)

    def __repr__(self) -> str:
        return f"Arm({self.name!r}, {self.terms.task.env}, {len(self.terms.rungs)} rungs)"


class Incumbent:
    """The leading configuration of an arm when it was asked for.

    `returns` are the mean returns of the last evaluations, by seed; `mean_return` and `success_rate` (None where the
    task has none) their means.
    """

    def __init__(self, arm: Arm, record: ArmRecord, standing: Standing) -> None:
        self._arm = arm
        self.trial: Trial = standing.trial
        self.configuration: Configuration = dict(record.configurations[standing.trial.config])
        self.mean_return, self.success_rate = standing.mean_return, standing.success_rate
        self.returns: dict[int, float] = dict(zip(sorted(record.arm.seeds), standing.returns, strict=True))

    @property
    def config(self) -> int:
        return self.trial.config

    @property
    def rung(self) -> int:
        return self.trial.rung

    def agent(self, seed: int | None = None) -> TrainedAgent:
        """The agent of that seed; None: of the one whose last evaluation was best."""
        best = max(self.returns, key=self.returns.__getitem__)
        return self._arm.agent(self.config, best if seed is None else seed, self.rung)

    def __repr__(self) -> str:
        return f"Incumbent(config={self.config}, rung={self.rung}, mean_return={self.mean_return:g})"


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise InputError(
            "data frames need pandas, which is not installed: pip install 'grownn-hpo[notebooks]'"
        ) from None
    return pandas
