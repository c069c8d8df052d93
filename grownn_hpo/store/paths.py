"""Every name and path of an arm's folder, and no content."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grownn_hpo.errors import InputError
from grownn_hpo.trial import Segment

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_META = "checkpoint.json"
CURVE = "curve.csv"
PROGRESS = "progress.jsonl"
RESULT = "result.json"
FAILURE = "failure.json"
BRACKETS = "brackets"
EVALUATIONS = "evaluations"
BOUNDARY = "boundary-"
"""How the names of a boundary's files begin; temporaries of them too."""
TEMPORARY = ".tmp"
"""How temporary names end; such a file is never read, and may be removed whenever no driver runs."""

_KINDS = {
    CHECKPOINT: "checkpoint",
    CHECKPOINT_META: "checkpoint_meta",
    CURVE: "curve",
    PROGRESS: "progress",
    RESULT: "result",
    FAILURE: "failure",
    "study.yaml": "study",
    "environment.json": "environment",
    "lease.json": "lease",
    "ledger.db": "ledger",
}


def kind_of(path: Path) -> str:
    """What a file is, in a word without numbers: the first half of its failpoints' names; `file` if it is no arm's."""
    if path.name.endswith(TEMPORARY):
        return "temporary"
    if path.name.startswith(BOUNDARY):
        return "boundary_record" if path.suffix == ".json" else "boundary_tensors"
    return "bracket" if path.parent.name == BRACKETS else _KINDS.get(path.name, "file")


def boundary_tensors(leg: int) -> str:
    """The tensors' file of the boundary behind a leg."""
    return f"{BOUNDARY}{leg}.safetensors"


def boundary_record(leg: int) -> str:
    """The JSON file of the boundary behind a leg."""
    return f"{BOUNDARY}{leg}.json"


@dataclass(frozen=True, slots=True)
class ArmFolder:
    """`results/<study>/<arm>/`: one arm of a study on disk."""

    root: Path

    @property
    def study_file(self) -> Path:
        return self.root / "study.yaml"

    @property
    def environment_file(self) -> Path:
        return self.root / "environment.json"

    @property
    def ledger_file(self) -> Path:
        return self.root / "ledger.db"

    @property
    def lease_file(self) -> Path:
        return self.root / "lease.json"

    @property
    def brackets(self) -> Path:
        return self.root / BRACKETS

    def bracket_file(self, bracket: int) -> Path:
        return self.brackets / f"{bracket:04d}.json"

    @property
    def segments(self) -> Path:
        return self.root / "segments"

    @property
    def evaluations(self) -> Path:
        return self.root / EVALUATIONS

    @property
    def is_evaluation(self) -> bool:
        """Whether this is the final evaluation of an incumbent, inside the folder of the arm that found it."""
        inside = self.root.absolute().parent
        return inside.name == EVALUATIONS and ArmFolder(inside.parent).study_file.is_file()

    def segment(self, segment: Segment) -> Path:
        return self.segments / f"c{segment.config:04d}" / f"s{segment.seed}" / f"r{segment.rung}"

    def attempts(self, segment: Segment) -> tuple[Path, ...]:
        """The attempts' folders of a segment, first one first."""
        folder = self.segment(segment)
        return tuple(Path(attempt) for attempt, _ in _numbered(folder, "a{}")) if folder.is_dir() else ()

    def refuse_links(self) -> None:
        """InputError where the arm's folder, or anything directly inside it, is a symbolic link.

        What is written there would come to lie wherever it leads. Only this user may enter the folder, so that nobody
        else can put one there later.
        """
        if self.root.is_symlink():
            raise _linked(self.root)
        if self.root.is_dir():
            with os.scandir(self.root) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        raise _linked(entry.path)

    def all_attempts(self) -> Iterator[tuple[Segment, Path, frozenset[str]]]:
        """Every attempt there is: its segment, its folder, the names in it; a segment's attempts come in order.

        InputError where a symbolic link stands in for one of the folders or files.
        """
        self.refuse_links()
        if not self.segments.is_dir():
            return
        for config_folder, config in _numbered(self.segments, "c{:04d}"):
            for seed_folder, seed in _numbered(config_folder, "s{}"):
                for rung_folder, rung in _numbered(seed_folder, "r{}"):
                    for attempt, _ in _numbered(rung_folder, "a{}"):
                        yield Segment(config, rung, seed), Path(attempt), _names(attempt)


def _numbered(folder: Path | str, spelling: str) -> list[tuple[str, int]]:
    """The folders inside `folder` whose names are a number in exactly this spelling, by number.

    Whatever else lies there (a copy called `c1`, notes) is nobody's segment.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            digits = entry.name[1:]
            if not re.fullmatch(r"[0-9]{1,16}", digits) or entry.name != spelling.format(int(digits)):
                continue
            if entry.is_symlink():
                raise _linked(entry.path)
            if entry.is_dir():
                found.append((entry.path, int(digits)))
    return sorted(found, key=lambda pair: pair[1])


def _names(folder: str) -> frozenset[str]:
    """The names in an attempt's folder; InputError where one is a symbolic link."""
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_symlink():
            raise _linked(entry.path)
    return frozenset(entry.name for entry in found)


def _linked(path: Path | str) -> InputError:
    rule = "is a symbolic link, and may lead anywhere; put what it leads to in its place, or remove it"
    return InputError(f"{path}: {rule}")


def arm_folders(path: Path) -> tuple[ArmFolder, ...]:
    """The arms at `path`: itself if it is an arm's folder, else those directly inside it (a study's folder)."""
    if ArmFolder(path).study_file.is_file():
        return (ArmFolder(path),)
    if not path.is_dir():
        return ()
    inside = (ArmFolder(p) for p in sorted(path.iterdir()) if p.is_dir() and not p.is_symlink())
    return tuple(folder for folder in inside if folder.study_file.is_file())
