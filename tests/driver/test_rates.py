"""Rates: what the committed segments of an arm took, each as if it had been trained in one go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from grownn_hpo.driver.planning import rates
from grownn_hpo.driver.planning.rates import read_rates
from grownn_hpo.spec.study import load_study
from grownn_hpo.store import paths
from grownn_hpo.store.attempts import Measured, claim_attempt, commit_result
from grownn_hpo.store.commit import write_file
from grownn_hpo.store.ledger import read_ledger
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment, SegmentResult, Status

ARM = load_study("cartpole").arms[0]
WHOLE = ARM.rungs[0].env_steps
MEASURED = Measured(20.0, 15.0, 4.0, 0.4, "n1", WHOLE)


def finish(folder: ArmFolder, segment: Segment, measured: Measured | None, status: Status = Status.COMPLETED) -> Path:
    attempt = claim_attempt(folder, segment)
    checkpoint = write_file(attempt / paths.CHECKPOINT, b"t" * 5000)
    mean_return = 1.0 if status is Status.COMPLETED else None
    result = SegmentResult(segment, status, mean_return, None, WHOLE, segment.rung, None, None, checkpoint)
    commit_result(attempt, result, measured)
    return attempt


def read(folder: ArmFolder) -> dict[int, rates.RungRates]:
    return read_rates(folder, ARM, read_ledger(folder))


def test_seconds_are_the_mean_over_seeds_by_rung_and_configuration(tmp_path: Path) -> None:
    folder = ArmFolder(tmp_path)
    for config, rung, seed, took in ((1, 1, 0, 20.0), (1, 1, 1, 30.0), (2, 1, 0, 60.0), (2, 2, 0, 70.0)):
        finish(folder, Segment(config, rung, seed), replace(MEASURED, seconds=took, peak_memory_gib=took / 100))
    found = read(folder)
    assert found.keys() == {1, 2}
    assert found[1].seconds == {1: 25.0, 2: 60.0}
    assert found[2].seconds == {2: 70.0}
    assert found[1].memory_gib == 0.6
    size = found[1].segment_bytes
    assert size is not None
    assert 5000 < size < 6500


def test_an_attempt_from_a_boundary_counts_in_proportion_and_an_old_commit_as_whole(tmp_path: Path) -> None:
    folder = ArmFolder(tmp_path)
    finish(folder, Segment(1, 1, 0), replace(MEASURED, env_steps=WHOLE // 4))
    finish(folder, Segment(2, 1, 0), replace(MEASURED, env_steps=None))
    assert read(folder)[1].seconds == {1: 80.0, 2: 20.0}


def test_what_tells_nothing_is_left_out(tmp_path: Path) -> None:
    folder = ArmFolder(tmp_path)
    finish(folder, Segment(1, 1, 0), replace(MEASURED, seconds=1.0), Status.DIVERGED)
    finish(folder, Segment(2, 1, 0), None, Status.CRASHED)
    assert read(folder) == {}
    assert read_rates(ArmFolder(tmp_path / "nowhere"), ARM, read_ledger(ArmFolder(tmp_path / "nowhere"))) == {}


def test_a_cleaned_checkpoint_says_nothing_of_the_size(tmp_path: Path) -> None:
    folder = ArmFolder(tmp_path)
    (finish(folder, Segment(1, 1, 0), MEASURED) / paths.CHECKPOINT).unlink()
    assert read(folder)[1].segment_bytes is None
    finish(folder, Segment(2, 1, 0), MEASURED)
    size = read(folder)[1].segment_bytes
    assert size is not None
    assert size > 5000


def test_of_very_many_segments_some_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST", 4)
    folder = ArmFolder(tmp_path)
    for config in range(1, 11):
        finish(folder, Segment(config, 1, 0), MEASURED)
    assert list(read(folder)[1].seconds) == [1, 4, 7, 10]
