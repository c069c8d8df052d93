"""The commit rule: a temporary name, fsync, rename, fsync of the folder. Every durable step on files is here.

Before each of them lies a failpoint (see `grownn_hpo.failpoints`), called after what the file is and what is done to
it: `result.rename`. The lease and the ledger's database, which are written in place, have their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from grownn_hpo import failpoints
from grownn_hpo.files import PASSING, open_regular, read_regular
from grownn_hpo.store.paths import TEMPORARY, kind_of
from grownn_hpo.store.storage import persevering

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 2**26
"""More than any of this program's files holds that is read as a whole, but for tensors."""

_SEAL = ',\n "sha256": "{}"\n}}\n'
_SEAL_LENGTH = len(_SEAL.format("0" * 64))


def write_file(path: Path, data: bytes) -> str:
    """Put `data` at `path` durably and all at once; returns its SHA-256. A crash leaves the old content or the new.

    After a passing error of the storage all of it is done anew, under another temporary name.
    """
    persevering(lambda: _write_once(path, data))
    return hashlib.sha256(data).hexdigest()


def _write_once(path: Path, data: bytes) -> None:
    kind = kind_of(path)
    # The name is unique, so that an orphan writing the same file cannot tear this one's temporary.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{TEMPORARY}")
    with _naming(path):
        try:
            with temporary.open("xb") as file:
                failpoints.meet(f"{kind}.write", path, _half(file, data))
                file.write(data)
                file.flush()
                failpoints.meet(f"{kind}.fsync", path)
                os.fsync(file.fileno())
            failpoints.meet(f"{kind}.rename", path)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent, kind)


def read_file(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """The bytes of a file of ours; a passing error of the storage is given time to pass.

    Raises OSError where there is none, a link or anything else than a file, or more than `most_bytes`.
    """

    def read() -> bytes:
        with _naming(path):
            failpoints.meet(f"{kind_of(path)}.read", path)
            return read_regular(path, most_bytes)

    return persevering(read)


def read_if_there(path: Path) -> bytes:
    """As `read_file`, but nothing where there is none, or something else that is no file of ours.

    Raises OSError where the storage fails for now: that says nothing of what is there, and nobody may go on as if there
    were nothing.
    """
    try:
        return read_file(path)
    except OSError as error:
        if error.errno in PASSING:
            raise
        return b""


def append(path: Path, text: str) -> None:
    """Add to the end of a file; a process killed meanwhile leaves a torn end. `sync_file` makes it durable."""
    data = text.encode()
    with _naming(path), path.open("ab") as file:
        failpoints.meet(f"{kind_of(path)}.append", path, _half(file, data))
        file.write(data)


def remove(path: Path) -> None:
    """Delete a file, if it is there. A crash may bring it back: only what does no harm may be deleted."""

    def delete() -> None:
        failpoints.meet(f"{kind_of(path)}.delete", path)
        path.unlink(missing_ok=True)

    persevering(delete)


def set_aside(path: Path) -> Path:
    """Give a damaged file a name under which nobody believes it, durably; returns that."""
    aside = path.with_name(f"{path.name}.damaged")

    def rename() -> None:
        with _naming(path):
            failpoints.meet(f"{kind_of(path)}.set_aside", path)
            if os.path.lexists(path) or not aside.exists():  # or else it was done, and only its success was not told
                path.replace(aside)
            _sync_folder(path.parent, kind_of(path))

    persevering(rename)
    return aside


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


def sync_file(path: Path) -> str:
    """Make a file that was appended to durable as it stands; returns its SHA-256.

    An error stands: what was appended cannot be written again from here (see `persevering`), only by another attempt.
    """
    with _naming(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            failpoints.meet(f"{kind_of(path)}.fsync", path)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return file_sha256(path)


def make_folder(path: Path, private: bool = False) -> None:
    """Create `path` and its parents durably; an existing folder is left as it is.

    `private`: the uppermost that is created, and so all inside, can be entered by this user alone.
    """
    if path.is_dir():
        return
    topmost = path.parent.is_dir()
    make_folder(path.parent, private)
    persevering(lambda: _create(path, "folder", 0o700 if private and topmost else 0o777, exist_ok=True))


def claim_folder(path: Path) -> bool:
    """Create `path`, whose parent is there, durably; False if somebody else did, or may have done."""
    try:
        persevering(lambda: _create(path, "attempt", 0o777, exist_ok=False))
    except FileExistsError:
        return False
    return True


def _create(path: Path, kind: str, mode: int, exist_ok: bool) -> None:
    with _naming(path):
        failpoints.meet(f"{kind}.create", path)
        path.mkdir(mode, exist_ok=exist_ok)
        _sync_folder(path.parent, kind)


def _sync_folder(path: Path, kind: str) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        failpoints.meet(f"{kind}.fsync_folder", path)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""

    def digest() -> str:
        with _naming(path):
            failpoints.meet(f"{kind_of(path)}.read", path)
            with open_regular(path) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]

    return persevering(digest)


def _half(file: BinaryIO, data: bytes) -> Callable[[], None]:
    def write() -> None:
        file.write(data[: len(data) // 2])
        file.flush()

    return write


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have an error say of which file it speaks, which those of fsync and write do not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
