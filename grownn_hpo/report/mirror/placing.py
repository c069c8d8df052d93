"""A mirror's folder: built beside its place, then moved there whole. Only a mirror is ever replaced."""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from grownn_hpo.errors import InputError
from grownn_hpo.files import read_regular
from grownn_hpo.report.mirror.targets import Target

MARK = "mirror.json"
"""What tells a mirror from a folder that somebody may miss."""


def check_place(folder: Path) -> None:
    """Raises InputError unless `folder` is free, empty, or an earlier mirror."""
    if folder.is_symlink():
        raise InputError(f"-o {folder}: is a symbolic link, and may lead anywhere; name the folder itself")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"-o {folder}: is a file; a mirror is a folder: name one that is free, or an earlier mirror")
    if next(folder.iterdir(), None) is not None and not _is_mirror(folder):
        rule = (
            "is no mirror, and a mirror replaces all that is in its folder; name one that is free, or remove this one"
        )
        raise InputError(f"-o {folder}: {rule}")


@contextlib.contextmanager
def built_beside(folder: Path, target: Target) -> Iterator[Path]:
    """An empty folder to build a mirror in, which takes the place of `folder` at the end of the block.

    An exception in the block leaves what was there. Between two renames nothing is there, for an instant.
    """
    check_place(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = _beside(folder)
    building.mkdir()
    try:
        yield building
        (building / MARK).write_text(json.dumps({"grownn_mirror": 1, "to": target.value}) + "\n")
        check_place(folder)  # the block may have taken minutes
        if folder.exists():
            old = _beside(folder)
            folder.rename(old)
            building.rename(folder)
            shutil.rmtree(old)
        else:
            building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _beside(folder: Path) -> Path:
    """A free name; not one of the store's temporaries, which a driver that starts would sweep away."""
    return folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.building")


def _is_mirror(folder: Path) -> bool:
    try:
        content = json.loads(read_regular(folder / MARK, 2**16))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("grownn_mirror") == 1
