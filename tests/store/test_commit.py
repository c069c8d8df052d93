"""The commit rule: the old content or the new, never a part, and nothing left lying about."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grownn_hpo.store import storage
from grownn_hpo.store.arm import read_environment
from grownn_hpo.store.attempts import read_commit, read_failure
from grownn_hpo.store.commit import (
    append,
    file_sha256,
    make_folder,
    read_file,
    read_if_there,
    seal,
    set_aside,
    sync_file,
    unseal,
    write_file,
)
from grownn_hpo.store.curve import read_curve, read_ticks
from grownn_hpo.store.lease import holder, is_driven
from grownn_hpo.store.paths import TEMPORARY, ArmFolder
from grownn_hpo.trial import Segment

OLD, NEW = b"old" * 1000, b"new" * 2000


class Crash(Exception):
    """What is raised between two steps."""


def crash_at(call: int, original: Callable[..., object]) -> Callable[..., object]:
    """`original`, but that its `call`-th use (from 1) raises instead."""
    calls = 0

    def step(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Crash
        return original(*args, **kwargs)

    return step


def test_write_file_puts_the_content_and_returns_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (OLD, NEW, b""):
        assert write_file(path, data) == hashlib.sha256(data).hexdigest() == sync_file(path)
        assert path.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize(
    ("step", "call", "expected"),
    [("fsync", 1, "old"), ("replace", 1, "old"), ("fsync", 2, "new"), ("write", 1, "old")],
)
def test_a_crash_between_steps_leaves_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool, step: str, call: int, expected: str
) -> None:
    path = tmp_path / "file"
    if existing:
        write_file(path, OLD)
    if step == "fsync":
        monkeypatch.setattr(os, "fsync", crash_at(call, os.fsync))
    elif step == "replace":
        monkeypatch.setattr(Path, "replace", crash_at(call, Path.replace))
    else:
        monkeypatch.setattr(Path, "open", crash_at(call, Path.open))
    with pytest.raises(Crash):
        write_file(path, NEW)
    monkeypatch.undo()
    left = path.read_bytes() if path.exists() else None
    assert left == (NEW if expected == "new" else OLD if existing else None)
    assert not list(tmp_path.glob(f"*{TEMPORARY}"))


def test_the_content_is_durable_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def traced_fsync(descriptor: int) -> None:
        steps.append("fsync folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "fsync file")  # noqa: PTH112
        fsync(descriptor)

    def traced_replace(source: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(Path, "replace", traced_replace)
    write_file(tmp_path / "file", NEW)
    assert steps == ["fsync file", "rename", "fsync folder"]


def test_concurrent_writers_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([65 + i]) * 50_000 for i in range(8)]
    write_file(path, contents[0])
    done = threading.Event()
    torn: list[bytes] = []

    def read() -> None:
        while not done.is_set():
            seen = path.read_bytes()
            if seen not in contents:
                torn.append(seen[:10])

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=lambda c=c: [write_file(path, c) for _ in range(5)]) for c in contents]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert not torn
    assert path.read_bytes() in contents
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_make_folder_among_threads(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c"
    errors: list[BaseException] = []

    def make() -> None:
        try:
            make_folder(path)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert path.is_dir()
    (path / "kept").touch()
    make_folder(path)
    assert (path / "kept").exists()


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """This process's umask, for as long as the test runs."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_private_folder_is_closed_at_its_uppermost(tmp_path: Path, umask: int) -> None:
    there = tmp_path / "there"
    there.mkdir()
    before = there.stat().st_mode
    make_folder(there / "a" / "b" / "c", private=True)
    assert there.stat().st_mode == before
    assert stat.S_IMODE((there / "a").stat().st_mode) == 0o700
    for inner in (there / "a" / "b", there / "a" / "b" / "c"):
        assert stat.S_IMODE(inner.stat().st_mode) == 0o777 & ~umask
    (there / "a").chmod(0o750)  # opened by its owner, and to be left so
    make_folder(there / "a" / "b" / "d", private=True)
    make_folder(there / "a", private=True)
    assert stat.S_IMODE((there / "a").stat().st_mode) == 0o750
    assert stat.S_IMODE((there / "a" / "b" / "d").stat().st_mode) == 0o700


def test_make_folder_leaves_others_in_unless_told(tmp_path: Path, umask: int) -> None:
    make_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o777 & ~umask


def test_make_folder_refuses_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="a"):
        make_folder(tmp_path / "a" / "b")


