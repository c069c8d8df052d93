"""The driver's job: its script as text, and what it does under bash. A real Slurm runs it in tests/slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from grownn_hpo.dispatch.driver_job import (
    driver_script,
    job_name,
)
from grownn_hpo.dispatch.job_script import outside
from grownn_hpo.errors import InputError
from grownn_hpo.spec.cluster import Allocation, SlurmProfile

GOLDEN = Path(__file__).parent / "golden"
LEAST = SlurmProfile(kind="slurm")
MOST = SlurmProfile(
    kind="slurm",
    partition="workers",  # the workers' terms, none of which may show in the driver's job
    account="theirs",
    walltime="00:10:00",
    cores=8,
    segments=8,
    gpus=2,
    directives=("--constraint=a100",),
    before=("module load python/3.11", 'export SECRET="$(cat ~/.secret)"; echo ready'),
    driver=Allocation(
        partition="long",
        account="ours",
        walltime="00:10:00",
        cores=2,
        memory_gib=1.5,
        directives=("--constraint=icelake", "--qos=normal"),
    ),
)
COMMAND = ["/shared/venv/bin/python", "-m", "grownn_hpo", "run"]


def script(
    folder: Path, command: list[str], start_in: Path = Path("/home/ada"), profile: SlurmProfile = LEAST, name: str = "n"
) -> str:
    return driver_script(profile, name, folder, start_in, command)


@pytest.mark.parametrize(
    ("golden", "text"),
    [
        (
            "driver_least.sh",
            script(Path("/home/ada/results/demo"), [*COMMAND, "demo"], name="grownn-demo-12345678"),
        ),
        (
            "driver_most.sh",
            script(
                Path("/home/ada/my results 100%/demo"),
                [*COMMAND, "/home/ada/it's mine.yaml", "--set", "task.kwargs={$HOME: `id`}"],
                Path("/home/ada/a $folder"),
                MOST,
                "grownn-demo-87654321",
            ),
        ),
    ],
)
def test_the_script_as_text(golden: str, text: str) -> None:
    assert text == (GOLDEN / golden).read_text()


@pytest.mark.parametrize(
    ("walltime", "notice"), [("1-00:00:00", 300), ("00:20:00", 300), ("00:04:00", 60), ("00:01:00", 15)]
)
def test_notice_is_given_five_minutes_or_a_quarter_of_the_walltime_ahead(walltime: str, notice: int) -> None:
    profile = SlurmProfile(kind="slurm", driver=Allocation(walltime=walltime))
    assert f"--signal=B:USR1@{notice}\n" in script(Path("/r/s"), ["true"], profile=profile)


@pytest.mark.parametrize("name", ["it's", "back\\slash", "line\nbreak", "tab\t", "bell\a"])
def test_a_folder_whose_log_cannot_be_named_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"--results .*choose another") as refused:
        script(Path("/home/ada") / name / "study", ["true"])
    assert repr(f"/home/ada/{name}") in str(refused.value)


def test_a_jobs_name_is_that_of_study_and_folder(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "demo"
    folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "results")
    name = job_name("demo", folder)
    assert name.startswith("grownn-demo-")
    assert len(name) == len("grownn-demo-") + 8
    assert job_name("demo", tmp_path / "link" / "demo") == name
    assert job_name("demo", tmp_path / "other" / "demo") != name
    assert job_name("other", folder) != name


# A driver as the real one treats signals: it says what it got, and stops with exit code 3.
DRIVER = """
import signal, sys, time
got = []
signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
print("ready", flush=True)
while not got:
    time.sleep(0.01)
