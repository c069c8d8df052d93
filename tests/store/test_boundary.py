"""Boundaries on disk: believed only if whole and of the very segment, the most advanced first, deleted once spent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import completed, finish

from grownn_hpo.spec.study import load_study
from grownn_hpo.store import paths
from grownn_hpo.store.attempts import claim_attempt
from grownn_hpo.store.boundary import (
    Boundary,
    Origin,
    best_boundary,
    boundary_reached,
    delete_boundaries,
    write_boundary,
)
from grownn_hpo.store.cleaning import checkpoints_of, delete_checkpoints
from grownn_hpo.store.paths import TEMPORARY, ArmFolder
from grownn_hpo.store.terms import terms_sha256
from grownn_hpo.trial import Segment

SEGMENT = Segment(7, 1, 3)
ORIGIN = Origin(SEGMENT, None, "e" * 64)
CURVE = "env_steps,mean_return\n8,inf\n16,0.1\n"


def boundary(leg: int, origin: Origin = ORIGIN) -> Boundary:
    return Boundary(origin, leg, {"env_steps": 100 * leg, "updates": leg}, 2, CURVE, 0.0)


def names(attempt: Path) -> set[str]:
    return {path.name for path in attempt.iterdir()}


def test_a_boundary_reads_back_and_the_one_before_it_goes(folder: ArmFolder) -> None:
    attempt = claim_attempt(folder, SEGMENT)
    assert best_boundary(folder, ORIGIN) is None
    for leg in (9, 10, 11):
        write_boundary(attempt, boundary(leg), b"tensors %d" % leg)
        assert best_boundary(folder, ORIGIN) == (boundary(leg), b"tensors %d" % leg)
        assert boundary_reached(folder, SEGMENT) == 100 * leg
        assert names(attempt) == {f"boundary-{leg}.json", f"boundary-{leg}.safetensors"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.data())
def test_the_most_advanced_whole_one_counts(
    tmp_path_factory: pytest.TempPathFactory, legs: list[int], data: st.DataObject
) -> None:
    folder = ArmFolder(tmp_path_factory.mktemp("arm"))
    whole = {0}
    for leg in legs:
        attempt = claim_attempt(folder, SEGMENT)
        write_boundary(attempt, boundary(leg), b"tensors")
        path = attempt / data.draw(st.sampled_from([f"boundary-{leg}.json", f"boundary-{leg}.safetensors"]))
        if data.draw(st.booleans()):
            content = path.read_bytes()
            path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        else:
            whole.add(leg)
    found = best_boundary(folder, ORIGIN)
    assert (found[0].leg if found else 0) == max(whole)
    assert boundary_reached(folder, SEGMENT) == (100 * max(whole) or None)


def test_no_changed_byte_of_either_file_is_believed(folder: ArmFolder) -> None:
    attempt = claim_attempt(folder, SEGMENT)
    write_boundary(attempt, boundary(1), b"tensors")
    for name in names(attempt):
        path = attempt / name
        content = path.read_bytes()
        for i in range(len(content)):
            path.write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
            assert best_boundary(folder, ORIGIN) is None, (name, i)
        path.write_bytes(content)
    assert best_boundary(folder, ORIGIN) is not None


@pytest.mark.parametrize(
    "other",
    [
        replace(ORIGIN, segment=replace(SEGMENT, config=8)),
        replace(ORIGIN, segment=replace(SEGMENT, seed=4)),
        replace(ORIGIN, parent_sha256="a" * 64),
        replace(ORIGIN, terms_sha256="f" * 64),
    ],
)
def test_a_boundary_counts_for_its_own_origin_alone(folder: ArmFolder, other: Origin) -> None:
    """Also where the folder that it lies in says otherwise."""
    write_boundary(claim_attempt(folder, SEGMENT), boundary(1, other), b"tensors")
    assert best_boundary(folder, ORIGIN) is None


def test_what_lacks_its_json_or_lies_under_another_name_is_none(folder: ArmFolder) -> None:
    attempt = claim_attempt(folder, SEGMENT)
    write_boundary(attempt, boundary(1), b"tensors")
    record = attempt / "boundary-1.json"
    for name in ("boundary-01.json", "boundary-2.json", f"boundary-1.json.0a{TEMPORARY}", "xboundary-1.json"):
        record = record.rename(attempt / name)
        assert best_boundary(folder, ORIGIN) is None
        assert boundary_reached(folder, SEGMENT) is None


def test_where_a_segment_would_begin_depends_on_its_parent(folder: ArmFolder) -> None:
    child = replace(SEGMENT, rung=2)
    sha256 = completed(SEGMENT).checkpoint_sha256
    for leg, parent in ((1, sha256), (2, "a" * 64)):
        origin = Origin(child, parent, "e" * 64)
        write_boundary(claim_attempt(folder, child), boundary(leg, origin), b"tensors")
    assert boundary_reached(folder, child) is None  # no parent, nothing to begin
    finish(folder, SEGMENT)
    assert boundary_reached(folder, child) == boundary_reached(folder, child, "e" * 64) == 100
    assert boundary_reached(folder, child, "f" * 64) is None


def test_deleting_takes_the_boundaries_of_all_attempts_and_nothing_else(folder: ArmFolder) -> None:
    attempts = [claim_attempt(folder, SEGMENT) for _ in range(2)]
    for leg, attempt in enumerate(attempts, 1):
        write_boundary(attempt, boundary(leg), b"tensors")
    (attempts[0] / paths.CURVE).touch()
    (attempts[1] / f"boundary-3.safetensors.0a{TEMPORARY}").touch()  # somebody may be writing it
    other = claim_attempt(folder, replace(SEGMENT, seed=4))
    write_boundary(other, boundary(1, replace(ORIGIN, segment=replace(SEGMENT, seed=4))), b"tensors")
    delete_boundaries(folder, SEGMENT)
    delete_boundaries(folder, SEGMENT)
    assert [names(attempt) for attempt in attempts] == [{paths.CURVE}, {f"boundary-3.safetensors.0a{TEMPORARY}"}]
    assert len(names(other)) == 2


def test_cleaning_takes_what_kills_left_beside_results_and_nothing_else(folder: ArmFolder) -> None:
    running = claim_attempt(folder, replace(SEGMENT, seed=4))
    write_boundary(running, boundary(1, replace(ORIGIN, segment=replace(SEGMENT, seed=4))), b"tensors")
    killed = claim_attempt(folder, SEGMENT)
    write_boundary(killed, boundary(2), b"tensors")
    (killed / f"boundary-3.safetensors.0a{TEMPORARY}").write_bytes(b"half")
    done = finish(folder, SEGMENT).folder
    kept = names(done)
    left = checkpoints_of(folder, ())
    assert {entry.path for entry in left} == set(killed.iterdir())
    assert sum(entry.bytes for entry in left) == sum(path.stat().st_size for path in killed.iterdir())
    delete_checkpoints(left)
    assert names(killed) == set()
    assert names(done) == kept
    assert len(names(running)) == 2
    assert checkpoints_of(folder, ()) == ()


def test_terms_are_what_a_segment_is_a_function_of() -> None:
    arm = load_study("ant").arms[0]
    settings_ = {"learning_rate": 0.001, "n_epochs": 5}
    terms = terms_sha256(arm, settings_)
    assert terms == terms_sha256(arm, dict(reversed(settings_.items())))
    for free in ({"seeds": (9,)}, {"search": arm.search.model_copy(update={"trials": 9})}):
        assert terms_sha256(arm.model_copy(update=free), settings_) == terms
    for bound in (
        {"seed": 1},
        {"boundary_env_steps": 200_000},
        {"ppo": arm.ppo.model_copy(update={"gamma": 0.9})},
        {"rungs": arm.rungs[:-1]},
        {"evaluation": arm.evaluation.model_copy(update={"rounds": 3})},
    ):
        assert terms_sha256(arm.model_copy(update=bound), settings_) != terms, bound
    assert terms_sha256(arm, settings_ | {"n_epochs": 6}) != terms
