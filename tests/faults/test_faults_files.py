"""Disks that are full or read-only, and files that were damaged, edited or put there by somebody else."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
from fault_table import Fault, contents, rows_of
from local_study import LocalStudy
from program import TINY

from grownn_hpo.store.attempts import commit_result, read_commit
from grownn_hpo.trial import Segment


@pytest.fixture
def study(four_trials: Path, tmp_path: Path) -> LocalStudy:
    """A study of which four trials of the first bracket are done."""
    shutil.copytree(four_trials / "results", tmp_path / "results")
    return LocalStudy(tmp_path, TINY)


EXTEND = ("extend", "results/tiny", "--trials", 6, "--workers", 0)
"""To the end of its first bracket."""


@dataclass(frozen=True)
class Disk:
    """A small file system of its own at `folder`/results, which only what runs behind `prefix` sees."""

    folder: Path
    keeper: int

    @property
    def prefix(self) -> tuple[str, ...]:
        return (*self._inside, "sh", "-c", 'cd "$0" && exec "$@"', str(self.folder))

    @property
    def seen(self) -> Path:
        """The file system's root as it can be read from outside."""
        return Path(f"/proc/{self.keeper}/root{self.folder}/results")

    def mount(self, options: str) -> None:
        words = ("mount", "-t", "tmpfs", "-o", options, "none", str(self.folder / "results"))
        subprocess.run([*self._inside, *words], check=True)

    def remount(self, options: str) -> None:
        words = ("mount", "-o", f"remount,{options}", str(self.folder / "results"))
        subprocess.run([*self._inside, *words], check=True)

    @property
    def _inside(self) -> tuple[str, ...]:
        return ("nsenter", "--target", str(self.keeper), "--mount")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """The mounts are in a namespace of their own, and go with it."""
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 600"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        assert keeper.stderr is not None
        if not keeper.stdout.readline():
            pytest.skip(f"no file system can be mounted here: {keeper.stderr.read().strip()}")
        (tmp_path / "results").mkdir()
        yield Disk(tmp_path, keeper.pid)
        keeper.kill()


@pytest.mark.row(14)
@pytest.mark.slow
@pytest.mark.parametrize("kib", [40, 200, 320, 440])
def test_a_full_disk_stops_the_study_which_goes_on_once_there_is_room(
    disk: Disk, fault: Fault, first_bracket: str, kib: int
) -> None:
    study = LocalStudy(disk.folder, prefix=disk.prefix)
    disk.mount(f"size={kib}k")
    done = study.call("run", "study.yaml", "--workers", 2)
    assert done.returncode == 3, done.stderr
    fault.struck()
    assert "Traceback" not in done.stderr
    # It may be an attempt that finds it full, or the driver, when it writes a file or its database.
    assert re.search("No space left on device|disk is full", done.stderr)
    assert "make room" in done.stderr
    assert re.search("What was committed is kept|Nothing is lost", done.stderr)
    assert "grownn resume" in done.stderr
    arm = disk.seen / "tiny/grown-3"
    fault.look(arm)
    disk.remount("size=10m")
    done = study.call("run", "study.yaml", "--workers", 2)
    assert done.returncode == 0, done.stderr
    fault.holds(arm, study.table(), first_bracket)


@pytest.mark.row(15)
def test_a_folder_that_cannot_be_written_to_is_refused_before_any_training(
    disk: Disk, fault: Fault, four_trials: Path
) -> None:
    study = LocalStudy(disk.folder, TINY, disk.prefix)
    disk.mount("ro")
    done = study.call("run", "study.yaml")
    fault.struck()
    assert done.returncode == 2
    assert "results is not a folder that can be written to" in done.stderr
    assert list(disk.seen.iterdir()) == []
    disk.remount("rw")
    shutil.copytree(four_trials / "results", disk.seen, dirs_exist_ok=True)
    disk.remount("ro")
    before = contents(disk.seen)
    for words in (EXTEND, ("run", "study.yaml", "--set", "search.trials=4")):
        done = study.call(*words)
        fault.struck()
        assert done.returncode == 3, done.stderr
        assert "Traceback" not in done.stderr
        assert "make it writable again" in done.stderr
        assert "What was committed is kept" in done.stderr
    fault.refused(before, disk.seen)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(cut, marks=[pytest.mark.row(16), pytest.mark.slow]),
        pytest.param(flip, marks=pytest.mark.row(17)),
    ],
)
def test_a_damaged_checkpoint_is_noticed_and_its_segment_computed_again(
    study: LocalStudy, fault: Fault, first_bracket: str, damage: Callable[[Path], None]
) -> None:
    damaged = list(study.arm.glob("segments/*/s0/r*/a1/checkpoint.safetensors"))
    for path in damaged:
        damage(path)
        fault.struck()
    done = study.call(*EXTEND)
    assert done.returncode == 0, done.stderr
    assert "its checkpoint is damaged or gone; the segment is computed again" in done.stderr
    fault.holds(study.arm, study.table(), first_bracket)
    again = {path.parent.parent for path in study.arm.glob("segments/*/*/*/a2/result.json")}
    assert again
    assert again <= {path.parent.parent for path in damaged}


