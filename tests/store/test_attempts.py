"""Attempts: nobody gets another's folder, and no result is believed that is not, byte for byte, what was committed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import MEASURED, completed, finish

from grownn_hpo.store import paths
from grownn_hpo.store.attempts import (
    Commit,
    Failure,
    agree,
    claim_attempt,
    commit_result,
    committed,
    intact_checkpoint,
    read_commit,
    read_failure,
    record_failure,
    retract,
)
from grownn_hpo.store.commit import seal, unseal
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment, SegmentResult, Status

SEGMENT = Segment(7, 2, 3)

finite = st.floats(allow_nan=False, allow_infinity=False)
digests = st.none() | st.text("0123456789abcdef", min_size=64, max_size=64)
results = st.builds(
    SegmentResult,
    segment=st.builds(Segment, st.integers(1, 9999), st.integers(1, 20), st.integers(0, 2**53)),
    status=st.just(Status.COMPLETED),
    mean_return=finite,
    success_rate=st.none() | finite,
    env_steps=st.integers(0, 2**53),
    depth=st.integers(1, 100),
    growth_difference=st.none() | finite,
    parent_sha256=digests,
    checkpoint_sha256=st.none(),
    detail=st.none() | st.text(st.characters(codec="utf-8")),
)
unfinished = st.builds(
    replace, results, status=st.sampled_from([Status.DIVERGED, Status.CRASHED]), mean_return=st.none()
)


@settings(max_examples=60, deadline=None)
@given(results | unfinished)
def test_a_commit_reads_back_exactly(result: SegmentResult) -> None:
    with tempfile.TemporaryDirectory() as name:
        attempt = Path(name)
        (attempt / paths.CURVE).write_text("curve")
        commit = commit_result(attempt, result, MEASURED)
        read = read_commit(attempt, result.segment)
        assert read == commit == Commit(result, commit.artefacts, MEASURED)
        assert repr(read) == repr(commit)  # -0.0 == 0.0
        assert set(commit.artefacts) == {paths.CURVE}


def test_a_commit_of_an_earlier_version_has_no_env_steps_of_its_own(folder: ArmFolder) -> None:
    attempt = finish(folder, SEGMENT).folder
    path = attempt / paths.RESULT
    content = unseal(path.read_bytes())
    line = b',\n  "env_steps": 750\n'
    assert content.count(line) == 1
    path.write_bytes(seal(content.replace(line, b"\n")))
    read = read_commit(attempt, SEGMENT)
    assert read is not None
    assert read.measured == replace(MEASURED, env_steps=None)


def test_a_result_is_believed_for_its_own_segment_alone(folder: ArmFolder) -> None:
    attempt = finish(folder, SEGMENT).folder
    assert read_commit(attempt, replace(SEGMENT, seed=4)) is None
    assert read_commit(attempt.with_name("a2"), SEGMENT) is None


def test_every_flipped_bit_and_every_truncation_of_a_result_is_noticed(folder: ArmFolder) -> None:
    attempt = finish(folder, SEGMENT, mean_return=-123.0625).folder
    path = attempt / paths.RESULT
    whole = path.read_bytes()
    for i in range(len(whole)):
        for bit in (0, 3, 6):
            path.write_bytes(whole[:i] + bytes([whole[i] ^ (1 << bit)]) + whole[i + 1 :])
            assert read_commit(attempt, SEGMENT) is None, (i, bit)
        path.write_bytes(whole[:i])
        assert read_commit(attempt, SEGMENT) is None, i
    path.write_bytes(whole + b"\n")
    assert read_commit(attempt, SEGMENT) is None
    path.write_bytes(whole)
    assert read_commit(attempt, SEGMENT) is not None
    assert json.loads(whole)["result"]["mean_return"] == -123.0625  # plain JSON to everybody else


def test_attempts_are_exclusive_among_threads(folder: ArmFolder) -> None:
    claimed: list[Path] = []
    barrier = threading.Barrier(8)

    def claim() -> None:
        barrier.wait()
        for _ in range(5):
            claimed.append(claim_attempt(folder, SEGMENT))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 40
    assert tuple(sorted(claimed, key=lambda p: int(p.name[1:]))) == folder.attempts(SEGMENT)
    assert [p.name for p in folder.attempts(SEGMENT)] == [f"a{n}" for n in range(1, 41)]


CLAIMER = """
import sys
from pathlib import Path
from grownn_hpo.store.attempts import claim_attempt
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment
sys.stdin.readline()
for _ in range(20):
    print(claim_attempt(ArmFolder(Path(sys.argv[1])), Segment(7, 2, 3)).name)
