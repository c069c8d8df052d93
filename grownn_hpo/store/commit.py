"""The commit rule: a temporary name, fsync, rename, fsync of the folder. Every durable step of the program is here."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import uuid
from typing import TYPE_CHECKING

from grownn_hpo.files import open_regular, read_regular

if TYPE_CHECKING:
    from pathlib import Path

TEMPORARY = ".tmp"
"""How temporary names end; such a file is never read, and may be removed whenever no driver runs."""


STORAGE_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE))
"""The storage's fault, not the configuration's: the study stops, and can go on once there is room."""

MOST_BYTES = 2**26
"""More than any of this program's files holds that is read as a whole, but for tensors."""

_SEAL = ',\n "sha256": "{}"\n}}\n'
_SEAL_LENGTH = len(_SEAL.format("0" * 64))


def write_file(path: Path, data: bytes) -> str:
    """Put `data` at `path` durably and all at once; returns its SHA-256. A crash leaves the old content or the new."""
    # The name is unique, so that an orphan writing the same file cannot tear this one's temporary.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)
    return hashlib.sha256(data).hexdigest()


def seal(content: bytes) -> bytes:
    """A JSON object's bytes with `sha256`, the SHA-256 of exactly them, as one more key at the end."""
    digest = hashlib.sha256(content).hexdigest()
    return content.removesuffix(b"\n}") + _SEAL.format(digest).encode()


def unseal(sealed: bytes) -> bytes:
    """The bytes that `seal` was given; ValueError if a single one of them, or of the seal, is another."""
    head, tail = sealed[:-_SEAL_LENGTH], sealed[-_SEAL_LENGTH:]
    content = head + b"\n}"
    if tail != _SEAL.format(hashlib.sha256(content).hexdigest()).encode():
        raise ValueError("its bytes are not those that were written: they do not have the SHA-256 that it ends with")
    return content


def read_file(path: Path) -> bytes:
    """The bytes of a file of ours; OSError where there is none, a link or anything else than a file, or too much."""
    return read_regular(path, MOST_BYTES)


def sync_file(path: Path) -> str:
    """Make a file that was appended to durable as it stands; returns its SHA-256."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return file_sha256(path)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path, private: bool = False) -> None:
    """Create `path` and its parents durably; an existing folder is left as it is.

    `private`: the uppermost that is created, and so all inside, can be entered by this user alone.
    """
    if path.is_dir():
        return
    topmost = path.parent.is_dir()
    make_folder(path.parent, private)
    path.mkdir(0o700 if private and topmost else 0o777, exist_ok=True)
    sync_folder(path.parent)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
