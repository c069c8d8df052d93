"""A raised budget: of all the arms that were named, or of none."""

from __future__ import annotations

from pathlib import Path

import pytest
from program import TINY

from grownn_hpo import failpoints
from grownn_hpo.driver.arms import OpenArm, extend_arms, open_path, open_study
from grownn_hpo.errors import InputError
from grownn_hpo.spec.study import load_study
from grownn_hpo.store.lease import Lease

TWO_ARMS = TINY + TINY.partition("arms:\n")[2].replace("grown-3", "other")


@pytest.fixture
def opened(tmp_path: Path) -> tuple[OpenArm, ...]:
    """Two arms of 12 trials each."""
    (tmp_path / "two.yaml").write_text(TWO_ARMS)
    study = load_study(str(tmp_path / "two.yaml"))
    arms = open_study(study, study.arms, tmp_path / "results", 1)
    assert len(arms) == 2
    return arms


def budgets(opened: tuple[OpenArm, ...]) -> list[int]:
    """What is recorded."""
    return [each.arm.search.trials for each in open_path(opened[0].folder.root.parent)]


def test_all_are_raised(opened: tuple[OpenArm, ...]) -> None:
    raised = extend_arms(opened, 20)
    assert [each.arm.search.trials for each in raised] == budgets(opened) == [20, 20]


def test_none_is_raised_where_one_has_more(opened: tuple[OpenArm, ...]) -> None:
    extended = (opened[0], *extend_arms(opened[1:], 50))
    with pytest.raises(InputError, match=r"--trials 20: must be more than the 50 that .*other has already"):
        extend_arms(extended, 20)
    assert budgets(opened) == [12, 50]


def test_none_is_raised_where_one_is_being_driven(opened: tuple[OpenArm, ...]) -> None:
    with Lease(opened[1].folder.lease_file), pytest.raises(InputError, match="is being driven already"):
        extend_arms(opened, 20)
    assert budgets(opened) == [12, 12]


def test_none_is_raised_where_the_storage_fails_at_one(opened: tuple[OpenArm, ...], tmp_path: Path) -> None:
    failpoints.arm(f"{tmp_path}/passes driver:study.rename@2=ENOSPC")
    try:
        with pytest.raises(OSError, match="No space left"):
            extend_arms(opened, 20)
    finally:
        failpoints.arm(None)
    assert budgets(opened) == [12, 12]


def test_a_call_killed_between_two_arms_can_be_made_again(opened: tuple[OpenArm, ...]) -> None:
    half = (*extend_arms(opened[:1], 20), opened[1])
    assert budgets(opened) == [20, 12]
    assert [each.arm.search.trials for each in extend_arms(half, 20)] == budgets(opened) == [20, 20]
    with pytest.raises(InputError, match=r"must be more than the 20 .* name one arm to extend it alone"):
        extend_arms(open_path(opened[0].folder.root.parent), 20)