@settings(deadline=None)
@given(st.data())
def test_a_seal_notices_every_changed_byte(data: st.DataObject) -> None:
    sealed = bytearray(seal(b'{\n "a": 1.25,\n "b": "x"\n}'))
    assert unseal(bytes(sealed)) == b'{\n "a": 1.25,\n "b": "x"\n}'
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="SHA-256"):
        unseal(bytes(sealed))


def failing(original: Callable[..., object], *errnos: int) -> Callable[..., object]:
    """`original`, but that its first calls raise these errors."""
    left = list(errnos)

    def step(*args: object, **kwargs: object) -> object:
        if left:
            number = left.pop(0)
            raise OSError(number, os.strerror(number))
        return original(*args, **kwargs)

    return step


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries."""
    monkeypatch.setattr(storage, "PAUSES_SECONDS", (0.0, 0.0))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("errnos", [(errno.EIO,), (errno.ESTALE,), (errno.EIO, errno.ESTALE)])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_passing_error_is_answered_by_writing_all_of_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, errnos: tuple[int, ...]
) -> None:
    written: list[str] = []
    opened = Path.open

    def counting(path: Path, mode: str) -> object:
        written.append(path.name)
        return opened(path, mode)

    owner = os if step == "fsync" else Path
    monkeypatch.setattr(owner, step, failing(getattr(owner, step), *errnos))
    monkeypatch.setattr(Path, "open", counting)
    write_file(tmp_path / "file", NEW)
    monkeypatch.undo()
    assert (tmp_path / "file").read_bytes() == NEW
    assert len(set(written)) == 1 + len(errnos)  # a new temporary each time, never a second fsync of the same
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_what_does_not_pass_is_raised_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    tries = 3 if number == errno.EIO else 1
    write_file(tmp_path / "file", OLD)
    monkeypatch.setattr(os, "fsync", failing(os.fsync, *[number] * tries))
    with pytest.raises(OSError, match="file") as raised:
        write_file(tmp_path / "file", NEW)
    assert (raised.value.errno, raised.value.filename) == (number, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == OLD
    write_file(tmp_path / "file", NEW)  # no error is left over: it was tried so often


@pytest.mark.usefixtures("hasty")
def test_reading_waits_for_what_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(NEW)
    monkeypatch.setattr(os, "open", failing(os.open, errno.ESTALE, errno.EIO))
    assert read_file(path) == NEW
    monkeypatch.setattr(os, "open", failing(os.open, errno.ESTALE, errno.EIO))
    assert file_sha256(path) == hashlib.sha256(NEW).hexdigest()
    monkeypatch.setattr(os, "open", failing(os.open, *[errno.ESTALE] * 3))
    with pytest.raises(OSError, match="file"):
        read_file(path)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_storage_that_fails_is_never_taken_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Else results would be computed again, failures forgotten, and another host's lease overwritten."""
    folder, segment = ArmFolder(tmp_path), Segment(1, 1, 0)
    attempt = folder.segment(segment) / "a1"
    attempt.mkdir(parents=True)
    folder.brackets.mkdir()
    reads: list[Callable[[], object]] = [
        lambda: read_if_there(tmp_path / "file"),
        lambda: read_commit(attempt, segment),
        lambda: read_failure(attempt),
        lambda: read_curve(attempt),
        lambda: read_ticks(attempt),
        lambda: read_environment(folder),
        lambda: holder(folder.lease_file),
        lambda: is_driven(folder.lease_file),
    ]
    for read in reads:
        read()  # there is nothing
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", failing(os.open, *[number] * 3))
            with pytest.raises(OSError, match=os.strerror(number)):
                read()


@pytest.mark.usefixtures("hasty")
def test_what_is_appended_is_not_synced_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second fsync after a failed one may succeed without having written anything."""
    append(tmp_path / "file", "line\n")
    monkeypatch.setattr(os, "fsync", failing(os.fsync, errno.EIO))
    with pytest.raises(OSError, match="file"):
        sync_file(tmp_path / "file")


@pytest.mark.usefixtures("hasty")
def test_setting_aside_that_was_done_but_not_told_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(NEW)
    replace, calls = Path.replace, []

    def done_and_denied(source: Path, target: Path) -> Path:
        calls.append(source)
        replace(source, target)
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "replace", done_and_denied)
    assert set_aside(path) == tmp_path / "file.damaged"
    assert len(calls) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["file.damaged"]
