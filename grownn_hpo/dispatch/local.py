"""Slots in Dask workers on this machine."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import dask
from distributed import LocalCluster
from tornado.ioloop import PeriodicCallback

from grownn_hpo.dispatch.dispatcher import Preflight
from grownn_hpo.dispatch.keys import new_security
from grownn_hpo.dispatch.scratch import Scratch
from grownn_hpo.dispatch.workers import CONFIG, DaskDispatcher, interrupts_blocked
from grownn_hpo.errors import Stopped

DEVICES = Path("/dev")
START_ATTEMPTS = 3
LOOK_SECONDS = 1.0
FROZEN_LOOKS = 30
"""A worker that was not heard of through so many looks is frozen: it is heard of about twice a second."""


class DaskLocal(DaskDispatcher):
    """`workers` Dask workers on this machine: encrypted, on the loopback interface alone, without a dashboard."""

    def __init__(self, workers: int, preload: Sequence[str] = (), preflight: Preflight | None = None) -> None:
        with ExitStack() as stack:
            scratch = Scratch()
            stack.callback(scratch.remove)
            # A broken connection tells of a dead worker on the same machine, and `_look` of a frozen one. Dask's time
            # limit would tell of a laptop that slept, or a clock set forward, and give up workers that are well.
            here = {"temporary-directory": str(scratch.path), "distributed.scheduler.worker-ttl": None}
            stack.enter_context(dask.config.set({**CONFIG, **here}))
            with interrupts_blocked():
                cluster = _started(workers, scratch)
                stack.callback(cluster.close)
                super().__init__(cluster, workers, preload, preflight, devices=DEVICES)
            self._silent: dict[str, tuple[float, int]] = {}
            self._pulse = PeriodicCallback(self._look, LOOK_SECONDS * 1000)
            cluster.sync(self._watch)
            self._after = stack.pop_all()

    async def _watch(self) -> None:  # on the scheduler's event loop
        self._pulse.start()

    def _look(self) -> None:
        """Kill workers that are frozen; their nannies start others. Counts looks, so that a sleep is but one."""
        seen = {address: state.last_seen for address, state in self._cluster.scheduler.workers.items()}
        before, self._silent = self._silent, {}
        for address, moment in seen.items():
            latest, looks = before.get(address, (moment, 0))
            looks = looks + 1 if latest == moment else 0
            self._silent[address] = moment, looks
            if looks == FROZEN_LOOKS:
                self._kill(address)

    def _kill(self, address: str) -> None:
        for nanny in self._cluster.workers.values():
            if nanny.worker_address == address and nanny.pid is not None:
                seconds = FROZEN_LOOKS * LOOK_SECONDS
                self._news.put(f"the worker at {address} was frozen: no sign of life for {seconds:.0f} s; replaced")
                with suppress(ProcessLookupError):
                    os.kill(nanny.pid, signal.SIGKILL)

    def _shut(self) -> None:
        with self._after:
            self._cluster.sync(self._rest)
            super()._shut()

    async def _rest(self) -> None:
        self._pulse.stop()


def _started(workers: int, scratch: Scratch) -> LocalCluster:
    """The cluster with all its workers up; Stopped if they do not come, and not when asked again either."""
    for left in reversed(range(START_ATTEMPTS)):  # one that is killed while it starts fails the whole start
        try:
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                protocol="tls://",
                security=new_security(),
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                memory_limit=None,  # workers hold next to nothing; attempts are watched by their launchers
                local_directory=str(scratch.path),
                silence_logs=logging.CRITICAL,
            )
        except Exception as error:
            if not left:
                raise Stopped(
                    f"{workers} Dask workers did not start on this machine, {START_ATTEMPTS} times in a row: {error}."
                    " Is there memory for them, or a limit on processes? --workers 0 does without them"
                ) from error
    raise AssertionError("range ends at 0")
