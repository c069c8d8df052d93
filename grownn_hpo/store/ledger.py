"""The ledger: a table of all segments' results, kept in SQLite by the driver alone.

The files are the truth: a row exists because a `result.json` does. The database is for whoever wants to ask it in SQL.
The program asks it one thing alone: which of several valid results of a segment counted until now, and believes it only
where a row is, to the last byte, what one of these results says. So no damage to it, nor a database of another study in
its place, can add or change anything. The driver makes it agree with the files each time it starts.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from grownn_hpo import failpoints
from grownn_hpo.errors import Stopped
from grownn_hpo.files import open_regular
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
    """One segment's result, which attempt committed it, and the seconds that attempt took.

    `env_steps` are those that this attempt trained, fewer than the segment's where it began at a boundary; None where
    that was not kept. The database does not hold them.
    """

    result: SegmentResult
    attempt: str
    seconds: float
    env_steps: int | None = field(default=None, compare=False)


@dataclass(slots=True)
class Ledger:
    """What is known of an arm: every committed result, and the attempts that failed or disagreed.

    `repeated`: the segments that were attempted more than once. `waiting`: those with a result that does not count
    yet, because nobody knows its configuration, whose bracket was lost (see `claim`).
    """

    entries: dict[Segment, Entry] = field(default_factory=dict)
    failures: dict[Segment, list[Failure]] = field(default_factory=dict)
    disagreements: list[str] = field(default_factory=list)
    repeated: set[Segment] = field(default_factory=set)
    waiting: set[Segment] = field(default_factory=set)

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
    seen: set[Segment] = set()
    for segment, attempt, names in folder.all_attempts():
        (ledger.repeated if segment in seen else seen).add(segment)
        if paths.RESULT in names:
            commits.setdefault(segment, []).append(attempt)
        if paths.FAILURE in names:  # beside a result, where the last failure made the trial *crashed*
            failure = read_failure(attempt)
            if failure is not None:
                ledger.failures.setdefault(segment, []).append(failure)
    _count(folder, ledger, commits, terms)
    return ledger


def claim(folder: ArmFolder, ledger: Ledger, terms: Mapping[int, str]) -> tuple[Entry, ...]:
    """Count the results that waited for their configurations, where `terms` has these now; returns what counts."""
    claimed = {segment: folder.attempts(segment) for segment in ledger.waiting if segment.config in terms}
    ledger.waiting.difference_update(claimed)
    _count(folder, ledger, claimed, terms)
    return tuple(ledger.entries[segment] for segment in sorted(claimed) if segment in ledger.entries)


def _count(
    folder: ArmFolder, ledger: Ledger, attempts: Mapping[Segment, Sequence[Path]], terms: Mapping[int, str] | None
) -> None:
    """Enter one commit of each segment, and how its others differ; results of no known configuration have to wait."""
    for segment in sorted(attempts):
        own = None if terms is None else terms.get(segment.config)
        if terms is not None and own is None:
            ledger.waiting.add(segment)
            continue
        valid = [Committed(c, a) for a in attempts[segment] if (c := read_commit(a, segment, own)) is not None]
        if not valid:
            continue
        counted = valid[0]
        if len(valid) > 1:
            # What was counted once goes on to count, whatever an orphan with a lower number has committed since.
            row = _stored_row(folder.ledger_file, segment)
            counted = next((c for c in valid if _row_of(entry_of(c)) == row), counted)
        ledger.entries[segment] = entry_of(counted)
        ledger.disagreements += disagreements(counted, valid)


def late_disagreements(folder: ArmFolder, ledger: Ledger, terms: Mapping[int, str], compared: set[Path]) -> list[str]:
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
        own = terms[segment.config]
        found = [Committed(c, a) for a in (counts, *late) if (c := read_commit(a, segment, own)) is not None]
        if late and found and found[0].folder == counts:
            lines += disagreements(found[0], found[1:])
    return lines


def entry_of(committed: Committed) -> Entry:
    """The ledger's entry for a commit."""
    result, measured = committed.commit.result, committed.commit.measured
    if measured is None:
        return Entry(result, committed.folder.name, 0.0)
    return Entry(result, committed.folder.name, measured.seconds, measured.env_steps)


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
            if _layout(connection) != _layout_of_ledgers():  # a view or a trigger of that name does as it likes
                raise sqlite3.DatabaseError("its tables are not those of a ledger")
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
        statement = "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)"
        self._connection.executemany(statement, [_row_of(entry) for entry in entries])


def _row_of(entry: Entry) -> tuple[int, int, int, str, str, float, str]:
    segment, text = entry.result.segment, _RESULT.dump_json(entry.result).decode()
    digest = hashlib.sha256(f"{entry.attempt} {entry.seconds!r} {text}".encode()).hexdigest()
    return segment.config, segment.rung, segment.seed, entry.attempt, text, entry.seconds, digest


def _stored_row(path: Path, segment: Segment) -> tuple[object, ...] | None:
    """What the database holds of a segment; None if it is missing, damaged or being written."""
    query = "SELECT * FROM segments WHERE config=? AND rung=? AND seed=?"
    try:
        open_regular(path).close()  # SQLite would wait for a FIFO's writer
        address = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            if _layout(connection) != _layout_of_ledgers():
                return None
            row: tuple[object, ...] | None
            row = connection.execute(query, (segment.config, segment.rung, segment.seed)).fetchone()
            return row
    except (OSError, sqlite3.Error):
        return None


def _layout(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    """Everything that a database defines."""
    return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()


def _layout_of_ledgers() -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as empty:
        empty.execute(_SCHEMA)
        return _layout(empty)
