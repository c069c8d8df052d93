"""Every name and path of an arm's folder, and no content."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grownn_hpo.trial import Segment

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_META = "checkpoint.json"
CURVE = "curve.csv"
PROGRESS = "progress.jsonl"
RESULT = "result.json"
FAILURE = "failure.json"


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
        return self.root / "brackets"

    def bracket_file(self, bracket: int) -> Path:
        return self.brackets / f"{bracket:04d}.json"

    @property
    def segments(self) -> Path:
        return self.root / "segments"

    @property
    def evaluations(self) -> Path:
        return self.root / "evaluations"

    def segment(self, segment: Segment) -> Path:
        return self.segments / f"c{segment.config:04d}" / f"s{segment.seed}" / f"r{segment.rung}"

    def attempts(self, segment: Segment) -> tuple[Path, ...]:
        """The attempts' folders of a segment, first one first."""
        folder = self.segment(segment)
        numbers = sorted(n for _, n in _numbered(folder, "a")) if folder.is_dir() else []
        return tuple(folder / f"a{n}" for n in numbers)

    def all_attempts(self) -> Iterator[tuple[Segment, Path, frozenset[str]]]:
        """Every attempt there is: its segment, its folder, the names in it; a segment's attempts come in order."""
        if not self.segments.is_dir():
            return
        for config_folder, config in _numbered(self.segments, "c"):
            for seed_folder, seed in _numbered(config_folder, "s"):
                for rung_folder, rung in _numbered(seed_folder, "r"):
                    for attempt, _ in sorted(_numbered(rung_folder, "a"), key=lambda pair: pair[1]):
                        yield Segment(config, rung, seed), Path(attempt), frozenset(e.name for e in os.scandir(attempt))


def _numbered(folder: Path | str, letter: str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if re.fullmatch(rf"{letter}\d+", entry.name) and entry.is_dir(follow_symlinks=False):
                yield entry.path, int(entry.name[1:])


def arm_folders(path: Path) -> tuple[ArmFolder, ...]:
    """The arms at `path`: itself if it is an arm's folder, else those directly inside it (a study's folder)."""
    if ArmFolder(path).study_file.is_file():
        return (ArmFolder(path),)
    if not path.is_dir():
        return ()
    inside = (ArmFolder(p) for p in sorted(path.iterdir()) if p.is_dir() and not p.is_symlink())
    return tuple(folder for folder in inside if folder.study_file.is_file())
