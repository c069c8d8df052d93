"""The inside of an attempt: what the forked process does between its birth and its end."""

from __future__ import annotations

import faulthandler
import importlib
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import reduce
from pathlib import Path
from typing import NoReturn

from grownn_hpo.dispatch.endings import Ending, Job, OutOfMemory, Raised, Returned, ending_to_json
from grownn_hpo.dispatch.processes import die_with_parent

# At this signal the attempt prints where all its threads stand, even while one of them holds the interpreter's lock.
TELL_WHERE = signal.SIGUSR1

_SECONDS_BETWEEN_BEATS = 0.05  # the watchdog looks less often than that; a tight loop may call `beat` at will


def attempt(job: Job, parent: int, output: int, answer: int, scratch: Path) -> NoReturn:
    """Run the job in this freshly forked process and end it.

    Both descriptors are ends of pipes to `parent`: `output` takes what is printed, `answer` a newline per beat and
    then the ending as one line. `scratch` becomes the folder of temporary files; whoever made it removes it.
    """
    code = 1
    try:
        _settle(parent, output, scratch)
        me = os.getpid()
        line = ending_to_json(_call(job, _beat(answer)))
        if os.getpid() != me:
            os._exit(0)  # a child that the entry forked came back through it: the answer is not its to give
        _write(answer, line.encode() + b"\n")
        code = 0
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
        if isinstance(asked.code, str):
            print(asked.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        # No exit handlers: those registered before the fork belong to the parent.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code & 0xFF)


def _settle(parent: int, output: int, scratch: Path) -> None:
    """Leave the parent's session, terminal, signals and folders; die when it dies."""
    os.setsid()
    die_with_parent()
    if os.getppid() != parent:
        os._exit(1)  # it ended before we could ask for its death to be ours
    _bind_forks_to_this_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which decides
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(null)
    os.close(output)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # no cores in the cwd
    faulthandler.enable(file=2)
    faulthandler.register(TELL_WHERE, file=2)
    # If memory runs out, the kernel takes an attempt before a worker or the driver.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)


def _bind_forks_to_this_process() -> None:
    """Have processes that the entry forks die with it too; only from the main thread, since other threads end first."""
    main = threading.get_ident()
    os.register_at_fork(after_in_child=lambda: die_with_parent() if threading.get_ident() == main else None)


def _beat(answer: int) -> Callable[[], None]:
    latest = 0.0

    def beat() -> None:
        nonlocal latest
        now = time.monotonic()
        if now - latest >= _SECONDS_BETWEEN_BEATS:
            latest = now
            os.write(answer, b"\n")

    return beat


def _call(job: Job, beat: Callable[[], None]) -> Ending:
    try:
        module, _, function = job.entry.partition(":")
        entry = reduce(getattr, function.split("."), importlib.import_module(module))
        value = entry(job.payload, beat)  # type: ignore[operator]
        if not isinstance(value, str):
            raise TypeError(f"{job.entry} returned {type(value).__name__}: an entry returns JSON text")
    except Exception as error:
        if _is_out_of_memory(error):
            return OutOfMemory(f"{type(error).__name__}: {error}")
        inner = error.__traceback__.tb_next if error.__traceback__ else None
        trace = "".join(traceback.format_exception(type(error), error, inner))
        return Raised(type(error).__name__, str(error), trace)
    return Returned(value)


def _is_out_of_memory(error: Exception) -> bool:
    """Also torch's own words for it: a RuntimeError of its CPU allocator, `OutOfMemoryError` of the others."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
