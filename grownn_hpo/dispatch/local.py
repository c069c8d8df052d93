"""Slots in Dask workers on this machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack

import dask
from distributed import LocalCluster, Security

from grownn_hpo.dispatch.dispatcher import Preflight
from grownn_hpo.dispatch.scratch import Scratch
from grownn_hpo.dispatch.workers import CONFIG, DaskDispatcher, interrupts_blocked
from grownn_hpo.errors import GrowNNError


class DaskLocal(DaskDispatcher):
    """`workers` Dask workers on this machine: encrypted, on the loopback interface alone, without a dashboard."""

    def __init__(self, workers: int, preload: Sequence[str] = (), preflight: Preflight | None = None) -> None:
        with ExitStack() as stack:
            scratch = Scratch()
            stack.callback(scratch.remove)
            # A broken connection tells of a dead worker on the same machine. A time limit would tell of a laptop that
            # slept, or a driver stopped by Ctrl-Z, and give up workers that are well.
            here = {"temporary-directory": str(scratch.path), "distributed.scheduler.worker-ttl": None}
            stack.enter_context(dask.config.set({**CONFIG, **here}))
            with interrupts_blocked():
                try:
                    cluster = LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        processes=True,
                        host="127.0.0.1",
                        protocol="tls://",
                        security=Security.temporary(),
                        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                        memory_limit=None,  # workers hold next to nothing; attempts are watched by their launchers
                        local_directory=str(scratch.path),
                        silence_logs=logging.CRITICAL,
                    )
                except Exception as error:
                    raise GrowNNError(f"{workers} Dask workers did not start on this machine: {error}") from error
                stack.callback(cluster.close)
                super().__init__(cluster, workers, preload, preflight)
            self._after = stack.pop_all()

    def _shut(self) -> None:
        with self._after:
            super()._shut()
