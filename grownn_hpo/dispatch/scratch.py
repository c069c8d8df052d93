"""Temporary folders that do not outlive their makers, not even those that were killed: the next one made clears up."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "grownn-"
_LOCK = ".lock"


class Scratch:
    """A private folder for as long as this process holds it. Raises OSError where there is no room for one.

    It lies in `parent`, where others of ours may lie too; left out, among the machine's temporary files.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        _clear_abandoned(parent)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        # Locked before it has its name, or somebody who clears up could take it for abandoned in between. The kernel
        # lets the lock go when we end, and asks nothing of process numbers, which containers with one /tmp each count.
        unnamed = self.path / f"{_LOCK}.new"
        self._lock = os.open(unnamed, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unnamed.rename(self.path / _LOCK)

    def remove(self) -> None:
        """Delete the folder with all that is in it; a second time is nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _clear_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # no folder of ours, or in use, or somebody else is clearing it
            state = folder.lstat()
            if not (stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid()):
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
