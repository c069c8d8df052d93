"""What fuzzing and reviewing found, each as it was found: refused in words, and nothing written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz_program import run, snapshot
from test_fuzz_inputs import INCUMBENT, PROFILE, STUDY

from grownn_hpo.spec.document import render
from grownn_hpo.store import paths
from grownn_hpo.store.attempts import read_commit
from grownn_hpo.store.known import read_known
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment


@pytest.fixture
def arm(arms: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the arm half done, in a folder to work in."""
    shutil.copytree(arms[0], tmp_path / "results")
    return tmp_path / "results" / "fuzzed" / "grown"


@pytest.mark.parametrize("trials", [10**6 + 1, 2**62, 10**30])
def test_a_budget_beyond_all_bounds_leaves_the_record_as_it_is(arm: Path, trials: int) -> None:
    before = (arm / "study.yaml").read_bytes()
    ended = run("extend", arm, "--trials", trials, "--workers", 0)
    assert (ended.code, ended.out) == (2, "")
    assert f"--trials {trials}: must be at most 1000000" in ended.err
    assert (arm / "study.yaml").read_bytes() == before


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_stands_in_a_studys_place_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "study.yaml").write_text(render(STUDY))
    (tmp_path / "site.yaml").write_text(render(PROFILE))
    (tmp_path / "incumbent.yaml").write_text(render(INCUMBENT))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").mkdir()
    place = tmp_path / "results" / "fuzzed"
    place.symlink_to(tmp_path / "elsewhere") if kind == "link" else place.write_text("notes")
    before = snapshot(tmp_path)
    for words in (
        ("run", tmp_path / "study.yaml", "--workers", 0, "--results", tmp_path / "results"),
        ("evaluate", tmp_path / "incumbent.yaml", "--workers", 0, "--results", tmp_path / "results"),
        *[
            (
                "submit",
                tmp_path / "study.yaml",
                "--dry-run",
                "--cluster",
                tmp_path / "site.yaml",
                "--results",
                place.parent,
            )
        ],
    ):
        ended = run(*words)
        assert ended.code == 2, words
        assert f"{place}: is " in ended.err
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["ledger.db", "brackets", "segments", "evaluations", "environment.json", "study.yaml"])
@pytest.mark.parametrize("command", ["resume", "extend", "clean", "table"])
def test_a_link_inside_an_arm_is_refused_by_name(arm: Path, tmp_path: Path, name: str, command: str) -> None:
    target = tmp_path / "moved"
    (arm / name).rename(target)
    (arm / name).symlink_to(target)
    before = snapshot(tmp_path)
    more = {"resume": ("--workers", 0), "extend": ("--workers", 0, "--trials", 20)}.get(command, ())
    ended = run(command, arm, *more)
    assert ended.code == 2
    assert f"{name}: is a symbolic link, and may lead anywhere" in ended.err
    assert {k: v for k, v in snapshot(tmp_path).items() if not k.endswith("lease.json")} == {
        k: v for k, v in before.items() if not k.endswith("lease.json")
    }


def test_a_file_that_is_no_search_space_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the password is hunter2")
    (tmp_path / "study.yaml").write_text(render({**STUDY, "space": "secret"}))
    ended = run("run", tmp_path / "study.yaml", "--workers", 0, "--results", tmp_path / "results")
    assert ended.code == 2
    assert "study.yaml: space = 'secret': " in ended.err
    assert "holds text: must hold a mapping of keys to values" in ended.err
    assert "hunter2" not in ended.err


