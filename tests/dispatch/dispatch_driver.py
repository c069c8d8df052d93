"""A driver for the tests of dispatch, to be killed: argv is `inline` or `dask`, an entry, and a payload per job.

It prints `up` once all jobs run (or have ended), each ending as it comes, and `done` after the last.
"""

from __future__ import annotations

import signal
import sys

from grownn_hpo.dispatch import Ending, Job, open_dispatcher


def report(endings: tuple[tuple[str, Ending], ...]) -> int:
    for key, ending in endings:
        print(key, ending, flush=True)
    return len(endings)


def drive(kind: str, entry: str, payloads: list[str]) -> None:
    with open_dispatcher(len(payloads), kind == "inline", preload=()) as dispatcher:
        signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
        for number, payload in enumerate(payloads):
            dispatcher.submit(Job(f"job-{number}", f"dispatch_entries:{entry}", payload))
        left = len(payloads)
        while len(dispatcher.running()) < left:
            left -= report(dispatcher.wait(0.01))
        print("up", flush=True)
        while left:
            left -= report(dispatcher.wait(1))
    print("done", flush=True)


if __name__ == "__main__":
    drive(sys.argv[1], sys.argv[2], sys.argv[3:])
