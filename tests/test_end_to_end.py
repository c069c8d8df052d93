"""The whole program as a person uses it, from outside: real segments, real Dask, real signals."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from driven import driven, wait
from program import TINY, Grownn, command, surroundings

from grownn_hpo.driver.site import NVIDIA_DRIVER
from grownn_hpo.report.incumbent_file import read_incumbent


def rows(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table)))


def test_the_ledger_holds_the_whole_ladder(undisturbed: str) -> None:
    found = rows(undisturbed)
    assert len(found) == 12 * 2
    assert [row["rung"] for row in found].count("3") == 2 * 2
    grown = [row for row in found if row["rung"] != "1"]
    assert {float(row["growth_difference"]) for row in grown} == {0.0}
    by_key = {(row["config"], row["seed"], row["rung"]): row for row in found}
    for (config, seed, rung), row in by_key.items():
        if rung != "1":
            assert row["parent_sha256"] == by_key[config, seed, str(int(rung) - 1)]["checkpoint_sha256"]
    assert {row["env_steps"] for row in found if row["rung"] == "3"} == {"1536"}


def test_workers_and_hash_seeds_leave_the_ledger_as_it_is(grownn: Grownn, tiny: Path, undisturbed: str) -> None:
    """Two workers here, one below, none in the fixture."""
    done = grownn("run", tiny, "--workers", 2, PYTHONHASHSEED="2")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert grownn("table", "results/tiny").stdout == undisturbed
    again = grownn("run", tiny)
    assert (again.returncode, "complete" in again.stderr) == (0, True)


def test_extending_keeps_every_earlier_row(grownn: Grownn, begun: Path, undisturbed: str) -> None:
    before = grownn("table", "results/tiny").stdout
    assert len(rows(before)) == 4 * 2
    refused = grownn("extend", "results/tiny", "--trials", 3)
    assert refused.returncode == 2
    assert "--trials 3: must be more than the 4" in refused.stderr
    done = grownn("extend", "results/tiny", "--trials", 12, "--workers", 1, PYTHONHASHSEED="1")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    after = grownn("table", "results/tiny").stdout
    assert set(before.splitlines()) < set(after.splitlines())
    assert after == undisturbed


def test_one_interrupt_stops_cleanly_and_says_how_to_go_on(
    grownn: Grownn, tiny: Path, tmp_path: Path, first_bracket: str
) -> None:
    words = command("run", tiny, "--workers", 1, "--set", "search.trials=6")
    process = subprocess.Popen(words, cwd=tmp_path, env=surroundings(), stderr=subprocess.PIPE, text=True)
    try:
        wait_for_results(tmp_path, 2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 3, errors
    assert "Go on with: grownn resume results/tiny" in errors
    assert "Traceback" not in errors
    assert grownn("status", "results/tiny").stderr.count("not running") == 1
    assert grownn("resume", "results/tiny", "--workers", 0).returncode == 0
    assert grownn("table", "results/tiny").stdout == first_bracket


def test_from_incumbent_to_answer(grownn: Grownn, finished: Path, tmp_path: Path, undisturbed: str) -> None:
    exported = grownn("export", "results/tiny", "-o", "best.yaml")
    assert exported.returncode == 0, exported.stderr
    seen = grownn("evaluate", "best.yaml", "--seeds", "1-4")
    assert seen.returncode == 2
    assert "the search has tuned on [1]" in seen.stderr
    evaluated = grownn("evaluate", "best.yaml", "--seeds", "100-102", "--workers", 0, "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    told = json.loads(evaluated.stdout)
    assert [score["seed"] for score in told["scores"]] == [100, 101, 102]
    top = min((-float(r1["mean_return"]) - float(r2["mean_return"])) / 2 for r1, r2 in pairs(undisturbed))
    assert told["promise"]["mean_return"] == pytest.approx(-top)
    again = grownn("evaluate", "results/tiny", "--seeds", "100-102", "--json")  # the same: its arm's incumbent
    assert json.loads(again.stdout) == told
    rank_again(grownn, tmp_path, told)
    page = grownn("report", "results/tiny")
    assert page.returncode == 0, page.stderr
    assert "grown-3" in Path(tmp_path, page.stdout.strip()).read_text()
    assert grownn("clean", "results/tiny").returncode == 0
    assert grownn("table", "results/tiny").stdout == undisturbed


def test_what_clean_leaves_can_be_extended(grownn: Grownn, finished: Path, undisturbed: str) -> None:
    cleaned = grownn("clean", "results/tiny", "--dry-run")
    assert "would delete" in cleaned.stderr
    left = len(list((finished / "grown-3/segments").rglob("checkpoint.safetensors")))
    assert left == 24
    assert grownn("clean", "results/tiny").returncode == 0
    kept = list((finished / "grown-3/segments").rglob("checkpoint.safetensors"))
    assert 0 < len(kept) < left
    assert grownn("table", "results/tiny").stdout == undisturbed
    assert grownn("extend", "results/tiny", "--trials", 15, "--workers", 0).returncode == 0
    assert set(undisturbed.splitlines()) < set(grownn("table", "results/tiny").stdout.splitlines())


def rank_again(grownn: Grownn, tmp_path: Path, incumbent: dict[str, Any]) -> None:
    """`evaluate --top`, killed in the middle and typed again; what is there already is not trained again."""
    refused = grownn("evaluate", "best.yaml", "--top", 2)
    assert (refused.returncode, "name the arm's folder" in refused.stderr) == (2, True)
    words = ("evaluate", "results/tiny", "--top", 3, "--seeds", "100-102")
    evaluations = tmp_path / "results/tiny/grown-3/evaluations"
    before = set(evaluations.rglob("result.json"))
    assert len(before) == 9
    with driven(tmp_path, *words, "--workers", 1, "-o", "first.yaml") as interrupted:
        wait(lambda: len(set(evaluations.rglob("result.json"))) > 9, 150, lambda: interrupted.said)
        interrupted.kill()
    done = grownn(*words, "--workers", 0, "-o", "first.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert "only 2 configurations have completed rung 3: these are ranked" in done.stderr
    assert set(evaluations.rglob("result.json")) > before
    ranking = json.loads(done.stdout)
    assert {c["search_rank"] for c in ranking["candidates"]} == {1, 2}
    own = next(c for c in ranking["candidates"] if c["search_rank"] == 1)
    assert {key: own[key] for key in incumbent} == incumbent
    first = ranking["candidates"][0]
    assert first["mean"]["value"] == max(c["mean"]["value"] for c in ranking["candidates"])

    rows = list(csv.DictReader(io.StringIO(grownn(*words, "--format", "csv").stdout)))
    assert [(int(row["config"]), int(row["seed"])) for row in rows] == [
        (candidate["config"], seed) for candidate in ranking["candidates"] for seed in (100, 101, 102)
    ]
    # It was chosen by these seeds, which say no more how it does.
    seen = grownn("evaluate", "first.yaml", "--seeds", "102-104")
    assert seen.returncode == 2
    assert "the search has tuned on [102]" in seen.stderr
    winner = read_incumbent(tmp_path / "first.yaml")
    assert winner.config == first["config"]
    assert winner.promise.returns == tuple(score["mean_return"] for score in first["scores"])


def pairs(table: str) -> list[list[dict[str, str]]]:
    """Rung 3's rows, the two seeds of a configuration together."""
    top = [row for row in rows(table) if row["rung"] == "3"]
    return [top[i : i + 2] for i in range(0, len(top), 2)]


