"""Slots in Slurm jobs that come, go and are replaced.

dask-jobqueue writes, submits and cancels the jobs, and runs Dask's scheduler in the driver. It takes a job for alive
until its worker has come and gone; so Slurm itself is asked, and `fleet` decides.
"""

from __future__ import annotations

import logging
import math
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import psutil
from distributed.utils import get_ip

from grownn_hpo.dispatch.dispatcher import Preflight, Refused
from grownn_hpo.dispatch.endings import Job
from grownn_hpo.dispatch.fleet import Orders, Why, WorkerJob, orders
from grownn_hpo.dispatch.keys import new_security
from grownn_hpo.dispatch.scratch import Scratch
from grownn_hpo.dispatch.squeue import Queued, QueueSilent, cancel, queued
from grownn_hpo.dispatch.worker_job import SETTINGS, WorkerCluster, job_arguments, worker_job_name
from grownn_hpo.dispatch.workers import CONFIG, DaskDispatcher, Joined, Left, Worker, interrupts_blocked
from grownn_hpo.errors import Fault, InputError, Stopped
from grownn_hpo.spec.cluster import SlurmProfile

ASK_SECONDS = 10.0
"""How often Slurm is asked when nothing happens; a worker that goes makes us ask at once."""
SHORTEST_SECONDS = 1.0
"""How often at most."""
WAITING_SECONDS = 60.0
"""How often we say that there is no worker yet."""
LONGEST_PAUSE_SECONDS = 120.0
STILLBORN_LIMIT = 3
"""So many jobs in a row may run and end without their workers reaching the driver."""
_LOG_TAIL = 1500


@dataclass(frozen=True, slots=True)
class _Seen:
    """What Slurm said when it was asked at `asked_at`."""

    jobs: Mapping[str, Queued]
    asked_at: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """What became of asking for jobs: their ids by name, and why those without one were not granted."""

    job_ids: Mapping[str, str | None]
    trouble: str


@dataclass(slots=True)
class _Asking:
    """One worker job, from the moment that it is to be asked for."""

    name: str
    job_id: str | None = None
    known_since: float = math.inf
    seen: Queued | None = None
    looked: bool = False  # Slurm was asked since we know the id
    ends_at: float = math.inf
    joined: bool = False
    told: bool = False
    running_since: float = math.inf
    silent_since: float = math.inf
    workers: dict[str, Worker] = field(default_factory=dict)


