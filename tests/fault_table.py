"""The fault table: its rows, what a test of one counts, and the report over all of them that `make faults` ends with.

A test with `@pytest.mark.row(14)` injects that row's fault; several tests may share a row, and one may serve two. The
fixture `fault` counts for it. With `--faults` pytest ends with a line per row, and one JSON object; it fails where a
row was not injected, but for those that could not be on this machine, unless GROWNN_FAULTS=required.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from grownn_hpo.store.commit import unseal

ROWS = {
    1: "driver killed",
    2: "killed between any two durable steps",
    3: "killed while recovering",
    4: "worker killed",
    5: "segment process crashes",
    6: "Slurm job cancelled",
    7: "walltime",
    8: "driver job requeued",
    9: "node lost",
    10: "no worker for a long time",
    11: "orphan overlaps the next driver",
    12: "second result of one segment",
    13: "frozen worker",
    14: "disk full",
    15: "folder not writable",
    16: "checkpoint truncated",
    17: "checkpoint bit flipped",
    18: "progress or curve file torn",
    19: "ledger.db truncated or deleted",
    20: "two drivers on one arm",
    21: "lease left by another host",
    22: "clock jumps",
    23: "NaN in training",
    24: "NaN or huge rewards",
    25: "environment raises",
    26: "environment hangs",
    27: "out of memory",
    28: "workers lack a package or version",
    29: "versions or CPU changed since",
    30: "study file changed",
    31: "network file system hiccup",
    32: "progress messages lost",
    33: "a local stranger",
}

Key = tuple[int, int, int]
"""Configuration, seed and rung of a segment."""


def rows_of(table: str) -> list[dict[str, str]]:
    """The rows of what `grownn table` printed."""
    return list(csv.DictReader(io.StringIO(table)))


def key_of(row: dict[str, str]) -> Key:
    return int(row["config"]), int(row["seed"]), int(row["rung"])


def commits(arm: Path) -> dict[Key, dict[str, str]]:
    """Every whole result in an arm's folders: by segment, the SHA-256 of each attempt's. Read without the program."""
    found: dict[Key, dict[str, str]] = {}
    for path in arm.glob("segments/c*/s*/r*/a*/result.json"):
        try:
            sealed = path.read_bytes()
            segment = json.loads(unseal(sealed))["result"]["segment"]
        except (OSError, ValueError):
            continue
        key = segment["config"], segment["seed"], segment["rung"]
        found.setdefault(key, {})[path.parent.name] = hashlib.sha256(sealed).hexdigest()
    return found


def recorded(arm: Path) -> Counter[Key]:
    """How often each segment stands in the ledger's database."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize((arm / "ledger.db").read_bytes())  # SQLite itself would not open it in another namespace
        return Counter(database.execute("SELECT config, seed, rung FROM segments").fetchall())


def contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@dataclass
class Fault:
    """What a test of the table's rows counts, from the ledger and the segments' folders."""

    counts: dict[str, Any]
    _seen: dict[Path, dict[Key, dict[str, str]]] = field(default_factory=dict)

    def struck(self, times: int = 1) -> None:
        """The fault was injected, so often."""
        self.counts["injected"] += times

    def look(self, arm: Path) -> None:
        """Remember what is committed in the arm's folders: from here on it must not get lost."""
        self._seen.setdefault(arm, {}).update(commits(arm))

    def holds(self, arm: Path, table: str, expected: str) -> None:
        """Count by the arm's folders and its final table, and hold both to the table of an undisturbed run.

        Lost: a segment of the undisturbed table, or one that was seen committed, that the table lacks, or whose commit
        has gone. Counted twice: one that the table or the database holds more than once.
        """
        assert self.counts["injected"], "no fault was injected"
        now, tabled = commits(arm), Counter(map(key_of, rows_of(table)))
        due = set(map(key_of, rows_of(expected)))
        lost = due - set(tabled) | set(tabled) - set(now)
        for key, attempts in self._seen.get(arm, {}).items():
            if not attempts.items() <= now.get(key, {}).items():
                lost.add(key)
        self.counts["lost"] += len(lost)
        self.counts["duplicated"] += sum(n - 1 for n in tabled.values()) + sum(n - 1 for n in recorded(arm).values())
        self.counts["identical"] &= table == expected
        assert not lost
        assert set(tabled.values()) | set(recorded(arm).values()) <= {1}
        assert table == expected

    def tolled(self, injected: int, lost: int, duplicated: int, identical: bool) -> None:
        """Take in what was counted over many studies."""
        self.counts["injected"] += injected
        self.counts["lost"] += lost
        self.counts["duplicated"] += duplicated
        self.counts["identical"] &= identical
        assert (lost, duplicated, identical) == (0, 0, True)

    def refused(self, before: dict[str, str], folder: Path) -> None:
        """The program refused: the folder's `contents` must be what they were."""
        assert self.counts["injected"], "no fault was injected"
        after = contents(folder)
        self.counts["lost"] += sum(name.endswith("result.json") and name not in after for name in before)
        self.counts["identical"] &= before == after
        assert after == before

    def nothing_trained(self, arm: Path) -> None:
        """The program refused before any training: no segment's folder is there, and no row of the ledger."""
        assert self.counts["injected"], "no fault was injected"
        self.counts["duplicated"] += len(commits(arm))
        self.counts["identical"] &= not list(arm.glob("segments/*/*/*/*"))
        assert self.counts["identical"]


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Fault:
    """Counts for the rows of the test's mark."""
    counts = {"injected": 0, "lost": 0, "duplicated": 0, "identical": True}
    request.node.user_properties.append(("fault", counts))
    return Fault(counts)