def wait_for_results(tmp_path: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("results/tiny/grown-3/segments/*/*/*/*/result.json"))) < count:
        assert time.monotonic() < deadline, "no segment finished within a minute"
        time.sleep(0.02)


BAD = {
    "unknown key": ("gama = 0.9", "did you mean 'gamma'", lambda t: t.replace("{n_steps", "{gama: 0.9, n_steps")),
    "unknown environment": ("task.env = 'CartPoll-v1'", "", lambda t: t.replace("CartPole-v1", "CartPoll-v1")),
    "unsupported space": ("task.env", "Box or Discrete", lambda t: t.replace("CartPole-v1", "Blackjack-v1")),
    "unknown hyperparameter": ("learning_rat", "learning_rate", lambda t: t.replace("learning_rate,", "learning_rat,")),
    "a value PPO refuses": (
        "n_epochs",
        "",
        lambda t: t.replace("lower: 1,", "lower: 0,").replace("log: true, default_value: 2", "default_value: 2"),
    ),
    "a name that leaves the folder": (
        "name = '../../x'",
        "plain name",
        lambda t: t.replace("name: tiny", "name: ../../x"),
    ),
    "1e-4 as text": (
        "ppo.gamma = '1e-4'",
        "without quotes",
        lambda t: t.replace("{n_steps", "{gamma: '1e-4', n_steps"),
    ),
    "a duplicate key": ("seed", "only once", lambda t: t.replace("seed: 3", "seed: 3\nseed: 4")),
    "a shrinking network": ("rungs[2].depth = 1", "may not shrink", lambda t: t.replace("depth: 3", "depth: 1")),
    "too many promotions": (
        "rungs[1].configurations = 7",
        "more configurations",
        lambda t: t.replace("configurations: 2", "configurations: 7"),
    ),
    "negative steps": (
        "rungs[0].env_steps = -512",
        "at least 1",
        lambda t: t.replace("env_steps: 512, depth: 1", "env_steps: -512, depth: 1"),
    ),
    "a GPU that is not there": (
        "device = 'cuda'",
        "no NVIDIA driver",
        lambda t: t.replace("seed: 3", "seed: 3\ndevice: cuda"),
    ),
    "a wrong network": (
        "network.kind = 'minihack-cnn'",
        "use mlp",
        lambda t: t.replace("kind: mlp", "kind: minihack-cnn"),
    ),
}


