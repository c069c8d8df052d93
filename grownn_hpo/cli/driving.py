"""Driving arms from the command line: workers, the live view, and stopping when asked."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

from grownn_hpo.cli.lines import environments_told, status_line
from grownn_hpo.cli.live import Display
from grownn_hpo.cli.wording import printable
from grownn_hpo.driver.arms import OpenArm
from grownn_hpo.driver.loop import drive
from grownn_hpo.driver.run import ArmRun
from grownn_hpo.driver.site import Site
from grownn_hpo.errors import InputError, Stopped
from grownn_hpo.report.status import ArmStatus, arm_status
from grownn_hpo.spec.cluster import SlurmProfile, load_profile

STOPPED = 3


def site_of(workers: int | None, cluster: Path | None) -> Site:
    """Where to train: `--workers` (one per core unless told, one for 0, without Dask) or the profile of `--cluster`."""
    if cluster is not None:
        if workers is not None:
            raise InputError(f"--workers {workers} --cluster {cluster}: the profile says how many; leave --workers out")
        profile = load_profile(cluster)
        if isinstance(profile, SlurmProfile):
            return Site(profile.slots, profile=profile, file=str(cluster))
        workers = profile.workers
    return Site(max(1, workers if workers is not None else len(os.sched_getaffinity(0))), inline=workers == 0)


def drive_arms(
    opened: Sequence[OpenArm],
    site: Site,
    path: Path,
    take_over: bool = False,
    summary: bool = True,
    again: str | None = None,
) -> None:
    """Drive the arms to their end, with a live view, and sum up.

    Raises Stopped with what to type next: `again`, or `grownn resume` of `path`.
    """
    site.check([each.arm for each in opened], str(path), opened[0].folder.root.parent)
    cluster = f" --cluster {site.file}" if site.profile is not None else ""
    console = Console(stderr=True, highlight=False, markup=False)
    try:
        _drive(opened, site, path, take_over, summary, console)
    except Stopped as error:
        raise Stopped(f"{error}\nGo on with: {again or f'grownn resume {path}{cluster}'}") from None


def _drive(opened: Sequence[OpenArm], site: Site, path: Path, take_over: bool, summary: bool, console: Console) -> None:
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(ArmRun(each, take_over)) for each in opened]
        for run in runs:
            for line in run.begun_with:
                console.print(printable(f"{run.folder.root}: {line}"), soft_wrap=True)

        def statuses() -> list[ArmStatus]:
            return [arm_status(run.folder, run.arm, run.ledger, dict(run.brackets), dict(run.outcomes)) for run in runs]

        unfinished = [run for run in runs if not run.plan().complete]
        if unfinished:
            with stopping() as stop, site.open(unfinished) as dispatcher, Display(console, statuses) as display:
                pace = drive(unfinished, dispatcher, display.line, stop)
            console.print(pace.told(), soft_wrap=True)
        if summary:
            arm = opened[0].folder.root if len(opened) == 1 else f"{path}/ARM"
            for status in statuses():
                console.print(status_line(status), soft_wrap=True)
                if status.environments:
                    console.print(environments_told(status), soft_wrap=True)
            console.print(f"Next: grownn report {path}; grownn export {arm} -o incumbent.yaml", soft_wrap=True)


@contextlib.contextmanager
def stopping() -> Iterator[threading.Event]:
    """Set on the first SIGINT, SIGTERM or SIGHUP; a second SIGINT ends the process at once, which harms nothing."""
    stop = threading.Event()

    def asked(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            if number == signal.SIGINT:
                os._exit(STOPPED)
            return  # Slurm and the job's own shell may both send TERM, and mean one stop
        stop.set()
        print("\nstopping; once more to stop at once", file=sys.stderr)

    heeded = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup it is meant to go on
        heeded.append(signal.SIGHUP)
    before = {number: signal.signal(number, asked) for number in heeded}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