def test_the_report_is_not_written_through_a_link(arm: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (arm / "report").symlink_to(tmp_path / "outside")
    ended = run("report", arm)
    assert ended.code == 2
    assert not list((tmp_path / "outside").iterdir())


def test_an_export_replaces_files_alone(arm: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ended = run("export", arm, "-o", fifo)
    assert ended.code == 2
    assert "is no file that could be replaced" in ended.err
    assert fifo.is_fifo()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder to another user")
@pytest.mark.parametrize("command", ["resume", "clean"])
def test_another_users_folder_is_read_and_not_driven(arm: Path, command: str) -> None:
    os.chown(arm, 65534, 65534)
    assert run("table", arm).code == 0
    ended = run(command, arm, *(("--workers", 0) if command == "resume" else ()))
    assert ended.code == 2
    assert "belongs to user " in ended.err


def test_a_lost_environment_is_told_as_such(arm: Path) -> None:
    (arm / "environment.json").write_bytes(b"[" * 100_000)
    ended = run("resume", arm, "--workers", 0)
    assert ended.code == 2
    assert "environment.json: is lost or damaged" in ended.err
    assert f"grownn resume {arm} --accept-environment" in ended.err


def test_a_bracket_of_another_study_is_refused(arms: tuple[Path, Path], arm: Path) -> None:
    shutil.copy(arms[1] / "fuzzed" / "grown" / "brackets" / "0002.json", arm / "brackets" / "0002.json")
    ended = run("table", arm)
    assert ended.code == 2
    assert "0002.json: damaged: it belongs to another arm" in ended.err


def test_a_result_of_another_study_did_not_happen(arms: tuple[Path, Path], arm: Path) -> None:
    folder, segment = ArmFolder(arm), Segment(1, 1, 0)
    known = read_known(folder).ledger.entries
    attempt = folder.segment(segment) / "a1"
    shutil.rmtree(attempt)
    shutil.copytree(ArmFolder(arms[1] / "fuzzed" / "grown").segment(segment) / "a1", attempt)
    assert read_commit(attempt, segment) is not None  # whole, and of that segment
    assert read_known(folder).ledger.entries == {s: e for s, e in known.items() if s != segment}


def test_results_without_their_bracket_wait_for_it(arm: Path) -> None:
    whole = run("table", arm).out
    bracket = arm / "brackets" / "0002.json"
    kept = bracket.read_bytes()
    bracket.unlink()
    ended = run("table", arm)
    assert ended.code == 0
    assert len(ended.out.splitlines()) < len(whole.splitlines())
    bracket.write_bytes(kept)
    assert run("table", arm).out == whole


def test_an_incumbent_whose_lineage_is_damaged_is_not_exported(arm: Path) -> None:
    folder = ArmFolder(arm)
    exported = run("export", arm)
    assert exported.code == 0
    config = next(int(line.split()[1]) for line in exported.out.splitlines() if line.startswith("config:"))
    path = folder.segment(Segment(config, 1, 1)) / "a1" / paths.RESULT
    path.write_bytes(path.read_bytes()[:-1])
    ended = run("export", arm)
    assert (ended.code, ended.out) == (2, "")
    assert f"c{config:04d}/s1/r1 are damaged or gone; to have them computed again: grownn resume {arm}" in ended.err


def test_a_damaged_curve_is_not_drawn(arm: Path) -> None:
    from grownn_hpo.report.read import read_record

    folder, segment = ArmFolder(arm), Segment(1, 1, 0)
    assert len(read_record(folder).curves[segment]) == 2
    curve = folder.segment(segment) / "a1" / paths.CURVE
    curve.write_text(curve.read_text().replace("1.0", "7.0"))
    assert read_record(folder).curves[segment] == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda i: i["configuration"].update(learning_rate=1.0),  # outside the space
        lambda i: i["configuration"].update(gamma=0.5),  # not in the space
        lambda i: i["configuration"].pop("n_epochs"),
        lambda i: i.update(format=True),
        lambda i: i.update(format=2),
        lambda i: i.update(promissed=1),
        lambda i: i.update(config=2**60),
        lambda i: i["study"]["task"].update(env="NoSuchEnv-v0"),
    ],
)
def test_an_incumbent_that_no_search_found_is_refused(
    tmp_path: Path, change: Callable[[dict[str, object]], None]
) -> None:
    incumbent = json.loads(json.dumps(INCUMBENT))
    change(incumbent)
    path = tmp_path / "incumbent.yaml"
    path.write_text(render(incumbent))
    ended = run("evaluate", path, "--workers", 0, "--results", tmp_path / "results")
    assert ended.code == 2
    assert str(path) in ended.err
    assert not (tmp_path / "results").exists()


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text('"\\e[2J\\u202e": 1\narms: {}\n')
    done = subprocess.run(
        [sys.executable, "-m", "grownn_hpo", "run", str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "\\x1b[2J\\u202e" in done.stderr
