"""Failpoints: what an order says, and a real study disturbed at all of them."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from failpoint_walk import (
    ARM,
    STOPPED,
    STUDY,
    Counts,
    Walk,
    at_once,
    every_error,
    every_pass,
    every_recovery,
    passes_in,
)
from fault_table import Fault
from hypothesis import given
from hypothesis import strategies as st
from warm import Warm

from grownn_hpo import failpoints
from grownn_hpo.failpoints import VARIABLE, Armed, Order

# What an order says


@given(
    role=st.sampled_from(["*", "driver", "segment"]),
    name=st.sampled_from(["result.rename", "lease.take.fsync", "*.fsync", "*", "boundary_tensors.write"]),
    nth=st.integers(1, 10**6),
    later=st.booleans(),
    effect=st.sampled_from(["kill", "EIO", "ESTALE", "ENOSPC", "EROFS"]),
)
def test_an_order_is_read_as_it_is_written(role: str, name: str, nth: int, later: bool, effect: str) -> None:
    text = f"{role}:{name}@{nth}{'+' if later else ''}={effect}"
    assert Order.read(text) == Order(role, name, nth, later, effect)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "begins with ''"),
        ("passes driver:a.b@1=kill", "absolute path"),
        ("/passes driver:a.b=kill", "is no order"),
        ("/passes driver:a.b@0=kill", "is no order"),
        ("/passes a.b@1=kill", "is no order"),
        ("/passes worker:a.b@1=kill", "the role is one of driver, segment"),
        ("/passes driver:a.b@1=EWHAT", "the effect is kill, torn or the name of an errno"),
        ("/passes driver:a.rename@1=torn", "can be torn"),
    ],
)
def test_what_cannot_be_understood_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Armed.read(text)


def test_passes_are_counted_over_roles_names_and_processes(tmp_path: Path) -> None:
    log = tmp_path / "passes"
    armed = Armed.read(f"{log} driver:a.*@3=kill segment:b.write@2+=EIO")
    passed = [("driver", "a.x"), ("segment", "a.x"), ("driver", "b.write"), ("driver", "a.y"), ("driver", "a.x")]
    assert [armed.due(*each) for each in passed] == [None, None, None, None, "kill"]
    again = Armed.read(f"{log} driver:a.*@3=kill segment:b.write@2+=EIO")  # as after a restart
    assert again.due("driver", "a.x") is None
    assert [again.due("segment", "b.write") for _ in range(3)] == [None, "EIO", "EIO"]
    assert passes_in(log) == {
        ("driver", "a.x"): 3,
        ("driver", "a.y"): 1,
        ("driver", "b.write"): 1,
        ("segment", "a.x"): 1,
        ("segment", "b.write"): 3,
    }


WRITER = """
import sys
from pathlib import Path
from grownn_hpo.store.commit import append, write_file
path = Path(sys.argv[1])
append(path / "curve.csv", "whole line\\n")
append(path / "curve.csv", "torn line\\n")
write_file(path / "result.json", b"x" * 100)
"""


def written(tmp_path: Path, *orders: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        env={**os.environ, VARIABLE: " ".join((str(tmp_path / "passes"), *orders))},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_torn_write_is_half_done_by_a_process_that_dies(tmp_path: Path) -> None:
    assert written(tmp_path, "driver:curve.append@2=torn").returncode == -signal.SIGKILL
    assert (tmp_path / "curve.csv").read_text() == "whole line\ntorn "
    assert written(tmp_path, "driver:result.write@1=torn").returncode == -signal.SIGKILL
    assert not (tmp_path / "result.json").exists()
    assert [path.stat().st_size for path in tmp_path.glob("result.json.*.tmp")] == [50]


def test_a_failpoint_raises_what_the_system_would(tmp_path: Path) -> None:
    ended = written(tmp_path, "driver:result.rename@1=ENOSPC")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        f"OSError: [Errno {errno.ENOSPC}] No space left on device: '{tmp_path / 'result.json'}'"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"curve.csv", "passes"}


def test_failpoints_are_off_unless_they_are_turned_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert VARIABLE not in os.environ
    failpoints.meet("result.rename")
    try:
        failpoints.arm(f"{tmp_path}/passes driver:result.rename@1=EIO")
        with pytest.raises(OSError, match="Input/output error"):
            failpoints.meet("result.rename")
    finally:
        failpoints.arm(None)
    failpoints.meet("result.rename")
    assert passes_in(tmp_path / "passes") == {("driver", "result.rename"): 1}


# A real study, disturbed


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as process:
        yield process


@pytest.fixture(scope="module")
def walk(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    return Walk(warm, tmp_path_factory.mktemp("walk"))


def told(fault: Fault, what: str, counts: Counts) -> None:
    print(f"{what}: {counts}")
    fault.tolled(counts.injected, counts.lost, counts.duplicated, counts.identical)


def test_the_study_passes_every_kind_of_step_in_driver_and_segment(walk: Walk) -> None:
    names = {(role, name) for role, name, _ in walk.lasting()}
    for role, kinds in {
        "driver": ("bracket", "environment", "study"),
        "segment": ("result", "checkpoint", "checkpoint_meta", "boundary_tensors", "boundary_record"),
    }.items():
        for kind, what in itertools.product(kinds, ("write", "fsync", "rename", "fsync_folder")):
            assert (role, f"{kind}.{what}") in names
    for name in ("ledger.commit", "lease.take.write", "lease.take.fsync", "lease.release.write", "lease.release.fsync"):
        assert ("driver", name) in names
    for name in ("attempt.create", "curve.append", "progress.append", "curve.fsync", "boundary_record.delete"):
        assert ("segment", name) in names


@pytest.mark.row(2)
@pytest.mark.parametrize("effect", ["kill", "torn"])
def test_killed_at_every_failpoint_in_turn_a_study_comes_to_the_same(walk: Walk, fault: Fault, effect: str) -> None:
    """One study, whose driver and attempts are killed at each of them once: most of it while recovering."""
    orders = at_once(walk, effect)
    counts, ended = walk.disturbed(effect, orders)
    told(fault, f"{effect}, at every failpoint of one study, {len(ended)} starts", counts)
    assert counts.injected == len(orders)
    assert len(ended) == 1 + sum(order.startswith("driver:") for order in orders)


@pytest.mark.row(31)
def test_a_hiccup_of_the_storage_stops_nothing(walk: Walk, fault: Fault) -> None:
    """Every file's write fails once, then every fsync, ...: all of it in studies that run through at once."""
    effects = itertools.cycle(("EIO", "ESTALE"))
    for what, group in itertools.groupby(sorted(at_once(walk, "EIO"), key=_what), key=_what):
        effect = next(effects)
        orders = [order.replace("EIO", effect) for order in group]
        counts, ended = walk.disturbed(f"{effect}-{what}", orders)
        told(fault, f"{effect} once, {what}", counts)
        assert counts.injected == len(orders)
        assert [each.returncode for each in ended] == [0], ended[0].stderr


