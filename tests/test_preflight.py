"""The preflight: what a worker says of itself, from a process of its own, and what its driver makes of that."""

from __future__ import annotations

import json
import platform
import re
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from grownn_hpo import __version__, preflight
from grownn_hpo.dispatch import Inline, Job, Returned
from grownn_hpo.environment import environment
from grownn_hpo.native.cpu import cpu_capability
from grownn_hpo.preflight import Machine, Report, machine_of, refusals
from grownn_hpo.store.lease import Lease
from grownn_hpo.store.paths import ArmFolder

VERSIONS = {"grownn_hpo": "0.2.0", "python": "3.11.7", "torch": "2.13.0", "nle": None}
REPORT = Report(
    host="n1",
    job="42",
    versions=VERSIONS,
    cpu_capability="AVX2",
    gpus=(),
    tokens=("a", "b"),
    unwritable=(),
    clock=1000.0,
)


@pytest.fixture
def arms(tmp_path: Path) -> tuple[Path, Path]:
    """The folders of two arms."""
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
    return folders


def ask(payload: str, entry: str = preflight.ENTRY) -> Report:
    """The report from a slot's process."""
    with Inline() as slot:
        slot.submit(Job("preflight", entry, payload, stalled_seconds=60))
        deadline = time.monotonic() + 60
        while not (back := slot.wait(1)):
            assert time.monotonic() < deadline
    ((_, ending),) = back
    assert isinstance(ending, Returned), ending
    return preflight.read_report(ending.value)


def impatient(payload: str, beat: Callable[[], None]) -> str:
    """The preflight, but that it waits a moment instead of a minute for what it should see."""
    preflight.VISIBLE_SECONDS = 0.1
    return preflight.attempt(payload, beat)


IMPATIENT = "test_preflight:impatient"


