"""Any damage to any file of an arm: noticed or without effect, told in words, and nothing outside is touched.

What counts for the ledger must be, row by row, what was committed; a damaged file is passed over or refused.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest
from damage import STRANGE, changed_bytes, changed_json
from fuzz_arm import arm_of, under_way
from fuzz_program import Ended, bounded, run, snapshot
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from grownn_hpo.driver.arms import open_path
from grownn_hpo.driver.run import ArmRun
from grownn_hpo.errors import GrowNNError, InputError, Stopped
from grownn_hpo.report.incumbent_file import read_incumbent
from grownn_hpo.store.boundary import Origin, best_boundary
from grownn_hpo.store.lease import Lease
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.store.terms import terms_sha256

Rows = set[tuple[str, ...]] | None

# An example takes tenths of a second: shrinking one would take minutes.
SHORT = settings(
    max_examples=25,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
LONG = settings(SHORT, max_examples=2000, derandomize=False)


@dataclass(frozen=True)
class Place:
    """A copy of the undamaged arm that may be damaged, and a folder beside its results that nothing may touch."""

    arm: Path
    outside: Path


Look = Callable[[Place, Rows], None]


@contextmanager
def copied(original: Path) -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as name:
        results, outside = Path(name) / "results", Path(name) / "outside"
        shutil.copytree(original, results)
        outside.mkdir()
        (outside / "precious").write_text("precious")
        yield Place(results / "fuzzed" / "grown", outside)


def table(arm: Path) -> set[tuple[str, ...]]:
    ended = run("table", arm)
    assert ended.code == 0, ended.err
    return set(map(tuple, csv.reader(io.StringIO(ended.out))))


@pytest.fixture(scope="session")
def rows(arms: tuple[Path, Path]) -> set[tuple[str, ...]]:
    """The undamaged arm's ledger."""
    found = table(arms[0] / "fuzzed" / "grown")
    assert len(found) == 1 + 2 * 8
    return found


def names(original: Path) -> list[str]:
    """The arm's folder, and every file and folder inside."""
    arm = original / "fuzzed" / "grown"
    return [".", *sorted(str(path.relative_to(arm)) for path in arm.rglob("*"))]


def told(ended: Ended) -> Ended:
    """An ending as promised: an exit code that means something, and a message of one sort where it is not 0."""
    assert ended.code in (0, 2, 3) or "there is no incumbent to export" in ended.err, ended
    if ended.code:
        assert ended.err.startswith(("grownn: ", "Usage: ")), ended.err
        assert all(c.isprintable() or c == "\n" for c in ended.err), ended.err
    return ended


def look_at_table(place: Place, rows: Rows) -> None:
    listed = told(run("table", place.arm))
    if listed.code == 0 and rows is not None:
        assert set(map(tuple, csv.reader(io.StringIO(listed.out)))) <= rows
    told(run("table", place.arm, "--format", "json"))


def look_at_status(place: Place, rows: Rows) -> None:
    status = told(run("status", place.arm, "--json"))
    if status.code == 0:
        json.loads(status.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    told(run("status", place.arm))


def export(place: Place, rows: Rows) -> None:
    exported = told(run("export", place.arm))
    if exported.code == 0:
        file = place.outside.parent / "incumbent.yaml"
        file.write_text(exported.out)
        found = read_incumbent(file)
        if rows is not None:
            assert any(row[1:3] == (str(found.config), str(found.rung)) for row in rows)
            assert found.arm == arm_of(3)


def clean(place: Place, rows: Rows) -> None:
    before = snapshot(place.arm)
    told(run("clean", place.arm, "--dry-run"))
    after = snapshot(place.arm)
    assert {n: w for n, w in after.items() if n != "lease.json"} == {
        n: w for n, w in before.items() if n != "lease.json"
    }
    told(run("clean", place.arm))


def look_while_driven(place: Place, rows: Rows) -> None:
    folder = ArmFolder(place.arm)
    try:
        with bounded(), Lease(folder.lease_file):
            told(run("status", place.arm, "--json"))
            told(run("status", place.arm))
    except GrowNNError:
        assert not folder.lease_file.is_file() or folder.lease_file.is_symlink()


def begin_to_drive(place: Place, rows: Rows) -> None:
    """What `run`, `resume` and `extend` do up to their first segments."""
    try:
        with bounded():
            (opened,) = open_path(place.arm)
            with ArmRun(opened) as driven:
                for segment in driven.needed(driven.plan()):
                    driven.job(segment)
    except (InputError, Stopped):
        return
    if rows is not None:
        assert table(place.arm) <= rows


READING = (look_at_table, look_at_status, export)
LOOKS = (*READING, clean, look_while_driven, begin_to_drive)


def check(place: Place, rows: Rows, looks: Iterable[Look]) -> None:
    """`rows`: those that may count; None where a result may tell anything, for its seal is right."""
    outside = snapshot(place.outside)
    for look in looks:
        before = snapshot(place.arm) if look in READING else None
        look(place, rows)
        assert before in (None, snapshot(place.arm))
        assert snapshot(place.outside) == outside


def damage_bytes(data: st.DataObject, path: Path) -> bool:
    """Damages the content of a file; whether its seal may still be right."""
    content = path.read_bytes()
    structured = path.suffix in (".json", ".jsonl") and data.draw(st.booleans(), label="structured")
    path.write_bytes(data.draw(changed_json(content) if structured else changed_bytes(content), label="content"))
    return structured


def fuzz_contents(arms: tuple[Path, Path], rows: Rows, data: st.DataObject, looks: Iterable[Look]) -> None:
    with copied(arms[0]) as place:
        trusted = False
        files = [name for name in names(arms[0]) if (place.arm / name).is_file()]
        for name in data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=3, unique=True), label="files"):
            trusted |= damage_bytes(data, place.arm / name)
        check(place, None if trusted else rows, looks)


