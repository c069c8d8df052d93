"""The Optuna journal, opened with Optuna and with its dashboard's own server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import extras
import pytest
from mirror_samples import configuration, view
from served import asked, served

from grownn_hpo.report.mirror.optuna_storage import JOURNAL, write_optuna
from grownn_hpo.report.mirror.view import Fate
from grownn_hpo.trial import Trial

optuna = extras.module("mirror", "optuna")
extras.needs("mirror", "optuna_dashboard")

State = optuna.trial.TrialState
CategoricalDistribution = optuna.distributions.CategoricalDistribution
FloatDistribution = optuna.distributions.FloatDistribution
IntDistribution = optuna.distributions.IntDistribution

DIVERGED = frozenset({Trial(4, 2)})


def opened(folder: Path, name: str) -> Any:
    """Optuna's study of that name."""
    backend = optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL))
    return optuna.load_study(study_name=name, storage=optuna.storages.JournalStorage(backend))


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("optuna")
    write_optuna([view(diverging=DIVERGED)], folder)
    return folder


def test_a_rungs_study_holds_its_trials(journal: Path) -> None:
    seen = view(diverging=DIVERGED)
    for rung in (1, 2, 3):
        trials = opened(journal, f"sample/grown-3/rung-{rung}").get_trials()
        expected = sorted((t for t in seen.trials if t.trial.rung == rung), key=lambda t: t.trial.config)
        assert [t.user_attrs["config"] for t in trials] == [t.trial.config for t in expected]
        assert [t.value for t in trials] == [t.mean_return for t in expected]
        assert [t.user_attrs["returns"] for t in trials] == [t.returns for t in expected]
        assert {(t.user_attrs["rung"], t.user_attrs["depth"]) for t in trials} == {(rung, rung)}
    failed = [t for t in opened(journal, "sample/grown-3/rung-2").get_trials() if t.state == State.FAIL]
    assert [(t.user_attrs["config"], t.user_attrs["failures"]["7"]) for t in failed] == [(4, "loss is nan")]


def test_the_study_of_configurations_shows_them_climb(journal: Path) -> None:
    study = opened(journal, "sample/grown-3/configurations")
    trials = study.get_trials()
    fates = {
        Fate.COMPLETE: State.COMPLETE,
        Fate.PASSED_OVER: State.PRUNED,
        Fate.FAILED: State.FAIL,
    }
    courses = view(diverging=DIVERGED).courses
    assert [t.state for t in trials] == [fates[course.fate] for course in courses]
    assert {t.state for t in trials} == set(fates.values())
    for trial, course in zip(trials, courses, strict=True):
        completed = [t for t in course.trials if t.mean_return is not None]
        ends = {t.env_steps: t.mean_return for t in completed}
        assert trial.intermediate_values == ends | {t.env_steps - 500: t.mean_return - 10 for t in completed}
        best = course.highest
        assert trial.value == (None if course.fate is Fate.FAILED or best is None else best.mean_return)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    done = [course for course in courses if course.fate is Fate.COMPLETE]
    best_value = max(course.highest.mean_return or 0 for course in done if course.highest)
    assert study.best_value == best_value


def test_distributions_are_the_search_spaces_and_inactive_hyperparameters_are_absent(journal: Path) -> None:
    for trial in opened(journal, "sample/grown-3/configurations").get_trials():
        config = trial.user_attrs["config"]
        assert trial.params == configuration(config)
        assert ("clip_range" in trial.params) == bool(config % 2)
        told: dict[str, Any] = dict(trial.distributions)
        told.pop("clip_range", None)
        assert told == {
            "batch_size": CategoricalDistribution((32, 64, 128, 256)),
            "ent_coef": FloatDistribution(0.0, 0.3),
            "gamma": CategoricalDistribution((0.9, 0.99, 0.999)),
            "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
            "n_epochs": IntDistribution(5, 20, log=True),
            "normalize_rewards": CategoricalDistribution((True, False)),
            "vf_coef": CategoricalDistribution((0.5,)),
        }


def test_a_study_under_way_shows_what_is_running(tmp_path: Path) -> None:
    write_optuna([view(stop_after=9)], tmp_path)
    first = opened(tmp_path, "sample/grown-3/rung-1").get_trials()
    second = opened(tmp_path, "sample/grown-3/rung-2").get_trials()
    whole = opened(tmp_path, "sample/grown-3/configurations").get_trials()
    assert [t.state for t in first] == [State.COMPLETE] * 4 + [State.RUNNING] * 4
    assert [t.state for t in second] == [State.RUNNING] * 2
    assert [t.user_attrs["config"] for t in whole if t.state == State.PRUNED] == [2, 3]
    assert [t.user_attrs["config"] for t in whole if t.state == State.RUNNING] == [1, 4, 5, 6, 7, 8]
    assert whole[3].intermediate_values == {500: first[3].value - 10, 1000: first[3].value}


def test_the_dashboard_serves_it(journal: Path, tmp_path: Path) -> None:
    program = "from optuna_dashboard._cli import main; main()"
    with served(tmp_path / "log.txt", program, journal / JOURNAL) as dashboard:
        listed = {study["study_name"]: study for study in asked(f"{dashboard}/api/studies")["study_summaries"]}
        base = "sample/grown-3"
        assert set(listed) == {f"{base}/{name}" for name in ("configurations", "rung-1", "rung-2", "rung-3")}
        whole = asked(f"{dashboard}/api/studies/{listed[f'{base}/configurations']['study_id']}")
    words = {Fate.COMPLETE: "Complete", Fate.PASSED_OVER: "Pruned", Fate.FAILED: "Fail"}
    assert [trial["state"] for trial in whole["trials"]] == [words[c.fate] for c in view(diverging=DIVERGED).courses]
    climbed = next(trial for trial in whole["trials"] if trial["state"] == "Complete")
    assert [value["step"] for value in climbed["intermediate_values"]] == [500, 1000, 1500, 2000, 2500, 3000]