def _what(order: str) -> str:
    """What is done at the failpoint of an order: `write` of `driver:study.write@1=EIO`."""
    return order.partition("@")[0].rpartition(".")[2]


@pytest.mark.row(31)
@pytest.mark.parametrize(
    ("order", "told_to"),
    [
        ("driver:bracket.write@2=ENOSPC", "make room on that disk"),
        ("driver:ledger.commit@3=ENOSPC", "database or disk is full; make room"),
        ("driver:lease.take.write@1=EROFS", "read-only: make it writable again"),
        ("driver:environment.write@2=ENOSPC", "make room on that disk"),  # what the first worker tells of itself
        ("segment:checkpoint.write@2=ENOSPC", "make room on that disk"),
        ("segment:curve.append@3=EDQUOT", "quota"),
    ],
)
def test_what_will_not_pass_stops_the_study_at_once_and_says_what_to_do(
    walk: Walk, fault: Fault, order: str, told_to: str
) -> None:
    counts, ended = walk.disturbed(order.replace(":", "-"), [order])
    told(fault, order, counts)
    assert [each.returncode for each in ended] == [STOPPED, 0]
    assert told_to in ended[0].stderr
    assert "Go on with: grownn resume results/tiny" in ended[0].stderr
    assert "Traceback" not in ended[0].stderr


@pytest.mark.parametrize(
    ("order", "rows"),
    [
        pytest.param("segment:result.fsync@3+=EIO", 2, marks=pytest.mark.slow),
        ("segment:result.fsync_folder@1+=ESTALE", None),
        pytest.param("driver:ledger.commit@3+=EIO", None, marks=pytest.mark.slow),
    ],
)
def test_an_error_that_does_not_pass_stops_the_study_and_nothing_is_acknowledged(
    walk: Walk, warm: Warm, tmp_path: Path, order: str, rows: int | None
) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    run = ("run", "tiny.yaml", "--workers", 0)
    stopped = warm.run(*run, cwd=tmp_path, env={VARIABLE: f"{tmp_path}/passes {order}"})
    assert stopped.returncode == STOPPED
    assert "Go on with: grownn resume results/tiny" in stopped.stderr
    assert "What was committed is kept" in stopped.stderr
    if rows is not None:
        assert len(warm.run("table", "results/tiny", cwd=tmp_path).stdout.splitlines()) == 1 + rows
        assert len(list((tmp_path / ARM).rglob("result.json"))) == rows
        assert not list((tmp_path / ARM).rglob("result.json.*"))
    assert warm.run(*run, cwd=tmp_path).returncode == 0
    assert warm.run("table", "results/tiny", cwd=tmp_path).stdout == walk.table


