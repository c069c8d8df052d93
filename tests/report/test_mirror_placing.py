"""A mirror takes its place whole or not at all, and never that of anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from grownn_hpo.errors import InputError
from grownn_hpo.report.mirror.placing import MARK, built_beside
from grownn_hpo.report.mirror.targets import Target


def build(place: Path, *names: str) -> None:
    with built_beside(place, Target.csv) as building:
        for name in names:
            (building / name).write_text(name)


def fail(place: Path) -> None:
    with built_beside(place, Target.csv) as building:
        (building / "half").write_text("")
        raise RuntimeError("half-way")


def fill_meanwhile(place: Path) -> None:
    with built_beside(place, Target.csv):
        place.mkdir()
        (place / "mine").write_text("mine")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_earlier_mirror_is_replaced_whole(tmp_path: Path) -> None:
    place = tmp_path / "new" / "mirror"
    build(place, "a", "b")
    assert names_in(place) == {"a", "b", MARK}
    build(place, "c")
    assert names_in(place) == {"c", MARK}
    assert names_in(place.parent) == {"mirror"}


def test_what_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "mirror"
    for before in (set(), {"mirror"}):
        with pytest.raises(RuntimeError, match="half-way"):
            fail(place)
        assert names_in(tmp_path) == before
        build(place, "a")
    assert names_in(place) == {"a", MARK}


@pytest.mark.parametrize("kind", ["folder", "file", "link", "another program's mark"])
def test_what_is_no_mirror_is_never_replaced(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "file":
        place.write_text("mine")
    elif kind == "link":
        build(tmp_path / "mirror", "a")
        place.symlink_to(tmp_path / "mirror")
    else:
        place.mkdir()
        (place / "mine").write_text("mine")
        if kind != "folder":
            (place / MARK).write_text("[]")
    before = sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*"))
    with pytest.raises(InputError, match=f"-o {place}: is (a|no) .*name"):
        build(place, "a")
    assert sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_a_place_that_is_filled_meanwhile_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with pytest.raises(InputError, match="is no mirror"):
        fill_meanwhile(place)
    assert names_in(tmp_path) == {"place"}
    assert names_in(place) == {"mine"}


def test_an_empty_folder_may_become_one(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    build(place, "a")
    assert names_in(place) == {"a", MARK}
