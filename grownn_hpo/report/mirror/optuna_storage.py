"""An Optuna journal, which `optuna-dashboard` opens: a study for every rung of an arm, and one of whole configurations.

Returns are compared within one rung alone, so each rung is a study of its own. In the study of whole configurations the
intermediate values are the learning curve up to the highest completed rung, the mean over seeds, over total env steps;
a trial is COMPLETE if it reached the last rung and PRUNED if it was passed over, as with Optuna's own pruners.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from grownn_hpo.report.curves import learning_curve
from grownn_hpo.report.mirror.view import ArmView, Course, Fate, TrialView

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

JOURNAL = "journal.log"


def write_optuna(arms: Sequence[ArmView], folder: Path) -> None:
    """Writes `journal.log`, an Optuna journal storage."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

    class Gathered(BaseJournalBackend):
        """A journal in memory: its file would be synced once for every trial."""

        def __init__(self) -> None:
            self.logs: list[dict[str, Any]] = []

        def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
            return self.logs[log_number_from:]

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            self.logs += logs

    backend = Gathered()
    storage = JournalStorage(backend)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of every study that is created
    try:
        for arm in arms:
            for name, trials in optuna_studies(arm):
                study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
                study.add_trials(trials)
    finally:
        optuna.logging.set_verbosity(verbosity)
    JournalFileBackend(str(folder / JOURNAL)).append_logs(backend.logs)


def optuna_studies(arm: ArmView) -> Iterator[tuple[str, list[FrozenTrial]]]:
    """The arm's Optuna studies by name, `study/arm/configurations` first, then `study/arm/rung-1` and so on."""
    distributions = optuna_distributions(cast("Sequence[Mapping[str, Any]]", arm.record.arm.space["hyperparameters"]))
    base = f"{arm.study}/{arm.name}"
    yield f"{base}/configurations", [_of_course(course, _curve(arm, course), distributions) for course in arm.courses]
    for rung in range(1, len(arm.record.arm.rungs) + 1):
        here = sorted((t for t in arm.trials if t.trial.rung == rung), key=lambda t: t.trial.config)
        chosen = arm.record.configurations
        yield f"{base}/rung-{rung}", [_of_trial(t, chosen[t.trial.config], distributions) for t in here]


def optuna_distributions(hyperparameters: Sequence[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
    """Optuna's distribution for each entry of a search space; its uniform one, in the same bounds, for any other."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def of(entry: Mapping[str, Any]) -> BaseDistribution:
        kind = entry["type"]
        if kind == "constant":
            return CategoricalDistribution((entry["value"],))
        if kind in ("categorical", "ordinal"):
            return CategoricalDistribution(entry["choices" if kind == "categorical" else "sequence"])
        log = bool(entry.get("log"))
        if kind.endswith("_int"):
            return IntDistribution(int(entry["lower"]), int(entry["upper"]), log=log)
        return FloatDistribution(float(entry["lower"]), float(entry["upper"]), log=log)

    return {entry["name"]: of(entry) for entry in hyperparameters}


def _of_trial(
    view: TrialView, configuration: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    from optuna.trial import TrialState

    state = TrialState.COMPLETE
    if view.mean_return is None:
        state = TrialState.RUNNING if view.outcome is None else TrialState.FAIL
    return _frozen(
        state,
        view.mean_return,
        configuration,
        distributions,
        (view.starts, view.ends),
        _attributes(view.trial.config, view.bracket, view),
    )


def _curve(arm: ArmView, course: Course) -> dict[int, float]:
    best = course.highest
    curve = None if best is None else learning_curve(arm.record, best.trial)
    if curve is None:
        return {}
    means = zip(curve.env_steps.tolist(), curve.returns.mean(axis=1).tolist(), strict=True)
    return {env_steps: mean for env_steps, mean in means if math.isfinite(mean)}


def _of_course(
    course: Course, curve: Mapping[int, float], distributions: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    from optuna.trial import TrialState

    state = {
        Fate.COMPLETE: TrialState.COMPLETE,
        Fate.PASSED_OVER: TrialState.PRUNED,
        Fate.FAILED: TrialState.FAIL,
        Fate.UNDER_WAY: TrialState.RUNNING,
        Fate.WAITING: TrialState.WAITING,
    }[course.fate]
    best = course.highest
    valued = state in (TrialState.COMPLETE, TrialState.PRUNED) and best is not None
    return _frozen(
        state,
        best.mean_return if valued and best else None,
        course.configuration,
        distributions,
        (course.trials[0].starts, course.trials[-1].ends) if course.trials else (0.0, 0.0),
        _attributes(course.config, course.bracket, course.trials[-1] if course.trials else None),
        curve,
    )


def _frozen(
    state: Any,
    value: float | None,
    configuration: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    seconds: tuple[float, float],
    attributes: dict[str, Any],
    curve: Mapping[int, float] | None = None,
) -> FrozenTrial:
    from optuna.trial import FrozenTrial, TrialState

    starts, ends = (datetime.fromtimestamp(s, UTC) for s in seconds)
    return FrozenTrial(
        number=-1,  # the storage gives it one
        trial_id=-1,
        state=state,
        value=value,
        datetime_start=None if state == TrialState.WAITING else starts,
        datetime_complete=ends if state.is_finished() else None,
        params=dict(configuration),
        distributions={name: distributions[name] for name in configuration},
        user_attrs=attributes,
        system_attrs={},
        intermediate_values=dict(curve or {}),
    )


def _attributes(config: int, bracket: int, view: TrialView | None) -> dict[str, Any]:
    """What Optuna has no place for; of a whole configuration, that of its last trial."""
    if view is None:
        return {"config": config, "bracket": bracket}
    reached = {"rung": view.trial.rung, "depth": view.depth, "env_steps": view.env_steps, "returns": view.returns}
    rate = {} if view.success_rate is None else {"success_rate": view.success_rate}
    failures = {"failures": view.failures} if view.failures else {}
    return {"config": config, "bracket": bracket, **reached, **rate, **failures}