if NVIDIA_DRIVER.exists():
    del BAD["a GPU that is not there"]


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_before_anything_is_written(grownn: Grownn, tmp_path: Path, name: str) -> None:
    place, rule, spoil = BAD[name]
    text = spoil(TINY)
    assert text != TINY
    (tmp_path / "bad.yaml").write_text(text)
    done = grownn("run", "bad.yaml")
    assert done.returncode == 2, done.stderr
    assert "bad.yaml" in done.stderr
    assert place in done.stderr
    assert rule in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


def test_a_recorded_study_file_gives_the_same_again(grownn: Grownn, begun: Path) -> None:
    recorded = begun / "grown-3/study.yaml"
    assert grownn("run", recorded, "--workers", 0, "--results", "again").returncode == 0
    assert grownn("table", "again/tiny").stdout == grownn("table", "results/tiny").stdout


def test_limits_may_change(grownn: Grownn, tiny: Path, begun: Path) -> None:
    done = grownn("run", tiny, "--workers", 0, "--set", "search.trials=4", "--set", "limits.attempts=7")
    assert done.returncode == 0, done.stderr
    assert "attempts: 7" in (begun / "grown-3/study.yaml").read_text()


def test_an_unknown_study_and_arm_are_named(grownn: Grownn, tiny: Path) -> None:
    assert "did you mean 'cartpole'" in grownn("run", "cartpol").stderr
    assert "it has grown-3" in grownn("run", tiny, "--arm", "static-9").stderr
    assert grownn("table", "nowhere").returncode == 2
    assert grownn("run").returncode == 2


RICH = """\
space:
  hyperparameters:
    - {name: learning_rate, type: normal_float, mu: 0.001, sigma: 0.001, lower: 0.0001, upper: 0.01, log: true,
       default_value: 0.001}
    - {name: n_epochs, type: uniform_int, lower: 1, upper: 8, log: true, default_value: 2}
    - {name: normalize_rewards, type: categorical, choices: [true, false], default_value: true}
    - {name: normalize_advantage, type: categorical, choices: [true, false], default_value: true}
    - {name: gamma, type: ordinal, sequence: [0.9, 0.95, 0.99], default_value: 0.95}
    - {name: clip_range, type: constant, value: 0.25}
    - {name: ent_coef, type: uniform_float, lower: 0.0, upper: 0.1, default_value: 0.01}
  conditions:
    - {type: EQ, child: ent_coef, parent: normalize_advantage, value: true}
  forbiddens:
    - type: AND
      clauses:
        - {type: EQUALS, name: normalize_rewards, value: true}
        - {type: EQUALS, name: gamma, value: 0.9}
ppo:"""


def test_whatever_configspace_can_express_works_in_a_study(grownn: Grownn, tmp_path: Path) -> None:
    head, rest = TINY.split("space:\n")
    (tmp_path / "rich.yaml").write_text(head + RICH + rest.partition("ppo:")[2])
    done = grownn("run", "rich.yaml", "--workers", 0, "--set", "search.trials=12")
    assert done.returncode == 0, done.stderr
    found = rows(grownn("table", "results/tiny").stdout)
    configurations = {row["config"]: row for row in found}
    assert len(configurations) == 6
    for row in configurations.values():
        assert (row["ent_coef"] == "") == (row["normalize_advantage"] == "False")
        assert (row["normalize_rewards"], row["gamma"]) != ("True", "0.9")
        assert row["clip_range"] == "0.25"
        assert 1 <= int(row["n_epochs"]) <= 8
    assert len({row["normalize_advantage"] for row in configurations.values()}) == 2
    as_json = json.loads(grownn("table", "results/tiny", "--format", "json").stdout)
    assert [row["ent_coef"] is None for row in as_json] == [row["ent_coef"] == "" for row in found]
    assert [row["mean_return"] for row in as_json] == [float(row["mean_return"]) for row in found]
