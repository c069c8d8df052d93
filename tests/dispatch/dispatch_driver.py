"""A driver for the tests of dispatch, to be killed: argv is `inline` or `dask`, an entry, and a payload per job.

It prints `up` once all jobs run, each ending as it comes, and `done` after the last.
"""

from __future__ import annotations

import signal
import sys

from grownn_hpo.dispatch import Job, open_dispatcher


def drive(kind: str, entry: str, payloads: list[str]) -> None:
    with open_dispatcher(len(payloads), kind == "inline", preload=()) as dispatcher:
        signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
        for number, payload in enumerate(payloads):
            dispatcher.submit(Job(f"job-{number}", f"dispatch_entries:{entry}", payload))
        while len(dispatcher.running()) < len(payloads):
            dispatcher.wait(0.01)
        print("up", flush=True)
        left = len(payloads)
        while left:
            for key, ending in dispatcher.wait(1):
                print(key, ending, flush=True)
                left -= 1
    print("done", flush=True)


if __name__ == "__main__":
    drive(sys.argv[1], sys.argv[2], sys.argv[3:])
