"""Small entries for the tests of dispatch; each payload is JSON."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

Beat = Callable[[], None]


def echo(payload: str, beat: Beat) -> str:
    return payload


def surroundings(payload: str, beat: Beat) -> str:
    """What the attempt finds around itself."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED", "MALLOC_TRIM_THRESHOLD_")
    return json.dumps(
        {
            "pid": os.getpid(),
            "leads_session": os.getsid(0) == os.getpid(),
            "stdin": sys.stdin.read(),
            "terminals": [os.isatty(descriptor) for descriptor in (0, 1, 2)],
            "temporary": tempfile.gettempdir(),
            "modules": sorted(sys.modules),
            "environ": {name: os.environ.get(name) for name in names},
            "sigint_ignored": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
            "descriptors": sorted(str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()),
        }
    )


def raises(payload: str, beat: Beat) -> str:
    print("said before")
    raise LookupError("no such room: Москва")


def not_text(payload: str, beat: Beat) -> str:
    return 3  # type: ignore[return-value]


def memory_error(payload: str, beat: Beat) -> str:
    raise MemoryError("the array would not fit")


def torch_memory_error(payload: str, beat: Beat) -> str:
    raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


def slot(payload: str, beat: Beat) -> str:
    """Which slot it ran in: its launcher's process."""
    return str(os.getppid())


def gpu_seen(payload: str, beat: Beat) -> str:
    """The GPU of this attempt's worker, once `count` attempts are running at the same time."""
    settings = json.loads(payload)
    (Path(settings["folder"]) / f"met-{os.getpid()}").touch()
    while len(list(Path(settings["folder"]).glob("met-*"))) < settings["count"]:
        beat()
        time.sleep(0.02)
    return os.environ["CUDA_VISIBLE_DEVICES"]


def noted(payload: str, beat: Beat) -> str:
    """Add a word to a file; the first `unlucky` times, end itself or the whole worker instead of answering."""
    order = json.loads(payload)
    with Path(order["file"]).open("a") as file:
        file.write(order["word"] + "\n")
    if Path(order["file"]).read_text().split().count(order["word"]) <= order.get("unlucky", 0):
        victim = psutil.Process()
        for _ in range(order.get("generations", 0)):
            victim = victim.parent()
        victim.kill()
        time.sleep(60)
    return json.dumps(order["word"])


def ends_itself(payload: str, beat: Beat) -> str:
    """By the signal of that name, or with that exit code (`exit` through the interpreter, `_exit` past it)."""
    order = json.loads(payload)
    print("last words", flush=True)
    if "signal" in order:
        os.kill(os.getpid(), signal.Signals[order["signal"]])
        time.sleep(60)
    if "exit" in order:
        sys.exit(order["exit"])
    os._exit(order["_exit"])


def reads_null(payload: str, beat: Beat) -> str:
    return ctypes.string_at(0).decode()


def sleeps(payload: str, beat: Beat) -> str:
    order = json.loads(payload)
    if "pid_file" in order:
        written = Path(order["pid_file"] + ".part")
        written.write_text(str(os.getpid()))
        written.rename(order["pid_file"])
    end = time.monotonic() + order["seconds"]
    while time.monotonic() < end:
        time.sleep(0.02)
        if order.get("beating"):
            beat()
    return "slept"


def hangs_with_the_lock(payload: str, beat: Beat) -> str:
    ctypes.PyDLL(None).sleep(60)  # PyDLL keeps the interpreter's lock
    return "slept"


def hangs_with_the_lock_for(payload: str, beat: Beat) -> str:
    ctypes.PyDLL(None).sleep(json.loads(payload)["seconds"])
    return "slept"


def holds(payload: str, beat: Beat) -> str:
    """So many MiB, then some time."""
    order = json.loads(payload)
    memory = bytearray(order["mib"] * 2**20)
    for _ in range(order.get("forks", 0)):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    time.sleep(order["seconds"])
    return str(len(memory))


def family(payload: str, beat: Beat) -> str:
    """Start a forked child, one in its own session, and one by exec, all deaf to TERM; tell their numbers; sleep."""
    order = json.loads(payload)
    pids = [os.getpid()]
    for apart in (False, True):
        if (pid := os.fork()) == 0:
            if apart:
                os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)
            os._exit(0)
        pids.append(pid)
    pids.append(subprocess.Popen(["sh", "-c", "trap '' TERM; exec sleep 60"]).pid)
    written = Path(order["pid_file"] + ".part")
    written.write_text(json.dumps(pids))
    written.rename(order["pid_file"])
    time.sleep(order["seconds"])
    return json.dumps(pids)


def comes_back_twice(payload: str, beat: Beat) -> str:
    return "child" if os.fork() == 0 else str(time.sleep(0.2))


def shouts(payload: str, beat: Beat) -> str:
    for _ in range(20_000):
        print("x" * 100)
    os.write(2, b"\xff the end\n")
    raise RuntimeError("after much noise")


def shouts_forever(payload: str, beat: Beat) -> str:
    while True:
        os.write(1, b"x" * 65536)


def leaves_files(payload: str, beat: Beat) -> str:
    return tempfile.mkdtemp()


def fills_cgroup(payload: str, beat: Beat) -> str:
    """Enter the cgroup whose `tasks` or `cgroup.procs` file is named, and then allocate past its limit."""
    order = json.loads(payload)
    Path(order["tasks"]).write_text(str(os.getpid()))
    time.sleep(1.5)  # the watchdog looks every 0.2 s where the attempt is
    return str(len(bytearray(order["mib"] * 2**20)))