def fuzz_kinds(arms: tuple[Path, Path], rows: Rows, name: str, kind: str, looks: Iterable[Look]) -> None:
    with copied(arms[0]) as place:
        STRANGE[kind](place.arm / name, place.outside)
        check(place, rows, looks)


def fuzz_swaps(
    arms: tuple[Path, Path], rows: Rows, name: str, other: str, foreign: bool, looks: Iterable[Look]
) -> None:
    """What lies at `other`, in this arm or in that of the same name in another study, is copied to `name`."""
    with copied(arms[0]) as place:
        source, target = arms[foreign] / "fuzzed" / "grown" / other, place.arm / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        check(place, rows, looks)


one_look = st.sampled_from(LOOKS).map(lambda look: (look,))


@SHORT
@given(data=st.data(), looks=one_look)
def test_contents(arms: tuple[Path, Path], rows: Rows, data: st.DataObject, looks: Iterable[Look]) -> None:
    fuzz_contents(arms, rows, data, looks)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@LONG
@given(data=st.data(), looks=one_look)
def test_contents_at_length(arms: tuple[Path, Path], rows: Rows, data: st.DataObject, looks: Iterable[Look]) -> None:
    fuzz_contents(arms, rows, data, looks)


@SHORT
@given(data=st.data(), kind=st.sampled_from(sorted(STRANGE)), looks=one_look)
def test_kinds(arms: tuple[Path, Path], rows: Rows, data: st.DataObject, kind: str, looks: Iterable[Look]) -> None:
    fuzz_kinds(arms, rows, data.draw(st.sampled_from(names(arms[0]))), kind, looks)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", sorted(STRANGE))
def test_kinds_in_every_place(arms: tuple[Path, Path], rows: Rows, kind: str) -> None:
    for name, look in zip(names(arms[0]), cycle(LOOKS), strict=False):
        fuzz_kinds(arms, rows, name, kind, (look,))


@SHORT
@given(data=st.data(), foreign=st.booleans(), looks=one_look)
def test_swaps(arms: tuple[Path, Path], rows: Rows, data: st.DataObject, foreign: bool, looks: Iterable[Look]) -> None:
    drawn = st.sampled_from([name for name in names(arms[0])[1:] if (arms[1] / "fuzzed" / "grown" / name).exists()])
    name = data.draw(drawn)
    fuzz_swaps(arms, rows, name, data.draw(st.just(name) | drawn), foreign, looks)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_everything_swapped_with_another_studys(arms: tuple[Path, Path], rows: Rows) -> None:
    for name, look in zip(names(arms[0])[1:], cycle(LOOKS), strict=False):
        if (arms[1] / "fuzzed" / "grown" / name).exists():
            fuzz_swaps(arms, rows, name, name, True, (look,))


def fuzz_boundary(arms: tuple[Path, Path], data: st.DataObject) -> None:
    """A boundary is what was written, or none."""
    with copied(arms[0]) as place:
        folder, segment = ArmFolder(place.arm), under_way(place.arm)
        arm = arm_of(3)
        bracket = json.loads(folder.bracket_file(3).read_text())
        terms = terms_sha256(arm, bracket["configurations"][(segment.config - 1) % 3])
        origin = Origin(segment, None, terms)
        whole = best_boundary(folder, origin)
        assert whole is not None
        file = data.draw(st.sampled_from(sorted(place.arm.glob("segments/c*/s*/r*/a*/boundary-*"))))
        kind = data.draw(st.none() | st.sampled_from(sorted(STRANGE)))
        if kind is None:
            file.write_bytes(data.draw(changed_bytes(file.read_bytes())))
        else:
            STRANGE[kind](file, place.outside)
        with bounded():
            assert best_boundary(folder, origin) in (None, whole)


@settings(SHORT, max_examples=60)
@given(data=st.data())
def test_boundaries(arms: tuple[Path, Path], data: st.DataObject) -> None:
    fuzz_boundary(arms, data)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@LONG
@given(data=st.data())
def test_boundaries_at_length(arms: tuple[Path, Path], data: st.DataObject) -> None:
    fuzz_boundary(arms, data)