time.sleep(0.3)
print("stopped cleanly after", len(got), flush=True)
sys.exit(3)
"""
DEAF = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print("ready", flush=True); time.sleep(60)'
UNREADY = 'import time; print("ready", flush=True); time.sleep(60)'

Started = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """Starts the script that runs a Python program, with a `scontrol` that notes what it is asked."""
    slurm = tmp_path / "bin"
    slurm.mkdir()
    scontrol = slurm / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ -e {tmp_path}/answers ]\n')
    scontrol.chmod(0o755)
    (tmp_path / "answers").touch()
    processes = []

    def start(program: str, *arguments: str, before: tuple[str, ...] = (), walltime: str = "01:00:00") -> object:
        profile = SlurmProfile(kind="slurm", before=before, driver=Allocation(walltime=walltime))
        text = script(tmp_path / "study", [sys.executable, "-c", program, *arguments], tmp_path, profile)
        process = subprocess.Popen(
            ["bash", "-c", text],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PATH": f"{slurm}:{os.environ['PATH']}", "SLURM_JOB_ID": "42"},
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start  # type: ignore[misc]
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line == "ready\n":
            time.sleep(0.1)  # the traps are set at once after the driver has been started
            return
    raise AssertionError("the driver did not start")


def asked(tmp_path: Path) -> list[str]:
    path = tmp_path / "asked"
    return path.read_text().splitlines() if path.exists() else []


def test_before_the_walltime_the_driver_stops_and_the_job_is_requeued(started: Started, tmp_path: Path) -> None:
    process = started(DRIVER)
    until_ready(process)
    process.send_signal(signal.SIGUSR1)  # to the shell alone, as `B:` asks of Slurm
    out, _ = process.communicate(timeout=20)
    assert "stopped cleanly after 1\n" in out
    assert "exit code 3, asked to stop: walltime" in out
    assert process.returncode == 3
    assert asked(tmp_path) == ["requeue 42"]


def test_a_cancelled_job_stops_its_driver_and_is_not_requeued(started: Started, tmp_path: Path) -> None:
    process = started(DRIVER)
    until_ready(process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert "stopped cleanly after 1\n" in out
    assert (process.returncode, asked(tmp_path)) == (3, [])


def test_cancelled_while_it_stops_for_the_walltime(started: Started, tmp_path: Path) -> None:
    process = started(DRIVER)
    until_ready(process)
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert "asked to stop: cancel" in out
    assert (process.returncode, asked(tmp_path)) == (3, [])


@pytest.mark.parametrize(("program", "code"), [(DEAF, 137), (UNREADY, 143)])
def test_a_driver_that_cannot_stop_cleanly_is_ended_and_requeued(
    started: Started, tmp_path: Path, program: str, code: int
) -> None:
    process = started(program, walltime="00:00:12")  # told 3 s before, killed after 2
    until_ready(process)
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=20)
    assert (process.returncode, asked(tmp_path)) == (code, ["requeue 42"])


@pytest.mark.parametrize("code", [0, 1, 2, 3, 139])
def test_a_driver_that_ends_by_itself_ends_the_job_with_its_code(started: Started, tmp_path: Path, code: int) -> None:
    process = started("import sys; sys.exit(int(sys.argv[1]))", str(code))
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, asked(tmp_path)) == (code, [])
    assert out.splitlines()[-1].endswith(f"the driver ended with exit code {code}")


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_driver_that_ends_otherwise_when_told_to_stop_is_not_requeued(
    started: Started, tmp_path: Path, code: int
) -> None:
    process = started(DRIVER.replace("sys.exit(3)", f"sys.exit({code})"))
    until_ready(process)
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=20)
    assert (process.returncode, asked(tmp_path)) == (code, [])


def test_slurm_is_asked_to_requeue_until_it_does(started: Started, tmp_path: Path) -> None:
    (tmp_path / "answers").unlink()
    process = started(DRIVER)
    until_ready(process)
    process.send_signal(signal.SIGUSR1)
    while not asked(tmp_path):
        time.sleep(0.05)
    (tmp_path / "answers").touch()
    process.communicate(timeout=30)
    assert asked(tmp_path) == ["requeue 42"] * 2


def test_lines_before_may_set_the_shell_up_as_they_like(started: Started, tmp_path: Path) -> None:
    before = ("set -euo pipefail", "export GREETING='hello there'")
    process = started("import os, sys; print(os.environ['GREETING'], os.getcwd()); sys.exit(3)", before=before)
    out, _ = process.communicate(timeout=20)
    assert f"hello there {tmp_path}\n" in out
    assert out.splitlines()[-1].endswith("exit code 3")


def test_every_word_of_the_command_arrives_as_it_is(started: Started) -> None:
    words = ["it's", 'a "b"', "$HOME", "`id`", "$(id)", "*", "a\nb", "", "-n", "#", "\\", "&", "ünï", "%j"]
    process = started("import sys; print(sys.argv[1:])", *words)
    out, _ = process.communicate(timeout=20)
    assert f"{words}\n" in out


def test_a_folder_that_is_gone_ends_the_job(tmp_path: Path) -> None:
    text = script(tmp_path / "study", ["echo", "driven"], tmp_path / "gone")
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "driven" not in done.stdout
    assert str(tmp_path / "gone") in done.stderr


def test_what_an_enclosing_job_set_does_not_reach_the_new_one() -> None:
    kept = {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf", "MY_SLURM": "1"}
    leaked = {"SLURM_JOB_ID": "1", "SLURM_MEM_PER_NODE": "9", "SLURMD_NODENAME": "n1", "SBATCH_PARTITION": "debug"}
    assert outside(kept | leaked) == kept