class SlurmDispatcher(DaskDispatcher):
    """Attempts in Slurm jobs, as many jobs as there is work for, between the profile's least and most.

    `folder`, which the nodes see too, takes the jobs' logs and, while we live, the keys of the encryption; it is for
    this user alone. Jobs of the same `label` that a driver before this one left behind are cancelled.
    """

    def __init__(
        self,
        profile: SlurmProfile,
        label: str,
        folder: Path,
        preload: Sequence[str] = (),
        preflight: Preflight | None = None,
    ) -> None:
        self._profile, self._label, self._folder = profile, label, folder
        self._fleet: dict[str, _Asking] = {}
        self._count = 0
        self._granted_any = False
        self._not_before, self._pause = 0.0, 5.0
        self._stillborn = 0
        self._told_waiting = time.monotonic()
        self._look, self._closing = threading.Event(), threading.Event()
        with ExitStack() as stack:
            keys = Scratch(folder)
            stack.callback(keys.remove)
            stack.enter_context(dask.config.set({**CONFIG, **SETTINGS}))
            # Dask's own way of giving a lost job up is slower than asking Slurm, and would be a second one.
            stack.enter_context(dask.config.set({"distributed.deploy.lost-worker-timeout": "1000 days"}))
            try:
                cancel(list(queued(worker_job_name(label))))
            except QueueSilent as error:
                raise Stopped(f"Slurm does not answer: {error}") from error
            with interrupts_blocked():
                cluster = WorkerCluster(
                    n_workers=0,
                    name="grownn",
                    security=new_security(),
                    shared_temp_directory=str(keys.path),
                    scheduler_options={
                        **_where(profile),
                        "dashboard": False,
                        "dashboard_address": "127.0.0.1:0",
                    },
                    silence_logs=logging.CRITICAL,
                    **job_arguments(profile, label, folder),
                )
                stack.callback(_forget_keys, cluster)
                stack.callback(cluster.close)
                super().__init__(
                    cluster, profile.slots, preload, preflight, max(1, profile.segments // max(1, profile.gpus))
                )
                self._poller = threading.Thread(target=self._ask_slurm, name="slurm", daemon=True)
                self._poller.start()
            self._after = stack.pop_all()
        self._look.set()

    def _shut(self) -> None:
        self._closing.set()
        self._look.set()
        self._poller.join()
        with self._after:
            super()._shut()
            # What was being asked for while we closed is not known to Dask.
            with suppress(QueueSilent):
                cancel(list(queued(worker_job_name(self._label))))

    def _ask_slurm(self) -> None:
        answered = time.monotonic()
        while not self._closing.is_set():
            self._look.wait(ASK_SECONDS)
            self._look.clear()
            if self._closing.wait(SHORTEST_SECONDS):  # whatever ended a worker ends its job in a moment
                return
            asked_at = time.monotonic()
            try:
                self._events.put(_Seen(queued(worker_job_name(self._label)), asked_at))
                answered = asked_at
            except QueueSilent as error:
                if asked_at - answered >= WAITING_SECONDS:
                    answered = asked_at
                    self._news.put(f"Slurm does not answer, and is asked again: {error}")

    def _take(self, event: Any) -> None:
        super()._take(event)
        match event:
            case Job():
                if (
                    self._segments > len(self._fleet) * self._profile.segments
                    and len(self._fleet) < self._profile.jobs.at_most
                ):
                    self._look.set()
            case Joined(address, name):
                job = self._job_of(name)
                if job is not None:
                    job.workers[address] = self._workers[address]
                    job.joined, self._stillborn = True, 0
                    self._look.set()  # for how long it will be there
            case Left(address):
                for job in self._fleet.values():
                    job.workers.pop(address, None)
                self._look.set()
            case _Asked(job_ids, trouble):
                self._asked(job_ids, trouble)
            case _Seen(jobs, asked_at):
                self._see(jobs, asked_at)
                self._decide()

    @property
    def _segments(self) -> int:
        """How many jobs of the driver's are under way or wait."""
        return len(self._waiting) + sum(worker.job is not None for worker in self._workers.values())

    def _job_of(self, worker: str) -> _Asking | None:
        """The job of a worker: in jobs of several, their names end in a number of their own."""
        return self._fleet.get(worker) or self._fleet.get(worker.rpartition("-")[0])

    def _seconds_left(self, worker: Worker) -> float:
        job = self._job_of(worker.name)
        return math.inf if job is None else job.ends_at - time.monotonic()

    def _see(self, jobs: Mapping[str, Queued], asked_at: float) -> None:
        for job in self._fleet.values():
            if job.job_id is None or asked_at < job.known_since:
                continue
            job.looked, job.seen = True, jobs.get(job.job_id)
            if job.seen is not None and job.seen.running:
                job.running_since = min(job.running_since, asked_at)
                job.silent_since = math.inf if job.workers else min(job.silent_since, asked_at)
                job.ends_at = asked_at + job.seen.seconds_left
                if job.workers and not job.told:
                    job.told = True
                    self._news.put(f"Slurm job {job.job_id} is at work on {job.seen.node}")
        waiting = [job.seen for job in self._fleet.values() if job.seen is not None and job.seen.waiting]
        if any(job.workers for job in self._fleet.values()) or not waiting:
            self._told_waiting = time.monotonic()
        elif time.monotonic() - self._told_waiting >= WAITING_SECONDS:
            self._told_waiting = time.monotonic()
            reasons = ", ".join(sorted({seen.reason for seen in waiting}))
            self._news.put(f"no worker yet; waiting in Slurm's queue: {_jobs(len(waiting))} ({reasons})")

    def _decide(self) -> None:
        now = time.monotonic()
        jobs = [
            WorkerJob(
                name=job.name,
                known=job.looked,
                seen=job.seen,
                workers=len(job.workers),
                busy=sum(worker.task is not None for worker in job.workers.values()),
                idle_seconds=now - max((worker.idle_since for worker in job.workers.values()), default=now),
                useless=self._useless(job),
                silent_seconds=max(0.0, now - job.silent_since),
            )
            for job in self._fleet.values()
        ]
        profile = self._profile
        what = orders(jobs, self._segments, profile.segments, profile.jobs.at_least, profile.jobs.at_most)
        if what.ask_for and now < self._not_before:
            what = Orders(what.give_up, 0)
        if what.give_up or what.ask_for:
            self._carry_out(what)

    def _useless(self, job: _Asking) -> bool:
        left = job.ends_at - time.monotonic()
        idle = [worker for worker in job.workers.values() if worker.ready and worker.task is None and worker.begun]
        return bool(idle and self._waiting) and all(waits.useful_seconds > left for _, _, waits in self._waiting)

    def _carry_out(self, what: Orders) -> None:
        gone: list[str] = []
        for name, why in what.give_up.items():
            job = self._fleet[name]
            for address in [*job.workers]:  # Dask may not have noticed, and nothing more is to be begun there
                super()._take(Left(address))
                gone.append(address)
            del self._fleet[name]
            self._count_stillborn(job)
            self._news.put(f"Slurm job {job.job_id} {why}" + ("" if why is Why.ENDED else "; it is given up"))
        new = []
        for _ in range(what.ask_for):
            new.append(f"grownn-{self._count}")
            self._fleet[new[-1]] = _Asking(new[-1])
            self._count += 1
        self._cluster.loop.add_callback(self._on_the_loop, list(what.give_up), gone, new)

    async def _on_the_loop(self, names: list[str], addresses: list[str], new: list[str]) -> None:
        cluster, trouble = self._cluster, ""
        try:
            for address in addresses:
                await cluster.scheduler.remove_worker(address, stimulus_id="grownn-job-given-up", close=True)
            for name in names:
                cluster.worker_spec.pop(name, None)
            cluster.worker_spec.update(dict.fromkeys(new, cluster.new_spec))
            await cluster._correct_state()
        except Exception as error:  # whatever dask-jobqueue makes of a refusal
            trouble = _said_by_sbatch(error)
        job_ids = {}
        for name in new:
            job = cluster.workers.get(name)
            job_ids[name] = None if job is None else job.job_id
            if job_ids[name] is None:
                cluster.worker_spec.pop(name, None)
                cluster.workers.pop(name, None)
        self._events.put(_Asked(job_ids, trouble))

    def _asked(self, job_ids: Mapping[str, str | None], trouble: str) -> None:
        granted = []
        for name, job_id in job_ids.items():
            if job_id is None:
                del self._fleet[name]
            else:
                granted.append(job_id)
                self._fleet[name].job_id, self._fleet[name].known_since = job_id, time.monotonic()
        if granted:
            self._granted_any, self._pause = True, 5.0
            self._news.put(f"asked Slurm for {_jobs(len(granted))} ({', '.join(granted)})")
        if trouble and not self._granted_any:
            raise Refused(f"Slurm refuses worker jobs: {trouble}")
        if trouble:
            self._not_before = time.monotonic() + self._pause
            self._news.put(f"Slurm refuses a worker job, which is asked for again in {self._pause:.0f} s: {trouble}")
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _count_stillborn(self, job: _Asking) -> None:
        log = self._folder / f"worker-{job.job_id}.log"
        ran = job.running_since < math.inf or log.exists()
        if job.joined or not ran:  # cancelled while it waited: somebody's decision
            return
        self._stillborn += 1
        if self._stillborn >= STILLBORN_LIMIT:
            said = log.read_text(errors="replace")[-_LOG_TAIL:].strip() if log.exists() else "nothing"
            raise Refused(
                f"{self._stillborn} worker jobs in a row ended before their workers reached the driver."
                f" The last one's log, {log}, says:\n{said}\n"
                "Look at `before`, `python` and `interface` in the cluster profile"
            )


def _forget_keys(cluster: WorkerCluster) -> None:
    """Delete the files that dask-jobqueue wrote the keys to; it would do so some time after their folder is gone."""
    for name in ("_job_ca_file", "_job_cert", "_job_key"):
        getattr(cluster, name).close()


def _where(profile: SlurmProfile) -> dict[str, str]:
    """Where the scheduler listens: on the profile's interface, else on the address that leads to the nodes."""
    if profile.interface is not None:
        return {"interface": profile.interface}
    node = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--format=%o"], capture_output=True, text=True, timeout=60, check=False
    ).stdout.split()
    try:
        return {"host": get_ip(node[0]) if node else get_ip()}
    except OSError:  # a name that this machine cannot resolve
        return {"host": get_ip()}


def check_interface(profile: SlurmProfile, file: str) -> None:
    """InputError if this machine has not the interface that the profile names."""
    known = psutil.net_if_addrs()
    if profile.interface is not None and profile.interface not in known:
        rule = f"this machine has no such network interface; it has {', '.join(known)}"
        raise InputError(Fault(file, "interface", profile.interface, rule))


def _jobs(number: int) -> str:
    return f"{number} worker job" + ("s" if number != 1 else "")


def _said_by_sbatch(error: Exception) -> str:
    """The part of dask-jobqueue's message that `sbatch` wrote."""
    _, found, after = str(error).partition("stderr:\n")
    return " ".join((after if found else str(error)).split()) or repr(error)
