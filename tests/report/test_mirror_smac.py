"""SMAC's run directory, opened with SMAC and, in an environment of its own (`make mirrors`), with DeepCAVE."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from mirror_samples import SPACE, configuration, return_of, view
from smac import Scenario
from smac.runhistory import RunHistory, StatusType

from grownn_hpo.report.incumbent import trajectory
from grownn_hpo.report.mirror.smac_runs import write_smac
from grownn_hpo.search.smac_parts import LowestBudget
from grownn_hpo.search.space import from_plain, read_space
from grownn_hpo.trial import Segment, Trial

DIVERGED = frozenset({Trial(4, 2)})
FILES = {"scenario.json", "configspace.json", "runhistory.json", "intensifier.json", "optimization.json"}

DEEPCAVE = """
import json, sys, warnings
warnings.simplefilter("ignore")
from deepcave.runs.converters.smac3v2 import SMAC3v2Run
run = SMAC3v2Run.from_path(sys.argv[1])
cost = run.get_objective("cost")
budget = run.get_highest_budget()
best, value = run.get_incumbent(objectives=[cost], budget=budget)
print(json.dumps({
    "name": run.name,
    "valid": SMAC3v2Run.is_valid_run(sys.argv[1]) if hasattr(SMAC3v2Run, "is_valid_run") else True,
    "budgets": [float(b) for b in run.get_budgets()],
    "trials": [[t.config_id, float(t.budget), t.costs[0], t.status.name] for t in run.get_trials()],
    "incumbent": [dict(best), float(value)],
    "hyperparameters": sorted(run.configspace),
}, default=float))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smac")
    write_smac([view(diverging=DIVERGED)], folder, Path("elsewhere"))
    return folder / "grown-3"


def test_smac_reads_the_trials_that_were_run(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == FILES
    scenario = Scenario.load(run)
    assert scenario.configspace == read_space(SPACE, "the sample")
    assert (scenario.min_budget, scenario.max_budget, scenario.n_trials, scenario.seed) == (1000, 3000, 14, 5)
    assert json.loads((run / "scenario.json").read_text())["output_directory"] == "elsewhere/grown-3"
    history = RunHistory()
    history.load(run / "runhistory.json", scenario.configspace)
    trials = {t.trial: t for t in view(diverging=DIVERGED).trials}
    assert len(history) == len(trials) == 14
    for key, value in history.items():
        trial = trials[Trial(value.additional_info["config"], value.additional_info["rung"])]
        assert key.config_id == trial.trial.config  # SMAC's numbers are ours
        assert key.budget == 1000 * trial.trial.rung
        expected = from_plain(scenario.configspace, configuration(trial.trial.config))
        assert dict(history.get_config(key.config_id)) == dict(expected)
        assert (value.starttime, value.endtime) == (trial.starts, trial.ends)
        if trial.trial in DIVERGED:
            assert (value.status, value.cost) == (StatusType.CRASHED, float("inf"))
        else:
            assert (value.status, value.cost) == (StatusType.SUCCESS, -(trial.mean_return or 0))


def test_smac_reads_who_led(run: Path) -> None:
    scenario = Scenario.load(run)
    history = RunHistory()
    history.load(run / "runhistory.json", scenario.configspace)
    intensifier = LowestBudget(scenario)
    intensifier.runhistory = history
    intensifier.load(run / "intensifier.json")
    leads = trajectory(view(diverging=DIVERGED).record)
    assert [item.config_ids for item in intensifier.trajectory] == [[lead.standing.trial.config] for lead in leads]
    assert [item.costs for item in intensifier.trajectory] == [[-lead.standing.mean_return] for lead in leads]
    (best,) = intensifier.get_incumbents()
    assert history.get_config_id(best) == leads[-1].standing.trial.config
    optimization = json.loads((run / "optimization.json").read_text())
    assert optimization["finished"] is True
    assert optimization["used_walltime"] == pytest.approx(sum(view(diverging=DIVERGED).record.seconds.values()))


def test_a_study_under_way_has_running_trials(tmp_path: Path) -> None:
    write_smac([view(stop_after=9)], tmp_path, tmp_path)
    history = RunHistory()
    history.load(tmp_path / "grown-3/runhistory.json", Scenario.load(tmp_path / "grown-3").configspace)
    told = {(v.additional_info["config"], v.additional_info["rung"]): v.status for v in history.values()}
    running = {key for key, status in told.items() if status is StatusType.RUNNING}
    assert running == {(1, 2), (4, 2), (5, 1), (6, 1), (7, 1), (8, 1)}
    assert (history.submitted, history.finished, history.running) == (10, 4, 6)
    assert not json.loads((tmp_path / "grown-3/optimization.json").read_text())["finished"]


def test_a_study_that_has_not_begun_is_an_empty_run(tmp_path: Path) -> None:
    write_smac([view(stop_after=0)], tmp_path, tmp_path)
    history = RunHistory()
    history.load(tmp_path / "grown-3/runhistory.json", Scenario.load(tmp_path / "grown-3").configspace)
    assert len(history) == 0


@pytest.mark.slow
def test_deepcave_reads_it(run: Path) -> None:
    python = os.environ.get("GROWNN_DEEPCAVE")
    if python is None:
        pytest.skip("DeepCAVE needs Python 3.10 and an environment of its own: make mirrors")
    done = subprocess.run([python, "-c", DEEPCAVE, str(run)], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    assert read["name"] == "grown-3"
    assert read["valid"]
    assert read["budgets"][:3] == [1000, 2000, 3000]
    assert read["hyperparameters"] == sorted(entry["name"] for entry in SPACE["hyperparameters"])
    trials = {(number + 1, budget): (cost, status) for number, budget, cost, status in read["trials"]}
    assert len(trials) == 14
    assert trials[4, 2000.0] == (None, "CRASHED")
    leader = trajectory(view(diverging=DIVERGED).record)[-1].standing
    assert trials[leader.trial.config, 3000.0] == (-leader.mean_return, "SUCCESS")
    assert read["incumbent"] == [configuration(leader.trial.config), -leader.mean_return]
    assert leader.mean_return == return_of(Segment(leader.trial.config, 3, 0)) + 0.25 * 7 / 2
