"""Slots in Dask workers, wherever a Dask cluster puts them.

Dask brings the workers: encrypts what is said, notices their coming and going. It is not given a queue. A task that
Dask holds is bound to a worker before that is free, and is run again, or dropped, when the worker dies; so it gets one
task per idle worker, bound to that worker's address, and what waits, waits here.
"""

from __future__ import annotations

import bisect
import itertools
import logging
import math
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import Client, Future, WorkerPlugin, get_worker
from distributed.diagnostics.plugin import SchedulerPlugin

from grownn_hpo.dispatch import clock
from grownn_hpo.dispatch.dispatcher import PREFLIGHT_ATTEMPTS, Desk, Preflight, Refused
from grownn_hpo.dispatch.endings import Ending, Job, Lost, ending_from_json, ending_to_json
from grownn_hpo.dispatch.slot import Slot

if TYPE_CHECKING:
    from distributed.deploy.cluster import Cluster

_PLUGIN = "grownn-slot"
_GATHER_SECONDS = 10
_NEAR_ITS_END_SECONDS = 90
"""A worker that vanishes so shortly before its time is over was ended by that: Slurm may be a minute early."""

AGAIN_SECONDS = 2.0
"""After so long a worker is asked again whose preflight was lost."""

CONFIG = {
    "distributed.scheduler.allowed-failures": 0,  # a task whose worker died is not run again behind our back
    "distributed.scheduler.work-stealing": False,
    "distributed.worker.preload": [clock.__name__],
    "distributed.nanny.pre-spawn-environ": {},  # its MALLOC_TRIM_THRESHOLD_ would reach, and slow, the training
    "distributed.admin.large-graph-warning-threshold": "1GiB",  # of a payload, as far as we are concerned
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.worker.profile.enabled": False,  # samples threads that only ever wait for a socket
    # Both listen, without encryption, until they are stopped a moment later: let them have nothing to say.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}


class SlotPlugin(WorkerPlugin):  # type: ignore[misc]
    """Gives each worker its slot, as long as it lives."""

    name = _PLUGIN

    def __init__(self, preload: Sequence[str], sharing_gpus: int = 1, devices: Path | None = None) -> None:
        self.preload = tuple(preload)
        self.sharing_gpus = sharing_gpus
        self.devices = devices

    def setup(self, worker: Any) -> None:
        worker.http_server.stop()  # it listens whether or not there is a dashboard, and asks nobody for a certificate
        gpus = visible_gpus(os.environ, self.devices)
        self.slot = Slot(self.preload, gpu_of(str(worker.name), self.sharing_gpus, gpus))

    def teardown(self, worker: Any) -> None:
        self.slot.close()


def visible_gpus(environ: Mapping[str, str], devices: Path | None) -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES lists; where it is not set, the GPUs that `devices` (`/dev`) has, by CUDA's numbers."""
    if devices is None or "CUDA_VISIBLE_DEVICES" in environ:
        return tuple(gpu for gpu in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu)
    # A container has the device files of its own GPUs only, with gaps in their numbers; CUDA counts without.
    return tuple(map(str, range(len(list(devices.glob("nvidia[0-9]*"))))))


def gpu_of(worker: str, sharing: int, gpus: Sequence[str]) -> dict[str, str]:
    """The variable by which one of several workers sees its one of `gpus`; empty where there are none.

    The workers of a job, or of this machine, are numbered by the end of their names, and `sharing` neighbours share.
    """
    if not gpus:
        return {}
    number = worker.rpartition("-")[2]
    return {"CUDA_VISIBLE_DEVICES": gpus[int(number) // sharing % len(gpus)] if number.isdecimal() else gpus[0]}


def attempt_in_slot(job: Job) -> str:
    """The Dask task: one attempt, in the slot of the worker that it runs on; the ending as JSON."""
    return ending_to_json(get_worker().plugins[_PLUGIN].slot.run(job))


@dataclass(frozen=True, slots=True)
class Joined:
    """A worker has come."""

    address: str
    name: str


@dataclass(frozen=True, slots=True)
class Left:
    """A worker has gone."""

    address: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A task is done, or Dask has given it up."""

    future: Future


@dataclass(frozen=True, slots=True)
class AskAgain:
    """A worker whose preflight was lost is still there."""

    address: str


class Closing:
    """The dispatcher is being closed."""


@dataclass(slots=True)
class Worker:
    """One worker and what it is doing: its preflight first, then attempts, one at a time."""

    address: str
    name: str
    task: Future | None = None
    job: Job | None = None  # None during the preflight, and while idle
    ready: bool = False  # the preflight is behind it
    asked: int = 0  # how often the preflight was begun
    begun: int = 0  # how many attempts were begun here
    idle_since: float = field(default_factory=time.monotonic)


class _Muster(SchedulerPlugin):  # type: ignore[misc]
    """Says which workers come and go."""

    name = "grownn-muster"

    def __init__(self, events: queue.SimpleQueue[Any]) -> None:
        self._events = events

    def add_worker(self, scheduler: Any, worker: str) -> None:
        self._events.put(Joined(worker, str(scheduler.workers[worker].name)))

    def remove_worker(self, scheduler: Any, worker: str, *, stimulus_id: str, **_: Any) -> None:
        self._events.put(Left(worker))


class DaskDispatcher(Desk):
    """Jobs on the workers of a Dask cluster whose scheduler runs in this process; each worker has one thread, one slot.

    Takes the cluster over and closes it. One thread of ours owns all that changes; Dask's event loop and the driver
    only ever send it events.
    """

    def __init__(
        self,
        cluster: Cluster,
        slots: int,
        preload: Sequence[str] = (),
        preflight: Preflight | None = None,
        sharing_gpus: int = 1,
        devices: Path | None = None,
    ) -> None:
        super().__init__()
        # The cluster's `silence_logs` ends with it, and its connections may end after: with a traceback, at level INFO.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self.slots = slots
        self._cluster = cluster
        self._preflight = preflight
        self._client = Client(cluster, set_as_default=False)
        self._client.register_plugin(SlotPlugin(preload, sharing_gpus, devices))
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._order = itertools.count()
        self._waiting: list[tuple[tuple[int, ...], int, Job]] = []
        self._workers: dict[str, Worker] = {}  # by address
        cluster.sync(self._muster)
        self._thread = threading.Thread(target=self._work, name="dask dispatcher", daemon=True)
        self._thread.start()

    async def _muster(self) -> None:  # on the scheduler's event loop, so that nobody joins in between
        self._cluster.scheduler.http_server.stop()
        for address, worker in self._cluster.scheduler.workers.items():
            self._events.put(Joined(address, str(worker.name)))
        self._cluster.scheduler.add_plugin(_Muster(self._events))

    def _accept(self, job: Job) -> None:
        self._events.put(job)

    def _work(self) -> None:
        try:
            while not isinstance(event := self._events.get(), Closing):
                self._take(event)
                self._assign()
        except BaseException as error:
            self._fail(error)

    def _take(self, event: Any) -> None:
        match event:
            case Job() as job:
                bisect.insort(self._waiting, (job.priority, next(self._order), job))
            case Joined(address, name):
                worker = self._workers[address] = Worker(address, name, ready=self._preflight is None)
                if self._preflight is not None:
                    self._ask(worker, self._preflight)
            case Left(address):
                gone = self._workers.pop(address, None)
                if gone is not None and gone.job is not None:
                    self._end(gone, Lost(f"the worker at {address} has gone"))
            case AskAgain(address):
                if address in self._workers and self._preflight is not None:
                    self._ask(self._workers[address], self._preflight)
            case Ended(future):
                theirs = next((w for w in self._workers.values() if w.task is future), None)
                if theirs is not None:
                    self._done(theirs, _brought_back(future))

    def _done(self, worker: Worker, ending: Ending) -> None:
        worker.task = None
        if not worker.ready and self._preflight is not None:
            if isinstance(ending, Lost) and worker.asked < PREFLIGHT_ATTEMPTS:  # most likely it is about to be gone
                again = threading.Timer(AGAIN_SECONDS, self._events.put, [AskAgain(worker.address)])
                again.daemon = True
                again.start()
                return
            if why := self._preflight.refusal(ending):
                raise Refused(why)
            worker.ready = True
        else:
            self._end(worker, ending)
        worker.idle_since = time.monotonic()

    def _ask(self, worker: Worker, preflight: Preflight) -> None:
        worker.asked += 1
        self._begin(worker, preflight.job)

    def _assign(self) -> None:
        """Give idle workers, those idle longest first, the most urgent of the jobs that they have time for."""
        idle = sorted((w for w in self._workers.values() if w.ready and w.task is None), key=lambda w: w.idle_since)
        for worker in idle:
            left = self._seconds_left(worker)
            # One that has done nothing yet has all the time that there ever is.
            for place, (_, _, job) in enumerate(self._waiting):
                if not worker.begun or job.useful_seconds <= left:
                    del self._waiting[place]
                    worker.job = job
                    worker.begun += 1
                    self._begin(worker, job)
                    break
        self._in_slots = tuple(w.job.key for w in self._workers.values() if w.job is not None)

    def _seconds_left(self, worker: Worker) -> float:
        """For how long the worker will be there."""
        return math.inf

    def _begin(self, worker: Worker, job: Job) -> None:
        worker.task = self._client.submit(
            attempt_in_slot,
            job,
            key=f"attempt-{next(self._order)}",
            workers=[worker.address],
            allow_other_workers=False,
            retries=0,
            pure=False,
        )
        worker.task.add_done_callback(lambda done: self._events.put(Ended(done)))

    def _end(self, worker: Worker, ending: Ending) -> None:
        assert worker.job is not None
        if isinstance(ending, Lost) and self._seconds_left(worker) < _NEAR_ITS_END_SECONDS:
            ending = Lost(f"its Slurm job's time was over: {ending.reason}", had_all_time=worker.begun == 1)
        self._back.put((worker.job.key, ending))
        worker.job = None

    def _shut(self) -> None:
        self._events.put(Closing())
        self._thread.join()
        self._client.close()
        self._cluster.close()


def _brought_back(future: Future) -> Ending:
    """The ending that a done task brought back; `Lost` if Dask could not bring it."""
    try:
        return ending_from_json(future.result(timeout=_GATHER_SECONDS))
    except Exception as error:
        return Lost(f"Dask: {type(error).__name__}: {error}")


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Have the threads started here, and the processes that those start, never see Ctrl-C.

    The terminal sends it to all processes of the foreground; only the driver's main thread is to act on it.
    """
    resource_tracker.ensure_running()  # multiprocessing's: starting it later would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
