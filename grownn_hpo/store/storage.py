"""When the storage fails: which errors are its own, which of them may pass, and what to say to a person."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from grownn_hpo.files import PASSING

STORAGE_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS)) | PASSING
"""The storage's fault, not the configuration's: the study stops, and can go on once that is mended."""
PAUSES_SECONDS = (0.1, 1.0)
"""The pauses before something is done again that met a passing error; after the last of them the error stands."""

_ADVICE = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room: your quota there is used up",
    errno.EROFS: "that file system has become read-only: make it writable again",
    errno.EIO: "it was tried again in vain: see what the disk or the file server has (dmesg tells)",
    errno.ESTALE: "it was tried again in vain: see that the file system is mounted and its server is there",
}

T = TypeVar("T")


def persevering(step: Callable[[], T]) -> T:
    """What `step` returns; after a passing error it is done again, twice at most. Every other error stands at once.

    `step` must begin from nothing each time. In particular it must not repeat an fsync alone: once an fsync has failed,
    the kernel may hold the lost pages for clean, and a second one succeeds without writing anything.
    """
    for pause in PAUSES_SECONDS:
        try:
            return step()
        except OSError as error:
            if error.errno not in PASSING:
                raise
            time.sleep(pause)
    return step()


def failure(error: OSError) -> str:
    """What happened to the storage, and what to do, in words."""
    where = f": {error.filename}" if error.filename else ""
    advice = _ADVICE.get(error.errno or 0, "see what the storage has")
    return f"the storage failed: {error.strerror or error}{where}; {advice}. What was committed is kept"