@pytest.mark.row(18)
@pytest.mark.slow
def test_a_torn_tail_of_progress_or_curve_is_dropped(study: LocalStudy, fault: Fault, first_bracket: str) -> None:
    """In segments that are done, and in one that a kill left half done."""
    first = next(study.arm.glob("segments/c0001/s0/r1/a1"))
    for name in ("curve.csv", "progress.jsonl"):
        left = study.arm / "segments/c0003/s0/r2/a1" / name
        left.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(first / name, left)
        for path in study.arm.glob(f"segments/*/*/*/*/{name}"):
            cut(path)
            fault.struck()
    fault.look(study.arm)
    for words in (("status", "results/tiny"), EXTEND, ("report", "results/tiny")):
        done = study.call(*words)
        assert done.returncode == 0, done.stderr
    fault.holds(study.arm, study.table(), first_bracket)


@pytest.mark.row(19)
@pytest.mark.parametrize(
    "damage", [cut, pytest.param(Path.unlink, marks=pytest.mark.slow), pytest.param(flip, marks=pytest.mark.slow)]
)
def test_a_damaged_ledger_is_rebuilt_from_the_commits(
    study: LocalStudy, fault: Fault, first_bracket: str, damage: Callable[[Path], None]
) -> None:
    fault.look(study.arm)
    before = study.table()
    damage(study.arm / "ledger.db")
    fault.struck()
    assert study.table() == before
    done = study.call(*EXTEND)
    assert done.returncode == 0, done.stderr
    assert study.attempts() == {1: 12}
    fault.holds(study.arm, study.table(), first_bracket)


@pytest.mark.row(12)
@pytest.mark.parametrize("equal", [pytest.param(True, marks=pytest.mark.slow), False], ids=["equal", "different"])
def test_a_second_result_is_compared_and_counted_once(
    study: LocalStudy, fault: Fault, first_bracket: str, equal: bool
) -> None:
    """An attempt that was given up, and came to an end after all: its folder is there, committed like the first's."""
    first = study.arm / "segments/c0001/s0/r1/a1"
    late = first.with_name("a2")
    shutil.copytree(first, late)
    if not equal:
        commit = read_commit(late, Segment(1, 1, 0))
        assert commit is not None
        commit_result(late, replace(commit.result, mean_return=1234.5), commit.measured)
    fault.look(study.arm)
    fault.struck()
    done = study.call(*EXTEND)
    assert done.returncode == 0, done.stderr
    assert ("WARNING c0001/s0/r1: attempts a1 and a2 differ" in done.stderr) == (not equal)
    assert ("mean return 30.0, " in done.stderr and "/ completed, mean return 1234.5, " in done.stderr) == (not equal)
    assert ("a1 counts" in done.stderr) == (not equal)
    fault.holds(study.arm, study.table(), first_bracket)


@pytest.mark.row(21)
def test_a_lease_of_another_host_is_refused_until_told_to_take_it(
    study: LocalStudy, fault: Fault, first_bracket: str
) -> None:
    lease = {"host": "elsewhere", "pid": 4711, "job": None, "cluster": None, "since": "2026-01-01T00:00:00+0000"}
    (study.arm / "lease.json").write_text(json.dumps(lease))
    before = contents(study.arm)
    for words in (("resume", "results/tiny"), EXTEND):
        done = study.call(*words)
        fault.struck()
        assert done.returncode == 2
        assert "a lease was left by process 4711 on elsewhere, since 2026-01-01T00:00:00+0000" in done.stderr
        assert "grownn resume results/tiny/grown-3 --take-over" in done.stderr
    fault.refused(before, study.arm)
    taken = study.call("resume", "results/tiny/grown-3", "--take-over", "--workers", 0)
    assert taken.returncode == 0, taken.stderr
    assert "took the lease of process 4711 on elsewhere" in taken.stderr
    assert study.call(*EXTEND).returncode == 0
    fault.holds(study.arm, study.table(), first_bracket)


