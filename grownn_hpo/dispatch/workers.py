"""Slots in Dask workers, on this machine or, by the same base, wherever a Dask cluster puts them.

Dask brings the workers: starts and replaces them, encrypts what is said, notices their deaths. It is not given a queue.
A task that Dask holds is bound to a worker before that is free, and is run again, or dropped, when the worker dies; so
it gets one task per idle worker, bound to that worker's address, and what waits, waits here.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, Future, LocalCluster, Security, WorkerPlugin, get_worker
from distributed.diagnostics.plugin import SchedulerPlugin

from grownn_hpo.dispatch.dispatcher import Desk
from grownn_hpo.dispatch.endings import Ending, Job, Lost, ending_from_json, ending_to_json
from grownn_hpo.dispatch.scratch import Scratch
from grownn_hpo.dispatch.slot import Slot
from grownn_hpo.errors import GrowNNError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed.deploy.cluster import Cluster

_PLUGIN = "grownn-slot"
_GATHER_SECONDS = 10

CONFIG = {
    "distributed.scheduler.allowed-failures": 0,  # a task whose worker died is not run again behind our back
    "distributed.scheduler.work-stealing": False,
    "distributed.nanny.pre-spawn-environ": {},  # its MALLOC_TRIM_THRESHOLD_ would reach, and slow, the training
    "distributed.admin.large-graph-warning-threshold": "1GiB",  # of a payload, as far as we are concerned
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.worker.profile.enabled": False,  # samples threads that only ever wait for a socket
}


class SlotPlugin(WorkerPlugin):  # type: ignore[misc]
    """Gives each worker its slot, as long as it lives."""

    name = _PLUGIN

    def __init__(self, preload: Sequence[str]) -> None:
        self.preload = tuple(preload)

    def setup(self, worker: Any) -> None:
        worker.http_server.stop()  # it listens whether or not there is a dashboard, and asks nobody for a certificate
        self.slot = Slot(self.preload)

    def teardown(self, worker: Any) -> None:
        self.slot.close()


def attempt_in_slot(job: Job) -> str:
    """The Dask task: one attempt, in the slot of the worker that it runs on; the ending as JSON."""
    return ending_to_json(get_worker().plugins[_PLUGIN].slot.run(job))


@dataclass(frozen=True, slots=True)
class _Joined:
    worker: str


@dataclass(frozen=True, slots=True)
class _Left:
    worker: str


@dataclass(frozen=True, slots=True)
class _Ended:
    future: Future


class _Closing:
    pass


_Event = Job | _Joined | _Left | _Ended | _Closing


class _Muster(SchedulerPlugin):  # type: ignore[misc]
    """Says which workers come and go."""

    name = "grownn-muster"

    def __init__(self, events: queue.SimpleQueue[_Event]) -> None:
        self._events = events

    def add_worker(self, scheduler: Any, worker: str) -> None:
        self._events.put(_Joined(worker))

    def remove_worker(self, scheduler: Any, worker: str, *, stimulus_id: str, **_: Any) -> None:
        self._events.put(_Left(worker))


class DaskDispatcher(Desk):
    """Jobs on the workers of a Dask cluster whose scheduler runs in this process; each worker has one thread, one slot.

    Takes the cluster over and closes it. One thread of ours owns all that changes; Dask's event loop and the driver
    only ever send it events.
    """

    def __init__(self, cluster: Cluster, slots: int, preload: Sequence[str] = ()) -> None:
        super().__init__()
        self.slots = slots
        self._cluster = cluster
        self._client = Client(cluster, set_as_default=False)
        self._client.register_plugin(SlotPlugin(preload))
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._order = itertools.count()
        self._waiting: list[tuple[tuple[int, ...], int, Job]] = []
        self._idle: dict[str, None] = {}  # addresses, the one that has been idle longest first
        self._busy: dict[str, tuple[str, Future]] = {}  # by address: the job's key and its task
        cluster.sync(self._muster)
        self._thread = threading.Thread(target=self._work, name="dask dispatcher", daemon=True)
        self._thread.start()

    async def _muster(self) -> None:  # on the scheduler's event loop, so that nobody joins in between
        self._cluster.scheduler.http_server.stop()
        for worker in self._cluster.scheduler.workers:
            self._events.put(_Joined(worker))
        self._cluster.scheduler.add_plugin(_Muster(self._events))

    def _accept(self, job: Job) -> None:
        self._events.put(job)

    def _work(self) -> None:
        try:
            self._follow_events()
        except BaseException as error:
            self._fail(error)

    def _follow_events(self) -> None:
        while not isinstance(event := self._events.get(), _Closing):
            match event:
                case Job() as job:
                    heapq.heappush(self._waiting, (job.priority, next(self._order), job))
                case _Joined(worker):
                    self._idle[worker] = None
                case _Left(worker):
                    self._idle.pop(worker, None)
                    self._end(worker, Lost(f"the worker at {worker} has gone"))
                case _Ended(future):
                    for worker, (_, theirs) in list(self._busy.items()):
                        if theirs is future:
                            self._end(worker, _ending(future))
                            self._idle[worker] = None
            while self._waiting and self._idle:
                worker = next(iter(self._idle))
                del self._idle[worker]
                self._start(heapq.heappop(self._waiting)[2], worker)

    def _start(self, job: Job, worker: str) -> None:
        future = self._client.submit(
            attempt_in_slot,
            job,
            key=f"attempt-{next(self._order)}",
            workers=[worker],
            allow_other_workers=False,
            retries=0,
            pure=False,
        )
        self._busy[worker] = job.key, future
        self._in_slots = tuple(key for key, _ in self._busy.values())
        future.add_done_callback(lambda done: self._events.put(_Ended(done)))

    def _end(self, worker: str, ending: Ending) -> None:
        if worker in self._busy:
            key, future = self._busy.pop(worker)
            future.release()
            self._in_slots = tuple(key for key, _ in self._busy.values())
            self._back.put((key, ending))

    def _shut(self) -> None:
        self._events.put(_Closing())
        self._thread.join()
        self._client.close()
        self._cluster.close()


def _ending(future: Future) -> Ending:
    """The ending that a done task brought back; `Lost` if Dask could not bring it."""
    try:
        return ending_from_json(future.result(timeout=_GATHER_SECONDS))
    except Exception as error:
        return Lost(f"Dask: {type(error).__name__}: {error}")


class DaskLocal(DaskDispatcher):
    """`workers` Dask workers on this machine: encrypted, on the loopback interface alone, without a dashboard."""

    def __init__(self, workers: int, preload: Sequence[str] = ()) -> None:
        with ExitStack() as stack:
            scratch = Scratch()
            stack.callback(scratch.remove)
            # A broken connection tells of a dead worker on the same machine. A time limit would tell of a laptop that
            # slept, or a driver stopped by Ctrl-Z, and give up workers that are well.
            here = {"temporary-directory": str(scratch.path), "distributed.scheduler.worker-ttl": None}
            stack.enter_context(dask.config.set({**CONFIG, **here}))
            with _interrupts_blocked():
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
                super().__init__(cluster, workers, preload)
            self._after = stack.pop_all()

    def _shut(self) -> None:
        with self._after:
            super()._shut()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Have the threads started here, and the processes that those start, never see Ctrl-C.

    The terminal sends it to all processes of the foreground; only the driver's main thread is to act on it.
    """
    resource_tracker.ensure_running()  # multiprocessing's: starting it later would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
