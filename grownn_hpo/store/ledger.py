"""The ledger: a table of all segments' results, kept in SQLite by the driver alone.

The files are the truth: a row exists because a `result.json` does. The database saves reading a thousand of them, and
is rebuilt from them whenever it is missing, damaged or behind. SQLite does not notice a changed byte in a row, so every
row carries its SHA-256.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from grownn_hpo import failpoints
from grownn_hpo.errors import Stopped
from grownn_hpo.store import paths
from grownn_hpo.store.attempts import Commit, Committed, Failure, agree, read_commit, read_failure
from grownn_hpo.store.commit import remove
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.store.storage import failure, persevering
from grownn_hpo.trial import Segment, SegmentResult

_AS_SQLITE = {
    errno.ENOSPC: ("database or disk is full", sqlite3.SQLITE_FULL),
    errno.EROFS: ("attempt to write a readonly database", sqlite3.SQLITE_READONLY),
}
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
    """What is known of an arm: every committed result, and the attempts that failed or disagreed.

    `repeated`: the segments that were attempted more than once.
    """

    entries: dict[Segment, Entry] = field(default_factory=dict)
    failures: dict[Segment, list[Failure]] = field(default_factory=dict)
    disagreements: list[str] = field(default_factory=list)
    repeated: set[Segment] = field(default_factory=set)

    @property
    def results(self) -> dict[Segment, SegmentResult]:
        return {segment: entry.result for segment, entry in self.entries.items()}


def read_ledger(folder: ArmFolder) -> Ledger:
    """What is known of the arm, from its files, with the database's help. Changes nothing."""
    known = _rows(folder.ledger_file)
    ledger = Ledger()
    commits: dict[Segment, list[Path]] = {}
    seen: set[Segment] = set()
    for segment, attempt, names in folder.all_attempts():
        (ledger.repeated if segment in seen else seen).add(segment)
        if paths.RESULT in names:
            commits.setdefault(segment, []).append(attempt)
        if paths.FAILURE in names:  # beside a result, where the last failure made the trial *crashed*
            failure = read_failure(attempt)
            if failure is not None:
                ledger.failures.setdefault(segment, []).append(failure)
    for segment in sorted(commits):
        attempts = commits[segment]
        row = known.get(segment)
        if row is not None and len(attempts) == 1 and attempts[0].name == row.attempt:
            ledger.entries[segment] = row
            continue
        valid = [Committed(c, a) for a in attempts if (c := read_commit(a, segment)) is not None]
        if not valid:
            continue
        # What was counted once goes on to count, whatever an orphan with a lower number has committed since.
        counted = next((c for c in valid if row is not None and c.folder.name == row.attempt), valid[0])
        ledger.entries[segment] = entry_of(counted)
        ledger.disagreements += disagreements(counted, valid)
    return ledger


def late_disagreements(folder: ArmFolder, ledger: Ledger, compared: set[Path]) -> list[str]:
    """How attempts that committed after another had differ from the one that counts, a line each.

    Looks at the segments that were attempted more than once, and there at the commits that are not in `compared` yet,
    which it adds.
    """
    lines = []
    for segment in sorted(ledger.repeated & ledger.entries.keys()):
        counts = folder.segment(segment) / ledger.entries[segment].attempt
        late = [
            a for a in folder.attempts(segment) if a not in compared and a != counts and (a / paths.RESULT).exists()
        ]
        compared.update(late)
        found = [Committed(c, a) for a in (counts, *late) if (c := read_commit(a, segment)) is not None]
        if late and found and found[0].folder == counts:
            lines += disagreements(found[0], found[1:])
    return lines


def entry_of(committed: Committed) -> Entry:
    """The ledger's entry for a commit."""
    measured = committed.commit.measured
    return Entry(committed.commit.result, committed.folder.name, measured.seconds if measured else 0.0)


def disagreements(counted: Committed, all_of_them: Iterable[Committed]) -> list[str]:
    """The attempts at one segment that came to another result than the one that counts, a line in words each."""

    def told(commit: Commit) -> str:
        result = commit.result
        return f"{result.status}, mean return {result.mean_return!r}, checkpoint {str(result.checkpoint_sha256)[:12]}"

    return [
        f"{counted.commit.result.segment}: attempts {counted.folder.name} and {other.folder.name} differ, so this"
        f" machine or this environment is not deterministic: {told(counted.commit)} / {told(other.commit)};"
        f" {counted.folder.name} counts"
        for other in all_of_them
        if not agree(counted.commit, other.commit)
    ]


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

    def hold(self, entries: Mapping[Segment, Entry]) -> None:
        """Make the table hold exactly `entries`."""
        try:
            with self._transaction():
                self._fill(entries)
        except sqlite3.DatabaseError:
            self._connection.close()
            self._connection = self._anew()
            self._surely(lambda: self._fill(entries))

    def record(self, entries: Iterable[Entry]) -> None:
        """Add rows in one transaction."""
        rows = tuple(entries)
        self._surely(lambda: self._insert(rows))

    def forget(self, segment: Segment) -> None:
        """Remove the row of a commit that was taken back."""
        self._surely(lambda: self._delete([segment]))

    def close(self) -> None:
        self._connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            # Not WAL: it does not work on network file systems, where cluster homes are.
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def _anew(self) -> sqlite3.Connection:
        with self._told():
            remove(self._path.with_name(f"{self._path.name}-journal"))
            remove(self._path)
            return self._open()

    def _surely(self, step: Callable[[], None]) -> None:
        """Do `step` in a transaction; after an error of input and output, again in a connection opened anew."""

        def once() -> None:
            try:
                with self._transaction():
                    step()
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_IOERR:  # its lower byte is the kind
                    raise
                self._connection.close()
                self._connection = self._open()
                raise OSError(errno.EIO, str(error), str(self._path)) from error

        with self._told():
            persevering(once)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
            self._commit()
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _commit(self) -> None:
        try:
            failpoints.meet("ledger.commit", self._path)
        except OSError as error:  # as SQLite would tell it
            kind, code = _AS_SQLITE.get(error.errno or 0, ("disk I/O error", sqlite3.SQLITE_IOERR))
            told = sqlite3.OperationalError(kind)
            told.sqlite_errorcode = code
            raise told from error
        self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Stopped(failure(error)) from error
        except sqlite3.Error as error:
            raise Stopped(
                f"{self._path}: the storage failed: {error}; make room, or make it writable."
                " Nothing is lost: it is made anew from the segments' own files"
            ) from error

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


def _rows(path: Path) -> dict[Segment, Entry]:
    """What the database holds; nothing if it is missing, damaged or being written."""
    if not path.is_file():
        return {}
    rows: dict[Segment, Entry] = {}
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            query = "SELECT config, rung, seed, attempt, result, seconds, sha256 FROM segments"
            for config, rung, seed, attempt, text, seconds, digest in connection.execute(query):
                result = _RESULT.validate_json(text)
                if digest == _row_sha256(attempt, text, seconds) and result.segment == Segment(config, rung, seed):
                    rows[result.segment] = Entry(result, attempt, seconds)
    except (sqlite3.Error, ValueError):  # pydantic's ValidationError is one
        return {}
    return rows
