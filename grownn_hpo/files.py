"""Reading files that somebody else may have put there: regular ones of bounded size, opened once and never waited for.

A FIFO or a device in a file's place would hold its reader for ever, or feed it without end. What is opened is what is
looked at and what is read: nobody can put another file in its place in between.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PASSING = frozenset((errno.EIO, errno.ESTALE))
"""A network file system's hiccups. They say nothing of what is in a file, nor that there is none."""

_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def open_regular(path: Path, *, links: bool = False) -> IO[bytes]:
    """The file at `path`, to be read; OSError where there is none, or where it is not a regular file.

    `links`: a symbolic link may stand for the file, as in a path that the user typed.
    """
    # O_NONBLOCK: a FIFO without a writer opens at once. To a regular file it means nothing.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if links else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and not links:
            raise OSError(errno.ELOOP, "is a symbolic link, and may lead anywhere", str(path)) from None
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "is a socket or a device, not a file", str(path)) from None
        raise
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, most_bytes: int, *, links: bool = False) -> bytes:
    """The bytes of the regular file at `path`; OSError where it is none, or holds more than `most_bytes`."""
    with open_regular(path, links=links) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise OSError(errno.EFBIG, f"holds more than {most_bytes:,} bytes", str(path))
        return file.read(size)
