"""A job's process with descendants; each appends what befalls it to a file: its name, process, the event, the time.

    python spreading.py FILE [deaf]

`child` is an ordinary child, `session` has a session of its own, and `orphan` one too and a parent that has ended. All
end on SIGTERM, unless deaf.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

file, mode, name = sys.argv[1], (sys.argv[2:] or ["mortal"])[0], (sys.argv[3:] or ["root"])[0]


def tell(event: str) -> None:
    with open(file, "a") as out:  # noqa: PTH123 (one write, appended as a whole)
        out.write(f"{name} {os.getpid()} {event} {time.time():.3f}\n")


def on_term(number: int, frame: object) -> None:
    tell("SIGTERM")
    if mode != "deaf":
        os._exit(0)


signal.signal(signal.SIGTERM, on_term)
if name == "root":
    mine = [sys.executable, __file__, file, mode]
    subprocess.Popen([*mine, "child"])
    subprocess.Popen([*mine, "session"], start_new_session=True)
    subprocess.run(["sh", "-c", 'setsid "$@" & exit 0', "sh", *mine, "orphan"], check=True)
tell("start")
while True:
    time.sleep(1)
