"""A worker's Slurm job: its script, and asking for it."""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask
from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed.core import Status

from grownn_hpo.dispatch.job_script import output, outside
from grownn_hpo.spec.cluster import SlurmProfile

DEATH_SECONDS = 60
"""How long a worker looks for a driver that is not there."""

# A section of our own: what a site or a user has configured for dask-jobqueue is meant for other programs.
SECTION = "grownn"
NOTHING: Mapping[str, object] = {
    **dict.fromkeys(("cores", "memory", "python", "processes", "interface", "local-directory")),
    **dict.fromkeys(("queue", "account", "project", "job-cpu", "job-mem", "walltime", "log-directory")),
    **dict.fromkeys(("extra", "job-extra", "env-extra", "header-skip", "shared-temp-directory")),
    **{key: [] for key in ("worker-extra-args", "job-extra-directives", "job-script-prologue", "job-directives-skip")},
    "name": "grownn",
    "death-timeout": DEATH_SECONDS,
    "worker-command": "",
    "shebang": "#!/usr/bin/env bash",
    "scheduler-options": {},
}
SETTINGS = {f"jobqueue.{SECTION}": NOTHING}


def worker_script(profile: SlurmProfile, label: str, logs: Path) -> str:
    """The script of a worker job, with words in capitals for what is only known once the driver runs."""
    with dask.config.set(SETTINGS):
        job = SLURMJob("tls://DRIVER:PORT", name="grownn-NUMBER", **job_arguments(profile, label, logs))
    script: str = job.job_script()
    return script.rstrip() + " --protocol tls:// --tls-ca-file FILE --tls-cert FILE --tls-key FILE\n"


def job_arguments(profile: SlurmProfile, label: str, logs: Path) -> dict[str, Any]:
    """What dask-jobqueue is told of the jobs."""
    mebibytes = math.ceil(profile.memory_gib * 1024)
    before = ["umask 077", *profile.before]
    if profile.scratch is not None:
        before += [f'export TMPDIR="{profile.scratch}"', 'mkdir -p "$TMPDIR"']
    directives = [output(logs, "worker-%j.log"), "--no-requeue"]
    if profile.gpus:
        directives.append(f"--gres=gpu:{profile.gpus}")
    return {
        "config_name": SECTION,
        "queue": profile.partition,
        "account": profile.account,
        "walltime": profile.walltime,
        "job_cpu": profile.cores,
        "job_mem": f"{mebibytes}M",
        "cores": profile.segments,
        "processes": profile.segments,
        "memory": f"{mebibytes}MiB",
        "job_name": worker_job_name(label),
        "job_extra_directives": [*directives, *profile.directives],
        "job_script_prologue": before,
        "interface": profile.interface,
        "python": f"{shlex.quote(profile.python or sys.executable)} -P",  # not what lies in the current folder
        "worker_command": "grownn_hpo.dispatch.node",
        "worker_extra_args": ["--nworkers", str(profile.segments), "--no-dashboard"],
        "death_timeout": DEATH_SECONDS,
        # Where Dask would otherwise put a folder of its own into the current one.
        "local_directory": '"${TMPDIR:-/tmp}"',
    }


def worker_job_name(label: str) -> str:
    """The name of a driver's worker jobs in Slurm's queue."""
    return f"grownn-worker-{label}"


class _WorkerJob(SLURMJob):  # type: ignore[misc]
    """A worker job, asked for without what an enclosing job's environment would tell `sbatch`."""

    async def start(self) -> None:
        """Ask Slurm for it; raises RuntimeError, with what `sbatch` says, if it is refused."""
        try:
            await super().start()
        except BaseException:
            self.status = Status.failed  # else the cluster could never be closed: it waits for what has begun
            raise

    async def _submit_job(self, script_filename: str) -> Any:
        return await self._call(["sbatch", "--parsable", script_filename], env=outside(os.environ))


class WorkerCluster(SLURMCluster):  # type: ignore[misc]
    """A Dask cluster of such jobs."""

    job_cls = _WorkerJob