@pytest.mark.row(29)
def test_another_environment_is_told_accepted_knowingly_and_kept_apart(
    study: LocalStudy, fault: Fault, first_bracket: str
) -> None:
    recorded = study.arm / "environment.json"
    content = json.loads(recorded.read_text())
    content["packages"]["torch"] = "1.0"
    content["cpu_capability"] = "VSX"
    recorded.write_text(json.dumps(content))
    before = contents(study.arm)
    for words in (("resume", "results/tiny"), ("run", "study.yaml", "--set", "search.trials=4"), EXTEND):
        done = study.call(*words)
        fault.struck()
        assert done.returncode == 2
        assert "torch: was '1.0', is '2." in done.stderr
        assert "cpu_capability: was 'VSX', is " in done.stderr
        assert "--accept-environment" in done.stderr
    fault.refused(before, study.arm)
    assert study.call("status", "results/tiny").stderr.count("environment") == 0
    accepted = study.call("resume", "results/tiny", "--accept-environment", "--workers", 0)
    assert accepted.returncode == 0, accepted.stderr
    assert "goes on in another environment (" in accepted.stderr
    assert "8 segments are kept" in accepted.stderr
    assert study.call(*EXTEND).returncode == 0
    fault.holds(study.arm, study.table(), first_bracket)
    told = rows_of(study.call("table", "results/tiny", "--environments").stdout)
    assert Counter(row.pop("environment") for row in told) == {"1": 8, "2": 4}
    assert told == rows_of(first_bracket)
    status = study.call("status", "results/tiny").stderr
    assert "environment 1: 8 segments; cpu_capability: was 'VSX', is " in status
    assert "environment 2, the present one: 4 segments" in status


@pytest.mark.row(30)
def test_a_changed_study_file_is_refused_with_the_difference(study: LocalStudy, fault: Fault) -> None:
    before = contents(study.arm)
    for difference, old, new in (
        ("seeds[1]: recorded 1, given 2", "seeds: [0, 1]", "seeds: [0, 2]"),
        ("rungs[2].env_steps: recorded 512, given 1024", "env_steps: 512, depth: 3", "env_steps: 1024, depth: 3"),
        ("upper: recorded 0.01, given 0.1", "upper: 0.01", "upper: 0.1"),
    ):
        assert old in TINY
        (study.folder / "study.yaml").write_text(TINY.replace(old, new))
        done = study.call("run", "study.yaml", "--set", "search.trials=4")
        fault.struck()
        assert done.returncode == 2
        assert difference in done.stderr
        assert "Go on with what is recorded: grownn resume results/tiny/grown-3" in done.stderr
    fault.refused(before, study.arm)
    recorded = study.arm / "study.yaml"
    recorded.write_text(recorded.read_text().replace("upper: 0.01", "upper: 0.1"))
    before = contents(study.arm)
    for words in (("resume", "results/tiny"), EXTEND):
        done = study.call(*words)
        fault.struck()
        assert done.returncode == 2
        assert "study.yaml: was edited after the study began" in done.stderr
        assert "upper: recorded 0.01, given 0.1" in done.stderr
        assert "put that back, or begin anew under another name" in done.stderr
    fault.refused(before, study.arm)


@pytest.mark.row(33)
def test_strangers_names_and_links_are_refused(study: LocalStudy, fault: Fault) -> None:
    for name in ("../../x", "/tmp/x", "a/b", ".."):
        (study.folder / "study.yaml").write_text(TINY.replace("name: tiny", f"name: {name}"))
        done = study.call("run", "study.yaml")
        fault.struck()
        assert done.returncode == 2
        assert f"name = {name!r}" in done.stderr
    (study.folder / "study.yaml").write_text(TINY)
    elsewhere = study.folder / "elsewhere"
    for name in ("segments", "brackets", "lease.json"):
        path = study.arm / name
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
        before = contents(study.folder)
        done = study.call(*EXTEND)
        fault.struck()
        assert done.returncode == 2, done.stderr
        assert f"{name}: is a symbolic link, and may lead anywhere" in done.stderr
        fault.refused(before, study.folder)
        path.unlink()
        elsewhere.rename(path)


@pytest.mark.row(33)
@pytest.mark.slow
def test_a_local_stranger_gets_in_nowhere(fault: Fault, tmp_path: Path, first_bracket: str) -> None:
    """Everything that driver and workers listen at is on loopback and asks for a certificate."""
    study = LocalStudy(tmp_path)
    stranger = ssl.create_default_context()
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    with study.held(2) as driver:
        study.when_waiting(2, driver)
        parent = psutil.Process(driver.process.pid)
        listening = {
            found.laddr
            for process in (parent, *parent.children(recursive=True))
            for found in process.net_connections("inet")
            if found.status == psutil.CONN_LISTEN
        }
        assert len(listening) >= 5, "a scheduler, and two each of nannies and workers"
        for address in listening:
            assert address.ip == "127.0.0.1"
            with (
                socket.create_connection(address, timeout=5) as plain,
                pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"),
                stranger.wrap_socket(plain) as encrypted,
            ):
                encrypted.recv(1)
            fault.struck()
        study.go_on()
        driver.ends()
    assert (study.folder / "results").stat().st_mode & 0o077 == 0
    fault.holds(study.arm, study.table(), first_bracket)