class TestAttempt:
    def test_it_tells_where_it_is_and_what_it_has_and_sees(
        self, arms: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SLURM_JOB_ID", "42")
        with Lease(ArmFolder(arms[0]).lease_file) as one, Lease(ArmFolder(arms[1]).lease_file) as two:
            tokens = [one.token, two.token]
            before = time.time()
            report = ask(preflight.payload(arms, tokens, gpu=False))
        assert report.tokens == tuple(tokens)
        assert report.unwritable == ()
        assert (report.host, report.job, report.gpus) == (socket.gethostname(), "42", ())
        assert before <= report.clock <= time.time()
        assert report.cpu_capability == cpu_capability()
        assert report.versions["python"] == platform.python_version()
        assert report.versions["grownn_hpo"] == __version__
        assert report.versions["torch"]
        # Nobody has anything against a worker on the driver's own machine.
        expected = preflight.versions(environment())
        assert refusals(report, expected, tokens, Machine(cpu_capability(), None), False, time.time()) == []
        assert list(arms[0].iterdir()) == [ArmFolder(arms[0]).lease_file]  # what it tried to write is gone

    def test_another_folder_of_the_same_name_is_not_taken_for_ours(self, arms: tuple[Path, Path]) -> None:
        with Lease(ArmFolder(arms[0]).lease_file) as theirs:
            report = ask(preflight.payload(arms, ["ours", "too"], gpu=False), IMPATIENT)
            assert report.tokens == (theirs.token, None)

    def test_what_shows_late_is_waited_for(self, arms: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        lease = Lease(ArmFolder(arms[0]).lease_file)
        beats = 0

        def beat() -> None:
            nonlocal beats
            beats += 1
            if beats == 2:
                lease.__enter__()

        monkeypatch.setattr(time, "sleep", lambda _: None)
        payload = preflight.payload(arms[:1], [lease.token], gpu=False)
        assert preflight.read_report(preflight.attempt(payload, beat)).tokens == (lease.token,)
        assert beats == 2
        lease.__exit__(None, None, None)

    def test_a_folder_that_cannot_be_written_to_is_told(self, arms: tuple[Path, Path]) -> None:
        gone, no_folder = arms[0] / "gone", arms[1] / "file"
        no_folder.touch()
        report = ask(preflight.payload([gone, no_folder, arms[0]], [None] * 3, gpu=False))
        assert report.unwritable == (f"{gone}: No such file or directory", f"{no_folder}: Not a directory")

    def test_a_folder_in_which_nobody_may_write_is_told(self) -> None:
        report = ask(preflight.payload([Path("/sys")], [None], gpu=False))  # not even root
        assert report.unwritable == ("/sys: Permission denied",)

    def test_gpus_are_looked_for_only_where_the_study_wants_them(self, arms: tuple[Path, Path]) -> None:
        import torch

        names = tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        for gpu in (True, False):
            payload = preflight.payload(arms, [None] * 2, gpu)
            report = preflight.read_report(preflight.attempt(payload, lambda: None))
            assert report.gpus == (names if gpu else ())


A100, CPU = "NVIDIA A100", Machine("AVX2", None)
VISIBLE = "it does not see the results folder that the driver writes to: choose --results on a file system that all"
INSTALL = "install there what is here, or set `python`"
NODES = "choose the nodes by `directives`"


def refused(report: Report, machine: Machine | None = CPU, gpu: bool = False, clock: float = 1000.0) -> list[str]:
    return refusals(report, VERSIONS, ["a", "b"], machine, gpu, clock)


class TestRefusals:
    def test_an_equal_worker_is_let_in(self) -> None:
        assert refused(REPORT) == []
        assert refused(REPORT, machine=None) == []  # the first sets the measure
        assert refused(replace(REPORT, gpus=(A100,)), Machine("AVX2", A100), gpu=True) == []

    @pytest.mark.parametrize(
        ("report", "told"),
        [
            (replace(REPORT, versions=VERSIONS | {"torch": "2.1"}), ["torch is 2.1 there and 2.13.0 here", INSTALL]),
            (replace(REPORT, versions=VERSIONS | {"torch": None}), ["torch is missing there and 2.13.0 here", INSTALL]),
            (replace(REPORT, versions=VERSIONS | {"nle": "1.3"}), ["nle is 1.3 there and missing here", INSTALL]),
            (
                replace(REPORT, versions={"python": "3.11.7"}),
                ["grownn_hpo is missing there and 0.2.0 here", "torch is missing there", INSTALL],
            ),
            (replace(REPORT, tokens=("a", "x")), [VISIBLE]),
            (replace(REPORT, tokens=("a", None)), [VISIBLE]),
            (replace(REPORT, tokens=("b", "a")), [VISIBLE]),
            (replace(REPORT, tokens=("a",)), [VISIBLE]),
            (
                replace(REPORT, unwritable=("/r: Read-only file system", "/s: Permission denied")),
                ["it cannot write: /r: Read-only file system", "it cannot write: /s: Permission denied"],
            ),
            (replace(REPORT, clock=1061.0), ["its clock is off by +61 s, more than 60: set it (NTP)"]),
            (replace(REPORT, clock=900.0), ["its clock is off by -100 s"]),
            (
                replace(REPORT, cpu_capability="AVX512"),
                [f"its CPU's instruction set is AVX512, the study's workers so far had AVX2, and .*{NODES}"],
            ),
            (
                replace(REPORT, tokens=(None, None), clock=0.0, versions=VERSIONS | {"torch": "2.1"}),
                ["torch is 2.1", INSTALL, VISIBLE, "its clock is off by -1000 s"],
            ),
        ],
    )
    def test_each_mismatch_is_told_in_a_line(self, report: Report, told: list[str]) -> None:
        self.check(refused(report), told)

    @pytest.mark.parametrize(
        ("gpus", "machine", "told"),
        [
            ((), None, ["`device: cuda`, and it sees no GPU: ask for `gpus`"]),
            ((), Machine("AVX2", A100), ["it sees no GPU"]),
            (("NVIDIA V100",), Machine("AVX2", A100), [f"its GPU is NVIDIA V100, .* had {A100}, .*{NODES}"]),
            (
                ("NVIDIA V100",),
                Machine("AVX512", A100),
                ["its CPU's instruction set is AVX2", "its GPU is NVIDIA V100"],
            ),
        ],
    )
    def test_gpus(self, gpus: tuple[str, ...], machine: Machine | None, told: list[str]) -> None:
        self.check(refused(replace(REPORT, gpus=gpus), machine, gpu=True), told)

    def test_a_clock_may_be_off_by_a_minute(self) -> None:
        assert refused(REPORT, clock=940.0) == refused(REPORT, clock=1060.0) == []

    def test_this_machines_clock_may_jump_between_two_looks(self) -> None:
        assert refused(replace(REPORT, host=socket.gethostname()), clock=9e9) == []

    def check(self, lines: list[str], told: list[str]) -> None:
        assert len(lines) == len(told), lines
        for line, expected in zip(lines, told, strict=True):
            literal = expected if ".*" in expected else re.escape(expected)
            assert re.search(literal, line), f"{line!r} does not tell {expected!r}"


def test_a_machine_is_what_its_segments_are_trained_on() -> None:
    with_gpus = replace(REPORT, gpus=(A100, "NVIDIA V100"))
    assert machine_of(with_gpus, gpu=True) == Machine("AVX2", A100)
    assert machine_of(with_gpus, gpu=False) == machine_of(REPORT, gpu=True) == CPU


def test_a_report_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="validation error"):
        preflight.read_report(json.dumps({"host": "n1"}))