"""


def test_attempts_are_exclusive_among_processes(folder: ArmFolder) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, str(folder.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    names = [name for process in processes for name in process.communicate(timeout=60)[0].split()]
    assert sorted(names, key=lambda n: int(n[1:])) == [f"a{n}" for n in range(1, 61)]


def test_a_new_attempt_comes_after_all_others(folder: ArmFolder) -> None:
    for name in ("a1", "a9", "a010", "ab", "a"):
        (folder.segment(SEGMENT) / name).mkdir(parents=True)
    assert claim_attempt(folder, SEGMENT).name == "a10"


def test_the_first_whole_commit_counts(folder: ArmFolder) -> None:
    assert committed(folder, SEGMENT) is None
    torn, first, second = (finish(folder, SEGMENT, mean_return=float(n)) for n in (1, 2, 3))
    (torn.folder / paths.RESULT).write_bytes((torn.folder / paths.RESULT).read_bytes()[:-10])
    assert committed(folder, SEGMENT) == first
    retract(first)
    assert committed(folder, SEGMENT) == second
    assert (first.folder / paths.CHECKPOINT).exists()


@pytest.mark.parametrize("name", [paths.CHECKPOINT, paths.CHECKPOINT_META])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "folder"])
def test_a_damaged_checkpoint_is_noticed(folder: ArmFolder, name: str, damage: str) -> None:
    parent = finish(folder, SEGMENT, checkpoint=bytes(range(256)) * 10)
    assert intact_checkpoint(parent)
    path = parent.folder / name
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "truncate":
        path.write_bytes(content[:-1])
    elif damage == "folder":
        path.mkdir()
    assert not intact_checkpoint(parent)


@pytest.mark.parametrize("left", [b"tensorS", None], ids=["changed", "gone"])
def test_a_checkpoint_that_changed_before_its_commit_is_not_committed(folder: ArmFolder, left: bytes | None) -> None:
    attempt = claim_attempt(folder, SEGMENT)
    if left is not None:
        (attempt / paths.CHECKPOINT).write_bytes(left)
    with pytest.raises(OSError, match="does not hold what was written to it"):
        commit_result(attempt, completed(SEGMENT), MEASURED)
    assert committed(folder, SEGMENT) is None


def test_a_commit_without_a_checkpoint_has_none_to_start_from(folder: ArmFolder) -> None:
    attempt = claim_attempt(folder, SEGMENT)
    commit_result(attempt, replace(completed(SEGMENT), status=Status.DIVERGED, mean_return=None), None)
    found = committed(folder, SEGMENT)
    assert found is not None
    assert not intact_checkpoint(found)


def test_failures_are_kept_in_the_attempt_that_failed(folder: ArmFolder) -> None:
    failure = Failure(SEGMENT, "process died", "Traceback …\n  line")
    first = claim_attempt(folder, SEGMENT)
    assert read_failure(first) is None
    assert record_failure(folder, failure) == first
    assert read_failure(first) == failure
    fresh = record_failure(folder, failure)  # it never got as far as a folder of its own
    assert fresh.name == "a2"
    (fresh / paths.FAILURE).write_bytes(b"{")
    assert read_failure(fresh) is None


def test_agreement(folder: ArmFolder) -> None:
    one, same = finish(folder, SEGMENT, seconds=1.0), finish(folder, SEGMENT, seconds=2.0)
    assert one.commit != same.commit
    assert agree(one.commit, same.commit)  # time and progress differ from attempt to attempt
    assert not agree(one.commit, finish(folder, SEGMENT, mean_return=math.nextafter(0.1, 1)).commit)
    assert not agree(one.commit, finish(folder, SEGMENT, checkpoint=b"tensorS").commit)
    crashed = replace(completed(SEGMENT), status=Status.CRASHED, mean_return=None)
    assert agree(one.commit, Commit(crashed, {}, None))
