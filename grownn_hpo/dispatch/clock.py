"""Dask's timers on a clock that never steps: imported in every process of ours before a Dask event loop runs there.

Tornado counts its deadlines by the wall clock, and Dask's batched messages by the same. Set back by an hour between the
two readings (by NTP, by hand, a resumed virtual machine), such a deadline lies an hour ahead: a message waits that long
to be sent, and heartbeats are not. Both are differences of two readings only, so that any clock does.
"""

from __future__ import annotations

import time

from distributed import batched
from tornado.ioloop import IOLoop


def _monotonic(self: IOLoop) -> float:
    return time.monotonic()


IOLoop.time = _monotonic  # type: ignore[method-assign]
batched.time = time.monotonic
