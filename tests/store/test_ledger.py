"""The ledger: the files are the truth, and the database never tells anything else."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from store_samples import commit, completed, finish

from grownn_hpo.errors import Stopped
from grownn_hpo.store import paths
from grownn_hpo.store.attempts import Failure, claim_attempt, record_failure, retract
from grownn_hpo.store.ledger import Entry, LedgerFile, claim, entry_of, late_disagreements, read_ledger
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment, SegmentResult

SEGMENTS = [Segment(config, rung, seed) for config in (1, 2, 11) for rung in (1, 2) for seed in (0, 3)]


@pytest.fixture
def finished(folder: ArmFolder) -> ArmFolder:
    """An arm with twelve finished segments, the last first, and no database."""
    for i, segment in enumerate(reversed(SEGMENTS)):
        finish(folder, segment, mean_return=i / 3, seconds=i + 0.5)
    return folder


def keep(folder: ArmFolder) -> dict[Segment, Entry]:
    """The files' entries, put into the database."""
    entries = read_ledger(folder).entries
    database = LedgerFile(folder.ledger_file)
    database.hold(entries)
    database.close()
    return entries


def rows(folder: ArmFolder) -> dict[Segment, Entry]:
    """What the database holds."""
    results = TypeAdapter(SegmentResult)
    with contextlib.closing(sqlite3.connect(folder.ledger_file)) as connection:
        found = connection.execute("SELECT result, attempt, seconds FROM segments ORDER BY config, rung, seed")
        entries = [Entry(results.validate_json(text), attempt, seconds) for text, attempt, seconds in found]
    return {entry.result.segment: entry for entry in entries}


def test_nothing_is_known_of_an_arm_without_folders(folder: ArmFolder) -> None:
    ledger = read_ledger(folder)
    assert (ledger.entries, ledger.failures, ledger.disagreements) == ({}, {}, [])
    assert not folder.root.exists()


def test_files_alone_and_database_tell_the_same_in_the_ledgers_order(finished: ArmFolder) -> None:
    from_files = read_ledger(finished).entries
    assert list(from_files) == SEGMENTS
    assert from_files[SEGMENTS[-1]] == Entry(completed(SEGMENTS[-1], 0.0), "a1", 0.5)
    assert keep(finished) == from_files
    assert list(rows(finished).items()) == list(from_files.items())
    assert read_ledger(finished).results == {s: e.result for s, e in from_files.items()}


def damage_missing(path: Path) -> None:
    path.unlink()


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def damage_garbage(path: Path) -> None:
    path.write_bytes(b"this is no database " * 1000)


def damage_header(path: Path) -> None:
    path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])


def damage_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:8192] = bytes(4096)
    path.write_bytes(content)


