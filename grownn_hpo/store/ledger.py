"""The ledger: a table of all segments' results, kept in SQLite by the driver alone.

The files are the truth: a row exists because a `result.json` does. The database saves reading a thousand of them, and
is rebuilt from them whenever it is missing, damaged or behind.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from grownn_hpo.store import paths
from grownn_hpo.store.attempts import Commit, Committed, Failure, agree, read_commit, read_failure
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment, SegmentResult

_RESULT = TypeAdapter(SegmentResult)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS segments (
  config INTEGER NOT NULL, rung INTEGER NOT NULL, seed INTEGER NOT NULL,
  attempt TEXT NOT NULL, result TEXT NOT NULL, seconds REAL NOT NULL,
  PRIMARY KEY (config, rung, seed)) STRICT
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One segment's result, which attempt committed it, and the seconds that attempt took."""

    result: SegmentResult
    attempt: str
    seconds: float


@dataclass(slots=True)
class Ledger:
    """What is known of an arm: every committed result, and the attempts that failed or disagreed."""

    entries: dict[Segment, Entry] = field(default_factory=dict)
    failures: dict[Segment, list[Failure]] = field(default_factory=dict)
    disagreements: list[str] = field(default_factory=list)

    @property
    def results(self) -> dict[Segment, SegmentResult]:
        return {segment: entry.result for segment, entry in self.entries.items()}


def read_ledger(folder: ArmFolder) -> Ledger:
    """What is known of the arm, from its files, with the database's help. Changes nothing."""
    known = _rows(folder.ledger_file)
    ledger = Ledger()
    commits: dict[Segment, list[Path]] = {}
    for segment, attempt, names in folder.all_attempts():
        if paths.RESULT in names:
            commits.setdefault(segment, []).append(attempt)
        elif paths.FAILURE in names:
            failure = read_failure(attempt)
            if failure is not None:
                ledger.failures.setdefault(segment, []).append(failure)
    for segment in sorted(commits):
        attempts = commits[segment]
        row = known.get(segment)
        if row is not None and len(attempts) == 1 and attempts[0].name == row.attempt:
            ledger.entries[segment] = row
            continue
        valid = [(a, c) for a in attempts if (c := read_commit(a, segment)) is not None]
        if not valid:
            continue
        first_folder, first = valid[0]
        ledger.entries[segment] = entry_of(Committed(first, first_folder))
        ledger.disagreements += [
            disagreement(Committed(first, first_folder), Committed(other, other_folder))
            for other_folder, other in valid[1:]
            if not agree(first, other)
        ]
    return ledger


def entry_of(committed: Committed) -> Entry:
    """The ledger's entry for a commit."""
    measured = committed.commit.measured
    return Entry(committed.commit.result, committed.folder.name, measured.seconds if measured else 0.0)


def disagreement(one: Committed, other: Committed) -> str:
    """Two attempts at one segment that came to different results, in words."""

    def told(commit: Commit) -> str:
        result = commit.result
        return f"{result.status}, mean return {result.mean_return!r}, checkpoint {str(result.checkpoint_sha256)[:12]}"

    return (
        f"{one.commit.result.segment}: attempts {one.folder.name} and {other.folder.name} differ, so this machine or"
        f" this environment is not deterministic: {told(one.commit)} / {told(other.commit)}; {one.folder.name} counts"
    )


class LedgerFile:
    """The database at `path`, for the driver that holds the arm's lease."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None)
        # Not WAL: it does not work on network file systems, where cluster homes are.
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(_SCHEMA)
        return connection

    def replace(self, entries: Mapping[Segment, Entry]) -> None:
        """Make the table hold exactly `entries`; a damaged file is thrown away first, for the files are the truth."""
        try:
            stored = {Segment(*row) for row in self._connection.execute("SELECT config, rung, seed FROM segments")}
            stale = [(s.config, s.rung, s.seed) for s in stored - set(entries)]
            self._connection.execute("BEGIN")
            self._connection.executemany("DELETE FROM segments WHERE config=? AND rung=? AND seed=?", stale)
            self._insert(entries.values())
            self._connection.execute("COMMIT")
        except sqlite3.DatabaseError:
            self._connection.close()
            self._path.unlink(missing_ok=True)
            self._path.with_name(f"{self._path.name}-journal").unlink(missing_ok=True)
            self._connection = self._open()
            self._connection.execute("BEGIN")
            self._insert(entries.values())
            self._connection.execute("COMMIT")

    def record(self, entries: Iterable[Entry]) -> None:
        """Add rows in one transaction."""
        self._connection.execute("BEGIN")
        self._insert(entries)
        self._connection.execute("COMMIT")

    def forget(self, segment: Segment) -> None:
        """Remove the row of a commit that was taken back."""
        key = (segment.config, segment.rung, segment.seed)
        self._connection.execute("DELETE FROM segments WHERE config=? AND rung=? AND seed=?", key)

    def close(self) -> None:
        self._connection.close()

    def _insert(self, entries: Iterable[Entry]) -> None:
        rows = [
            (
                entry.result.segment.config,
                entry.result.segment.rung,
                entry.result.segment.seed,
                entry.attempt,
                _RESULT.dump_json(entry.result).decode(),
                entry.seconds,
            )
            for entry in entries
        ]
        self._connection.executemany("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?)", rows)


def open_ledger_file(path: Path) -> LedgerFile:
    """The ledger's database, made anew where what is there cannot be opened."""
    try:
        return LedgerFile(path)
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
        return LedgerFile(path)


def _rows(path: Path) -> dict[Segment, Entry]:
    """What the database holds; nothing if it is missing, damaged or being written."""
    if not path.is_file():
        return {}
    rows: dict[Segment, Entry] = {}
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            query = "SELECT config, rung, seed, attempt, result, seconds FROM segments"
            for config, rung, seed, attempt, text, seconds in connection.execute(query):
                result = _RESULT.validate_json(text)
                if result.segment == Segment(config, rung, seed):
                    rows[result.segment] = Entry(result, attempt, seconds)
    except (sqlite3.Error, ValidationError, ValueError):
        return {}
    return rows
