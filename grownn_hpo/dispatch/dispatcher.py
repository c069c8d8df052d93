"""The seam: a dispatcher is given jobs and gives back how each one ended. It knows nothing of studies."""

from __future__ import annotations

import itertools
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from grownn_hpo.dispatch.endings import Ending, Job, Lost
from grownn_hpo.dispatch.slot import Slot
from grownn_hpo.errors import GrowNNError, Stopped

PREFLIGHT_ATTEMPTS = 3
"""So often is a slot asked whose answers are lost, before that itself is the answer."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a new slot is asked before it is given anything else, and what to make of its answer.

    `refusal` is given the ending of `job` and says why the slot cannot be used, or None; one slot that cannot be used
    stops the dispatcher, for the next would be no better. It is called from a thread of the dispatcher's.
    """

    job: Job
    refusal: Callable[[Ending], str | None]


class Refused(Exception):
    """A slot cannot be used, or none can be had; the message says what to do."""


class Dispatcher(Protocol):
    """Runs jobs, each in a process of its own, at most `slots` at a time, smaller priorities first.

    Every job submitted ends exactly once, unless `close` comes first. `submit` and `wait` are for one thread; `wake`
    may be called from any, and from signal handlers.
    """

    @property
    def slots(self) -> int: ...

    def submit(self, job: Job) -> None:
        """Queue a job; raises ValueError while another of the same key has not ended."""

    def wait(self, timeout: float) -> tuple[tuple[str, Ending], ...]:
        """The keys and endings since the last call, in order; waits `timeout` seconds at most for the first, or `wake`.

        Raises Stopped if there cannot be slots fit for the jobs, GrowNNError if the dispatcher itself has failed.
        """

    def news(self) -> tuple[str, ...]:
        """What befell the slots since the last call, a line each, for people."""

    def wake(self) -> None:
        """Have the current or the next `wait` return at once."""

    def running(self) -> tuple[str, ...]:
        """The keys of the jobs that have a slot, not of those that wait for one."""

    def close(self) -> None:
        """End what is running and forget what is queued, within seconds; leaves no process and no file."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Desk(ABC):
    """The driver's half of every dispatcher: what came back, waiting for it, and closing once."""

    def __init__(self) -> None:
        # SimpleQueue.put is reentrant, so that a signal handler may wake us.
        self._back: queue.SimpleQueue[tuple[str, Ending] | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._open: set[str] = set()
        self._closed = False
        self._in_slots: tuple[str, ...] = ()
        self._news: queue.SimpleQueue[str] = queue.SimpleQueue()

    def submit(self, job: Job) -> None:
        if self._closed:
            raise ValueError(f"job {job.key}: this dispatcher is closed")
        if job.key in self._open:
            raise ValueError(f"job {job.key}: one with this key has not ended yet; wait for it first")
        self._open.add(job.key)
        self._accept(job)

    def wait(self, timeout: float) -> tuple[tuple[str, Ending], ...]:
        if isinstance(self._failure, Refused):
            raise Stopped(str(self._failure)) from self._failure
        if self._failure:
            raise GrowNNError(f"the dispatcher failed ({self._failure!r}); resume the study") from self._failure
        endings = []
        try:
            endings.append(self._back.get(timeout=max(0.0, timeout)))
            while True:
                endings.append(self._back.get_nowait())
        except queue.Empty:
            pass
        self._open -= {ending[0] for ending in endings if ending}
        return tuple(ending for ending in endings if ending)

    def wake(self) -> None:
        self._back.put(None)

    def running(self) -> tuple[str, ...]:
        return self._in_slots

    def news(self) -> tuple[str, ...]:
        lines = []
        try:
            while True:
                lines.append(self._news.get_nowait())
        except queue.Empty:
            return tuple(lines)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._shut()
            self._in_slots = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fail(self, error: BaseException) -> None:
        """A thread of ours cannot go on, so nothing would ever end: the next `wait` raises."""
        self._failure = error
        self.wake()

    @abstractmethod
    def _accept(self, job: Job) -> None: ...

    @abstractmethod
    def _shut(self) -> None: ...


class Inline(Desk):
    """One slot in this process: a thread that runs job after job. No Dask, no ports."""

    slots = 1

    def __init__(self, preload: Sequence[str] = (), preflight: Preflight | None = None) -> None:
        super().__init__()
        self._preflight = preflight
        self._slot = Slot(preload)
        self._order = itertools.count()
        self._queue: queue.PriorityQueue[tuple[tuple[int, ...], int, Job | None]] = queue.PriorityQueue()
        self._thread = threading.Thread(target=self._work, name="inline dispatcher", daemon=True)
        self._thread.start()

    def _accept(self, job: Job) -> None:
        self._queue.put((job.priority, next(self._order), job))

    def _work(self) -> None:
        try:
            if self._preflight is not None and (why := self._refusal(self._preflight)):
                raise Refused(why)
            while (job := self._queue.get()[2]) is not None and not self._closed:
                self._in_slots = (job.key,)
                ending = self._slot.run(job)
                self._in_slots = ()
                self._back.put((job.key, ending))
        except BaseException as error:
            self._fail(error)

    def _refusal(self, preflight: Preflight) -> str | None:
        for _ in range(PREFLIGHT_ATTEMPTS):
            ending = self._slot.run(preflight.job)
            if self._closed:
                return None
            if not isinstance(ending, Lost):
                break
        return preflight.refusal(ending)

    def _shut(self) -> None:
        self._slot.close()
        self._queue.put(((), -1, None))  # before all others
        self._thread.join()
