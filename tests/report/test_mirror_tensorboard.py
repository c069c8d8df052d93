"""The event files, opened with TensorBoard's reader and with its own server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import extras
import pytest
from driven import wait
from mirror_samples import configuration, return_of, view
from served import asked, served

from grownn_hpo.report.mirror.event_files import write_tensorboard
from grownn_hpo.trial import Segment

accumulating = extras.module("mirror", "tensorboard.backend.event_processing.event_accumulator")

RUNS = {f"grown-3/c{config:04d}/s{seed}" for config in range(1, 9) for seed in (0, 7)}


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("events")
    write_tensorboard([view()], folder)
    return folder


def test_a_lineage_is_a_run_over_total_env_steps(events: Path) -> None:
    run = accumulating.EventAccumulator(str(events / "grown-3/c0004/s7")).Reload()
    tags = ("SPS", "depth", "episodic_return")
    losses = ("policy_loss", "value_loss", "entropy", "approx_kl", "clipfrac")
    rated = ("episodic_length", "episodic_return", "episodic_return_std", "success_rate")
    assert set(run.Tags()["scalars"]) == {
        *(f"charts/{t}" for t in tags),
        *(f"eval/{t}" for t in rated),
        *(f"losses/{t}" for t in losses),
    }
    returns = run.Scalars("eval/episodic_return")
    assert [event.step for event in returns] == [500, 1000, 1500, 2000, 2500, 3000]
    assert [event.value for event in returns[1::2]] == [return_of(Segment(4, rung, 7)) for rung in (1, 2, 3)]
    assert [event.wall_time for event in returns] == [4, 17, 21, 34, 38, 51]  # segments of 17 seconds
    assert [event.value for event in run.Scalars("charts/depth")] == [1, 1, 2, 2, 3, 3]


def test_the_same_study_gives_the_same_bytes(events: Path, tmp_path: Path) -> None:
    write_tensorboard([view()], tmp_path)
    found = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {path.relative_to(events): path.read_bytes() for path in events.rglob("*") if path.is_file()}
    assert len(found) == 1 + len(RUNS)


def test_tensorboard_serves_runs_and_hyperparameters(events: Path, tmp_path: Path) -> None:
    program = "from tensorboard.main import run_main; run_main()"
    words = ("--logdir", events, "--load_fast=false", "--reload_interval", "1")
    with served(tmp_path / "log.txt", program, *words) as board:

        def loaded() -> bool:
            return set(asked(f"{board}/data/runs")) >= RUNS

        wait(loaded, 150, lambda: (tmp_path / "log.txt").read_text())
        experiment = asked(f"{board}/data/plugin/hparams/experiment", {"experimentName": ""})
        groups = asked(
            f"{board}/data/plugin/hparams/session_groups",
            {
                "experimentName": "",
                "sliceSize": 100,
                "aggregationType": "AGGREGATION_AVG",
                "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
            },
        )
    domains = {info["name"]: info for info in experiment["hparamInfos"]}
    assert {*configuration(1), "arm", "rung"} == set(domains)
    assert domains["learning_rate"]["domainInterval"] == {"minValue": 0.0001, "maxValue": 0.01}
    assert domains["batch_size"]["domainDiscrete"] == [32, 64, 128, 256]
    assert [info["displayName"] for info in experiment["metricInfos"]] == ["mean return", "success rate"]
    by_name: dict[str, dict[str, Any]] = {group["name"]: group for group in groups["sessionGroups"]}
    assert set(by_name) == {f"grown-3/c{config:04d}" for config in range(1, 9)}
    climbed = by_name["grown-3/c0004"]
    assert {**configuration(4), "arm": "grown-3", "rung": 3} == climbed["hparams"]  # no clip_range: it is inactive
    assert len(climbed["sessions"]) == 2
    returns = next(m["value"] for m in climbed["metricValues"] if m["name"]["tag"] == "eval/episodic_return")
    assert returns == sum(return_of(Segment(4, 3, seed)) for seed in (0, 7)) / 2