def damage_view(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i config, i rung, i seed FROM n"
    connection.execute(f"CREATE VIEW segments AS {endless}")
    connection.close()


def damage_trigger(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TRIGGER t AFTER INSERT ON segments BEGIN DELETE FROM segments; END")
    connection.commit()
    connection.close()


def damage_schema(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE segments (something TEXT)")
    connection.close()


DAMAGES = [damage_missing, damage_empty, damage_truncated, damage_garbage, damage_header, damage_middle, damage_schema]
DAMAGES += [damage_view, damage_trigger]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_made_anew(finished: ArmFolder, damage: Callable[[Path], None]) -> None:
    entries = keep(finished)
    damage(finished.ledger_file)
    database = LedgerFile(finished.ledger_file)
    database.hold(entries)
    database.close()
    assert rows(finished) == entries


def test_a_database_behind_or_ahead_of_the_files(finished: ArmFolder) -> None:
    entries = keep(finished)
    new = Segment(1, 3, 0)
    finish(finished, new)  # committed, and the driver was killed before it wrote the row
    for segment in SEGMENTS[:2]:  # somebody deleted these
        shutil.rmtree(finished.segment(segment))
    expected = {s: e for s, e in entries.items() if s not in SEGMENTS[:2]} | {new: Entry(completed(new), "a1", 12.5)}
    assert read_ledger(finished).entries == expected
    keep(finished)
    assert rows(finished) == expected


def test_the_database_of_another_arm_tells_nothing(finished: ArmFolder, tmp_path: Path) -> None:
    entries = keep(finished)
    other = ArmFolder(tmp_path / "other")
    for segment in SEGMENTS:
        finish(other, segment, mean_return=99.0)
    keep(other)
    shutil.copy(other.ledger_file, finished.ledger_file)
    assert read_ledger(finished).entries == entries
    assert keep(finished) == rows(finished) == entries


def test_results_under_other_terms_did_not_happen(folder: ArmFolder) -> None:
    own, foreign, unknown, old = (Segment(config, 1, 0) for config in (1, 2, 3, 4))
    for segment, terms in ((own, "a"), (foreign, "z"), (unknown, "a"), (old, None)):
        commit(claim_attempt(folder, segment), completed(segment), terms)
    terms = {1: "a", 2: "b", 4: "d"}
    assert set(read_ledger(folder, terms).entries) == {own, old}
    commit(claim_attempt(folder, foreign), completed(foreign), "b")
    ledger = read_ledger(folder, terms)
    assert ledger.entries[foreign].attempt == "a2"
    assert ledger.disagreements == []


def test_results_wait_for_a_bracket_that_was_lost(folder: ArmFolder) -> None:
    own, foreign, later = (Segment(config, 1, 0) for config in (1, 2, 3))
    for segment, terms in ((own, "a"), (own, "a"), (foreign, "z"), (later, "c")):
        commit(claim_attempt(folder, segment), completed(segment), terms)
    ledger = read_ledger(folder, {})
    assert (ledger.entries, ledger.waiting) == ({}, {own, foreign, later})
    assert [entry.result.segment for entry in claim(folder, ledger, {1: "a", 2: "b"})] == [own]
    assert (set(ledger.entries), ledger.waiting) == ({own}, {later})
    assert ledger.entries == read_ledger(folder, {1: "a", 2: "b"}).entries


def test_of_valid_results_that_counts_which_counted(folder: ArmFolder) -> None:
    segment = SEGMENTS[0]
    orphan = claim_attempt(folder, segment)
    counted = finish(folder, segment, 1.0)
    keep(folder)
    commit(orphan, completed(segment, 2.0))
    ledger = read_ledger(folder)
    assert ledger.entries == {segment: entry_of(counted)}
    assert len(ledger.disagreements) == 1
    # A row that is not what one of the results says is not believed.
    with contextlib.closing(sqlite3.connect(folder.ledger_file)) as connection:
        connection.execute("UPDATE segments SET seconds = 3.0")
        connection.commit()
    assert read_ledger(folder).entries[segment].attempt == "a1"


def test_late_results_under_other_terms_do_not_differ(folder: ArmFolder) -> None:
    segment = Segment(1, 1, 0)
    commit(claim_attempt(folder, segment), completed(segment, 1.0), "a")
    late = [claim_attempt(folder, segment) for _ in range(2)]
    ledger = read_ledger(folder, {1: "a"})
    for attempt, terms in zip(late, "za", strict=True):
        commit(attempt, completed(segment, 2.0), terms)
    compared: set[Path] = set()
    (line,) = late_disagreements(folder, ledger, {1: "a"}, compared)
    assert "attempts a1 and a3 differ" in line
    assert compared == set(late)


def test_an_unwhole_result_did_not_happen(finished: ArmFolder) -> None:
    path = finished.segment(SEGMENTS[3]) / "a1" / paths.RESULT
    path.write_bytes(path.read_bytes()[:-1])
    assert set(read_ledger(finished).entries) == set(SEGMENTS) - {SEGMENTS[3]}


def test_attempts_that_differ_are_told_and_the_first_counts(finished: ArmFolder) -> None:
    segment = SEGMENTS[0]
    before = keep(finished)[segment]
    finish(finished, segment, mean_return=before.result.mean_return or 0.0)
    assert read_ledger(finished).disagreements == []
    finish(finished, segment, mean_return=99.0)
    ledger = read_ledger(finished)
    assert ledger.entries[segment] == before
    (line,) = ledger.disagreements
    for part in (str(segment), "a1", "a3", "99.0", "not deterministic", "a1 counts"):
        assert part in line


def test_failures_are_known_also_beside_the_crash_they_led_to(folder: ArmFolder) -> None:
    segment = SEGMENTS[0]
    failures = [Failure(segment, f"cause {i}", "trace") for i in range(3)]
    for failure in failures:
        attempt = record_failure(folder, failure)
    commit(attempt, completed(segment))
    assert read_ledger(folder).failures == {segment: failures}
    assert read_ledger(folder).entries[segment].seconds == 0.0


def test_record_and_forget(finished: ArmFolder) -> None:
    entries = keep(finished)
    parent = finish(finished, Segment(1, 3, 0))
    database = LedgerFile(finished.ledger_file)
    database.record([entry_of(parent)])
    database.record([entry_of(parent)])
    assert rows(finished) == entries | {Segment(1, 3, 0): entry_of(parent)}
    retract(parent)
    database.forget(Segment(1, 3, 0))
    database.forget(Segment(9, 9, 9))
    database.close()
    assert rows(finished) == read_ledger(finished).entries == entries


def test_a_transaction_that_fails_leaves_nothing(finished: ArmFolder) -> None:
    entries = keep(finished)
    good = Entry(completed(Segment(1, 3, 0)), "a1", 1.0)
    unstorable = Entry(completed(Segment(1, 4, 2**70)), "a1", 1.0)
    database = LedgerFile(finished.ledger_file)
    with pytest.raises(OverflowError):
        database.record([good, unstorable])
    database.record([])  # the connection still works
    database.close()
    assert rows(finished) == entries


def test_storage_that_fails_stops_the_study(finished: ArmFolder) -> None:
    keep(finished)
    database = LedgerFile(finished.ledger_file)
    database._connection.execute("PRAGMA max_page_count = 1")  # what a full disk is to SQLite
    rows_to_add = [Entry(completed(Segment(c, 1, 0), detail="x" * 500), "a1", 1.0) for c in range(100, 160)]
    with pytest.raises(Stopped, match=r"ledger\.db: the storage failed: .*full"):
        database.record(rows_to_add)
    database.close()
    with pytest.raises(Stopped, match="storage failed"):
        LedgerFile(finished.root / "no such folder" / "ledger.db")


def test_reading_changes_nothing(finished: ArmFolder) -> None:
    keep(finished)
    claim_attempt(finished, Segment(5, 1, 0))

    def state() -> dict[str, bytes | None]:
        return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(finished.root.rglob("*"))}

    before = state()
    read_ledger(finished)
    assert state() == before