def test_a_damaged_bracket_is_suggested_again_to_the_same(walk: Walk, warm: Warm, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    run = ("run", "tiny.yaml", "--workers", 0)
    env = {VARIABLE: f"{tmp_path}/passes driver:ledger.commit@6=kill"}
    assert warm.run(*run, cwd=tmp_path, env=env).returncode == -signal.SIGKILL
    for number in (1, 2):
        path = tmp_path / ARM / f"brackets/{number:04d}.json"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    refused = warm.run("table", "results/tiny", cwd=tmp_path)
    assert refused.returncode == 2
    assert "grownn resume" in refused.stderr
    resumed = warm.run("resume", "results/tiny", "--workers", 0, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr.count("a damaged bracket, put aside; it is suggested again") == 2
    assert "bracket 1: 2 configurations suggested; 3 results of theirs were there already" in resumed.stderr
    assert path.read_bytes() == whole
    assert warm.run("table", "results/tiny", cwd=tmp_path).stdout == walk.table
    finished = Counter(result.parent.parent for result in (tmp_path / ARM).glob("segments/*/*/*/*/result.json"))
    assert set(finished.values()) == {1}  # whatever was there was not computed again


def test_what_was_trained_with_others_does_not_count_for_a_bracket_that_is_suggested_again(
    walk: Walk, warm: Warm, tmp_path: Path
) -> None:
    """As where another version of a library had suggested it: here, the results are those of another study."""
    for seed in (3, 4):
        (tmp_path / f"{seed}").mkdir()
        (tmp_path / f"{seed}/tiny.yaml").write_text(STUDY.replace("seed: 3", f"seed: {seed}"))
        assert warm.run("run", "tiny.yaml", "--workers", 0, cwd=tmp_path / f"{seed}").returncode == 0
    arm, other = tmp_path / "3" / ARM, tmp_path / "4" / ARM
    (arm / "brackets/0002.json").unlink()
    for config in ("c0003", "c0004"):
        shutil.rmtree(arm / "segments" / config)
        shutil.copytree(other / "segments" / config, arm / "segments" / config)
    resumed = warm.run("resume", "results/tiny", "--workers", 0, cwd=tmp_path / "3")
    assert resumed.returncode == 0, resumed.stderr
    assert "bracket 2: 2 configurations suggested; 0 results of theirs were there already, 3 others do not count" in (
        resumed.stderr
    )
    assert warm.run("table", "results/tiny", cwd=tmp_path / "3").stdout == walk.table


def test_where_no_bracket_is_of_the_study_that_is_recorded_nothing_is_done(warm: Warm, tmp_path: Path) -> None:
    """Else a study whose file was changed would be computed all over again."""
    (tmp_path / "tiny.yaml").write_text(STUDY)
    assert warm.run("run", "tiny.yaml", "--workers", 0, cwd=tmp_path).returncode == 0
    arm = tmp_path / ARM
    for name, old, new in (("study.yaml", "seed: 3", "seed: 4"), ("environment.json", '"seed": 3', '"seed": 4')):
        text = (arm / name).read_text()
        assert text.count(old) == 1
        (arm / name).write_text(text.replace(old, new))
    refused = warm.run("resume", "results/tiny", "--workers", 0, cwd=tmp_path)
    assert refused.returncode == 2
    assert "0001.json: it belongs to another arm, or to this one as it was before it was edited" in refused.stderr
    assert sorted(path.name for path in (arm / "brackets").iterdir()) == ["0001.json", "0002.json"]


@pytest.mark.row(2)
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_killed_at_any_single_pass_of_any_failpoint_a_study_comes_to_the_same(walk: Walk, fault: Fault) -> None:
    counts = every_pass(walk)
    told(fault, "killed at every single pass, a study each", counts)
    assert counts.injected == sum(passes for *_, passes in walk.lasting()) > 200


@pytest.mark.row(3)
@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("first", ["study.rename@1", "bracket.rename@2", "ledger.commit@4", "lease.release.fsync@1"])
def test_killed_at_any_pass_of_recovering_from_a_kill_it_comes_to_the_same(
    walk: Walk, warm: Warm, fault: Fault, tmp_path: Path, first: str
) -> None:
    told(
        fault,
        f"killed at {first}, and again at every pass of the recovery",
        every_recovery(walk, warm, tmp_path, first),
    )


@pytest.mark.row(31)
@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("effect", ["EIO", "ESTALE", "ENOSPC", "EDQUOT", "EROFS"])
def test_an_error_at_any_failpoint_loses_nothing(walk: Walk, fault: Fault, effect: str) -> None:
    told(fault, f"{effect} at every failpoint, a study each", every_error(walk, effect))
