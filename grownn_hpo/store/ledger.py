"""The ledger: a table of all segments' results, kept in SQLite by the driver alone.

The files are the truth: a row exists because a `result.json` does. The database is for whoever wants to ask it in SQL;
the program never reads it, since a thousand `result.json` are read as soon as found, and no damage to it, nor a
database of another study in its place, can then tell anything. The driver makes it agree with the files each time it
starts.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from grownn_hpo.errors import Stopped
from grownn_hpo.store import paths
from grownn_hpo.store.attempts import Commit, Committed, Failure, agree, read_commit, read_failure
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment, SegmentResult

_RESULT = TypeAdapter(SegmentResult)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS segments (
  config INTEGER NOT NULL, rung INTEGER NOT NULL, seed INTEGER NOT NULL,
  attempt TEXT NOT NULL, result TEXT NOT NULL, seconds REAL NOT NULL, sha256 TEXT NOT NULL,
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


def read_ledger(folder: ArmFolder, terms: Mapping[int, str] | None = None) -> Ledger:
    """What is known of the arm, from its files. Changes nothing.

    `terms` are those of each configuration that the arm has, by its number (`grownn_hpo.store.terms`): results of other
    configurations, or under other terms, belong to another study or arm. None: whatever is there counts.
    """
    ledger = Ledger()
    commits: dict[Segment, list[Path]] = {}
    for segment, attempt, names in folder.all_attempts():
        if paths.RESULT in names:
            commits.setdefault(segment, []).append(attempt)
        if paths.FAILURE in names:  # beside a result, where the last failure made the trial *crashed*
            failure = read_failure(attempt)
            if failure is not None:
                ledger.failures.setdefault(segment, []).append(failure)
    for segment in sorted(commits):
        own = None if terms is None else terms.get(segment.config)
        if terms is not None and own is None:
            continue
        valid = [(a, c) for a in commits[segment] if (c := read_commit(a, segment, own)) is not None]
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
    """The database at `path`, for the driver that holds the arm's lease; made anew where what is there is damaged.

    Everything here raises Stopped where the storage fails: the files hold all that a row could say.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError:
            self._connection = self._anew()

    def replace(self, entries: Mapping[Segment, Entry]) -> None:
        """Make the table hold exactly `entries`."""
        try:
            with self._transaction():
                self._fill(entries)
        except sqlite3.DatabaseError:
            self._connection.close()
            self._connection = self._anew()
            with self._told(), self._transaction():
                self._fill(entries)

    def record(self, entries: Iterable[Entry]) -> None:
        """Add rows in one transaction."""
        with self._told(), self._transaction():
            self._insert(entries)

    def forget(self, segment: Segment) -> None:
        """Remove the row of a commit that was taken back."""
        with self._told(), self._transaction():
            self._delete([segment])

    def close(self) -> None:
        self._connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            # Not WAL: it does not work on network file systems, where cluster homes are.
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(_SCHEMA)
            if _layout(connection) != _layout(self._empty()):  # a view or a trigger of that name does as it likes
                raise sqlite3.DatabaseError("its tables are not those of a ledger")
        except BaseException:
            connection.close()
            raise
        return connection

    @staticmethod
    def _empty() -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:")
        connection.execute(_SCHEMA)
        return connection

    def _anew(self) -> sqlite3.Connection:
        with self._told():
            self._path.with_name(f"{self._path.name}-journal").unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)
            return self._open()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise Stopped(f"{self._path}: the storage failed: {error}; make room, or make it writable") from error

    def _fill(self, entries: Mapping[Segment, Entry]) -> None:
        stored = {Segment(*row) for row in self._connection.execute("SELECT config, rung, seed FROM segments")}
        self._delete(stored - set(entries))
        self._insert(entries.values())

    def _delete(self, segments: Iterable[Segment]) -> None:
        keys = [(s.config, s.rung, s.seed) for s in segments]
        self._connection.executemany("DELETE FROM segments WHERE config=? AND rung=? AND seed=?", keys)

    def _insert(self, entries: Iterable[Entry]) -> None:
        rows = []
        for entry in entries:
            segment, text = entry.result.segment, _RESULT.dump_json(entry.result).decode()
            digest = _row_sha256(entry.attempt, text, entry.seconds)
            rows.append((segment.config, segment.rung, segment.seed, entry.attempt, text, entry.seconds, digest))
        self._connection.executemany("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def _row_sha256(attempt: str, result: str, seconds: float) -> str:
    return hashlib.sha256(f"{attempt} {seconds!r} {result}".encode()).hexdigest()


def _layout(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    """Everything that a database defines."""
    return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