@dataclass
class Row:
    """What became of a row over all its tests."""

    tests: int = 0
    failed: int = 0
    skipped: str = ""
    seconds: float = 0.0
    counts: dict[str, Any] = field(
        default_factory=lambda: {"injected": 0, "lost": 0, "duplicated": 0, "identical": True}
    )

    def add(self, counts: dict[str, Any]) -> None:
        for name in ("injected", "lost", "duplicated"):
            self.counts[name] += counts[name]
        self.counts["identical"] &= counts["identical"]

    @property
    def missing(self) -> bool:
        """Nothing was injected, and nothing says why."""
        return not self.counts["injected"] and not self.skipped

    def told(self, number: int) -> str:
        """The row in a line."""
        name = f"{number:2} {ROWS[number]:37}"
        if self.missing:
            return f"{name} no test injected it"
        if not self.counts["injected"]:
            return f"{name} skipped: {self.skipped}"
        ledger = "identical" if self.counts["identical"] else "DIFFERS"
        failed = f", {self.failed} of {self.tests} tests FAILED" if self.failed else ""
        skipped = f", in part skipped: {self.skipped}" if self.skipped else ""
        return (
            f"{name} injected {self.counts['injected']:3}, lost {self.counts['lost']}, counted twice"
            f" {self.counts['duplicated']}, ledger {ledger}, {self.seconds:5.1f} s{failed}{skipped}"
        )


class Report:
    """Gathers the rows in the process that the user started, and prints them at the very end."""

    def __init__(self) -> None:
        self.rows = {number: Row() for number in ROWS}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties = dict(report.user_properties)
        for number in properties.get("rows", ()):
            row = self.rows[number]
            row.seconds += report.duration
            row.failed += report.failed
            if report.skipped and isinstance(report.longrepr, tuple):
                row.skipped = str(report.longrepr[2]).removeprefix("Skipped: ")
            if report.when == "call":
                row.tests += 1
                row.add(properties.get("fault", {"injected": 0, "lost": 0, "duplicated": 0, "identical": True}))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        skipped = [row for row in self.rows.values() if row.skipped]
        required = os.environ.get("GROWNN_FAULTS") == "required"
        if session.exitstatus == 0 and (any(r.missing for r in self.rows.values()) or (skipped and required)):
            session.exitstatus = 1

    def pytest_unconfigure(self) -> None:
        print("\n" + "\n".join(row.told(number) for number, row in self.rows.items()))
        print(json.dumps({n: row.counts if row.counts["injected"] else None for n, row in self.rows.items()}))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Every report says which rows its test is of, also where the test was skipped."""
    report = yield
    report.user_properties.append(("rows", [n for mark in item.iter_markers("row") for n in mark.args]))
    return report


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # not in the processes that xdist starts
        config.pluginmanager.register(Report(), "fault-report")
