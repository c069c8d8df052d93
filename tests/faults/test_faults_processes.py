"""Processes of a study on this machine that are killed, frozen or doubled; a clock that jumps; a reader that leaves."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from driven import SECONDS, wait
from fault_table import Fault, contents, rows_of
from local_study import LocalStudy
from program import TINY, command

from grownn_hpo.dispatch.local import FROZEN_LOOKS, LOOK_SECONDS

CLOCK = Path(__file__).with_name("jumping_clock.c")
# Of a map two by two, so that it is fast; with monsters, since NetHack's moon and Friday the 13th touch luck.
MONSTERS = (
    TINY.replace("env: CartPole-v1", "env: MiniHack-Room-Monster-5x5-v0")
    .replace("kind: mlp", "kind: minihack-cnn")
    .replace("trials: 12", "trials: 3")
    .replace("env_steps: 512", "env_steps: 256")
)


@pytest.fixture
def study(tmp_path: Path) -> LocalStudy:
    return LocalStudy(tmp_path)


@pytest.mark.row(4)
def test_a_killed_workers_segment_is_reissued_at_once(study: LocalStudy, fault: Fault, first_bracket: str) -> None:
    with study.held(3) as driver:
        attempt, _ = study.when_waiting(2, driver)
        fault.look(study.arm)
        worker = attempt.parent().parent()
        assert "spawn_main" in " ".join(worker.cmdline())
        worker.kill()
        fault.struck()
        seconds = wait(lambda: len(list(study.folder.glob("halted-*"))) == 3, 30, lambda: driver.said)
        study.go_on()
        said = driver.ends()
    print(f"\nSIGKILL of a worker in mid-segment: the segment is as far again after {seconds:.1f} s")
    assert said.count("has gone); it is tried again") == 1
    assert study.attempts() == {1: 11, 2: 1}
    fault.holds(study.arm, study.table(), first_bracket)


@pytest.mark.row(11)
@pytest.mark.slow
def test_an_orphan_of_a_killed_driver_is_fenced(study: LocalStudy, fault: Fault, first_bracket: str) -> None:
    """The driver alone is killed, and the next one is started at the same instant."""
    with study.held(2) as first:
        orphans = study.when_waiting(2, first)
        fault.look(study.arm)
        first.process.kill()
        fault.struck(2)
        with study.driven("resume", "results/tiny", "--workers", 2) as second:
            study.go_on()
            second.ends()
        first.process.wait()
    assert not any(orphan.is_running() for orphan in orphans)
    assert study.attempts() == {1: 10, 2: 2}
    fault.holds(study.arm, study.table(), first_bracket)


@pytest.mark.row(13)
@pytest.mark.parametrize(
    ("generations", "told"),
    [
        pytest.param(0, "no progress for", id="attempt", marks=pytest.mark.slow),
        pytest.param(1, "its launcher was frozen: no sign of life for 30 s", id="launcher", marks=pytest.mark.slow),
        pytest.param(2, "was frozen: no sign of life for 30 s; replaced", id="worker", marks=pytest.mark.slow),
    ],
)
def test_a_frozen_process_is_replaced_and_does_no_harm_when_it_goes_on(
    study: LocalStudy, fault: Fault, first_bracket: str, generations: int, told: str
) -> None:
    with study.held(
        2, "--set", "limits.stalled_seconds=3" if generations == 0 else "limits.stalled_seconds=600"
    ) as driver:
        frozen, _ = study.when_waiting(2, driver)
        for _ in range(generations):
            frozen = frozen.parent()
        frozen.suspend()
        fault.struck()
        study.go_on()
        driver.says(told, 90)
        with suppress(psutil.NoSuchProcess):  # it has been killed
            frozen.resume()
        said = driver.ends()
    assert said.count("it is tried again") == 1
    fault.holds(study.arm, study.table(), first_bracket)


@pytest.mark.row(13)
@pytest.mark.slow
def test_a_machine_that_slept_loses_nothing_and_takes_nobody_for_frozen(
    study: LocalStudy, fault: Fault, first_bracket: str
) -> None:
    """Every process stops for longer than a frozen one would be waited for, and all go on together."""
    with study.held(2) as driver:
        study.when_waiting(2, driver)
        parent = psutil.Process(driver.process.pid)
        tree = [parent, *parent.children(recursive=True)]
        for process in tree:
            process.suspend()
        fault.struck()
        time.sleep(FROZEN_LOOKS * LOOK_SECONDS + 5)
        for process in tree:
            process.resume()
        time.sleep(5 * LOOK_SECONDS)
        study.go_on()
        said = driver.ends()
    assert "frozen" not in said
    assert "tried again" not in said
    fault.holds(study.arm, study.table(), first_bracket)


@pytest.mark.row(20)
def test_a_second_driver_is_refused_and_names_the_first(study: LocalStudy, fault: Fault, first_bracket: str) -> None:
    with study.held(1, workers=0) as first:
        study.when_waiting(1, first)
        before = contents(study.arm)
        for words in (
            ("resume", "results/tiny"),
            ("extend", "results/tiny", "--trials", 20),
            ("clean", "results/tiny"),
        ):
            second = study.call(*words)
            fault.struck()
            assert second.returncode == 2
            assert f"is being driven already by process {first.process.pid} on " in second.stderr
            assert ", since 20" in second.stderr
            assert "watch it with `grownn status " in second.stderr
        fault.refused(before, study.arm)
        study.go_on()
        first.ends()
    fault.holds(study.arm, study.table(), first_bracket)


@pytest.fixture
def jumping_clock(tmp_path: Path) -> str:
    """A library that, preloaded, makes the wall clock jump by days, months and years, forth and back, every second."""
    if (compiler := shutil.which("cc") or shutil.which("gcc")) is None:
        pytest.skip("no C compiler for the clock that jumps")
    library = tmp_path / "jumping_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, CLOCK, "-ldl"], check=True)
    return str(library)


@pytest.mark.row(22)
@pytest.mark.slow
def test_a_clock_that_jumps_changes_nothing(
    study: LocalStudy, fault: Fault, jumping_clock: str, first_bracket: str
) -> None:
    began = time.monotonic()
    with study.driven("run", "study.yaml", "--workers", 2, LD_PRELOAD=jumping_clock) as driver:
        said = driver.ends()
    fault.struck(int(time.monotonic() - began))
    assert "tried again" not in said
    fault.holds(study.arm, study.table(), first_bracket)


@pytest.mark.row(22)
@pytest.mark.slow
def test_nethacks_episodes_do_not_know_the_date(fault: Fault, jumping_clock: str, tmp_path: Path) -> None:
    tables = {}
    for name, env in (("now", {}), ("jumping", {"LD_PRELOAD": jumping_clock})):
        study = LocalStudy(tmp_path / name, MONSTERS)
        began = time.monotonic()
        done = study.call("run", "study.yaml", "--workers", 0, **env)
        assert done.returncode == 0, done.stderr
        tables[name] = study.table()
    fault.struck(int(time.monotonic() - began))
    assert len(rows_of(tables["now"])) == 6
    fault.holds(study.arm, tables["jumping"], tables["now"])


@pytest.mark.row(32)
def test_a_study_whose_words_nobody_hears_comes_to_the_same(
    study: LocalStudy, fault: Fault, first_bracket: str
) -> None:
    """The reader of its lines leaves after the first, as `head -1` does, and what attempts tell is lost."""
    process = subprocess.Popen(
        command("run", "study.yaml", "--workers", 1),
        cwd=study.folder,
        env=study.environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        assert b"bracket 1" in process.stderr.readline()
        process.stderr.close()
        fault.struck()
        deadline = time.monotonic() + SECONDS
        while process.poll() is None:
            assert time.monotonic() < deadline
            for path in study.arm.glob("segments/*/*/*/*/progress.jsonl"):
                if not path.with_name("result.json").exists() and path.stat().st_size:
                    path.write_bytes(b"")
                    fault.struck()
            time.sleep(0.02)
        assert process.returncode == 0
    finally:
        process.kill()
    fault.holds(study.arm, study.table(), first_bracket)
    shown = study.call("status", "results/tiny")
    assert (shown.returncode, "complete" in shown.stderr) == (0, True)


@pytest.mark.parametrize(
    "command_line", ["table results/tiny", "run study.yaml --workers 0 --set search.trials=1", "studies"]
)
def test_no_command_minds_a_reader_that_leaves(study: LocalStudy, four_trials: Path, command_line: str) -> None:
    if command_line.startswith("table"):
        shutil.copytree(four_trials / "results", study.folder / "results")
    words = " ".join(command(*command_line.split()))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{words} 2>&1 | true"],
        cwd=study.folder,
        env=study.environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def heeds_hang_ups() -> Iterator[None]:
    """For whom the tests are run with `nohup`: their programs would be deaf to it too."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_terminal_that_hangs_up_stops_the_study_cleanly(
    study: LocalStudy, first_bracket: str, heeds_hang_ups: None
) -> None:
    with study.held(2) as driver:
        study.when_waiting(2, driver)
        driver.process.send_signal(signal.SIGHUP)
        said = driver.ends(3, 30)
    assert "stopped with 2 segments under way" in said
    assert "Go on with: grownn resume results/tiny" in said
    study.go_on()
    assert study.call("resume", "results/tiny", "--workers", 2).returncode == 0
    assert study.table() == first_bracket
