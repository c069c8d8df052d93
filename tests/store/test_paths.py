"""Names: every folder has one spelling, and a symbolic link is not followed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import finish

from grownn_hpo.errors import InputError
from grownn_hpo.store.paths import RESULT, ArmFolder, arm_folders
from grownn_hpo.trial import Segment


@given(st.integers(1, 10**6), st.integers(1, 100), st.integers(0, 2**53))
def test_a_segments_folder_is_inside_the_arm_and_its_own(config: int, rung: int, seed: int) -> None:
    folder = ArmFolder(Path("results/study/arm"))
    path = folder.segment(Segment(config, rung, seed))
    assert path.parts[:4] == ("results", "study", "arm", "segments")
    numbers = [int(part[1:]) for part in path.parts[4:]]
    assert numbers == [config, seed, rung]


def test_all_attempts_finds_each_once_in_order(folder: ArmFolder) -> None:
    assert list(folder.all_attempts()) == []
    wanted = [Segment(1, 1, 0), Segment(2, 1, 10), Segment(2, 2, 10), Segment(12345, 1, 2)]
    for segment in wanted:
        for _ in range(11):
            finish(folder, segment)
    found = list(folder.all_attempts())
    assert {segment for segment, _, _ in found} == set(wanted)
    for segment in wanted:
        attempts = [path for s, path, _ in found if s == segment]
        assert attempts == list(folder.attempts(segment))
        assert [path.name for path in attempts] == [f"a{n}" for n in range(1, 12)]
    assert all(RESULT in names for _, _, names in found)


@pytest.mark.parametrize(
    "name",
    [
        "c1",
        "c00001",
        "c0001.bak",
        "C0001",
        "c-001",
        "c\N{ARABIC-INDIC DIGIT ZERO}001",
        "c0001/s00",
        "c0001/s0/r01",
        "c0001/s0/r1/a01",
        "x",
    ],
)
def test_other_spellings_are_nobodys(folder: ArmFolder, name: str) -> None:
    place = folder.segments / name
    depth = len(name.split("/"))
    (place / Path(*["s0", "r1", "a1"][depth - 1 :])).mkdir(parents=True)
    assert list(folder.all_attempts()) == []
    assert folder.attempts(Segment(1, 1, 0)) == ()


def test_a_file_in_a_folders_place_is_nobodys(folder: ArmFolder) -> None:
    folder.segments.mkdir(parents=True)
    (folder.segments / "c0001").touch()
    assert list(folder.all_attempts()) == []
    assert folder.attempts(Segment(1, 1, 0)) == ()


@pytest.mark.parametrize("place", ["segments", "brackets", "segments/c0001", "segments/c0001/s0/r1/a1"])
def test_a_symbolic_link_in_a_folders_place_is_refused(folder: ArmFolder, tmp_path: Path, place: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "c0001" / "s0" / "r1" / "a1").mkdir(parents=True)
    link = folder.root / place
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(InputError, match="symbolic link"):
        list(folder.all_attempts())


def test_arm_folders(tmp_path: Path) -> None:
    assert arm_folders(tmp_path / "missing") == ()
    study = tmp_path / "study"
    for name in ("b", "a", "not an arm"):
        (study / name).mkdir(parents=True)
    assert arm_folders(study) == ()
    for name in ("b", "a"):
        (study / name / "study.yaml").touch()
    (study / "link").symlink_to(study / "a")
    (study / "file").touch()
    assert arm_folders(study) == (ArmFolder(study / "a"), ArmFolder(study / "b"))
    assert arm_folders(study / "a") == (ArmFolder(study / "a"),)
