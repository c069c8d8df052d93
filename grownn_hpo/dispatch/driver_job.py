"""The driver as a Slurm job of its own: its script, a pure function of its arguments, and handing it to Slurm.

The job stops the driver cleanly before its walltime and requeues itself, until the driver ends for another reason.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from grownn_hpo.dispatch.job_script import output, outside
from grownn_hpo.errors import GrowNNError, InputError, Stopped
from grownn_hpo.spec.cluster import SlurmProfile

NOTICE_SECONDS = 300
"""So long before its walltime a driver is told to stop: time for the workers' results under way to arrive."""
_ANSWER_SECONDS = 60

# A `wait` ends when a trap has run; bash keeps the child's exit code for the next one. A code above 128 is that of a
# driver ended by the signal before it could listen, or by the KILL.
_BODY = """\
cd {folder} || exit
{before}set +eu
echo "== $(date -Is): start $((${{SLURM_RESTART_COUNT:-0}} + 1)) of job $SLURM_JOB_ID, on $(hostname)"
asked=
{command} &
driver=$!
# USR1: the walltime is near. TERM: scancel or preemption, which at most sites reach this shell alone.
trap 'asked=walltime; kill -TERM "$driver" 2>/dev/null' USR1
trap 'asked=cancel; kill -TERM "$driver" 2>/dev/null' TERM
wait "$driver"
code=$?
if [ -n "$asked" ]; then
    for ((second = 0; second < {patience}; second++)); do
        kill -0 "$driver" 2>/dev/null || break
        sleep 1
    done
    kill -KILL "$driver" 2>/dev/null
    wait "$driver"
    code=$?
fi
# Stopped for the walltime, resumable: this job goes back into the queue, and goes on when it starts again.
if [ "$code" -eq {stopped} ] || [ "$code" -gt 128 ]; then
    while [ "$asked" = walltime ] && ! scontrol requeue "$SLURM_JOB_ID"; do
        sleep 10
    done
fi
echo "== $(date -Is): the driver ended with exit code $code${{asked:+, asked to stop: $asked}}"
exit "$code"
"""


def job_name(study: str, folder: Path) -> str:
    """The name of the driver's job for the study in `folder`: one name, by whichever path the folder is reached."""
    return f"grownn-{study}-{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:8]}"


def log_file(folder: Path, job_id: str) -> Path:
    """Where that job of the study in `folder` writes, all its starts in one file."""
    return folder / "slurm" / f"driver-{job_id}.log"


def driver_script(profile: SlurmProfile, name: str, folder: Path, start_in: Path, command: Sequence[str]) -> str:
    """The script of the job `name`, which runs `command`, a driver, for the study in `folder`; all paths absolute.

    The driver gets a TERM 300 s before the walltime (a quarter of it, if that is shorter; Slurm may be a minute early),
    and a KILL if it has not ended after four fifths of that. The job is requeued if this ended the driver with exit
    code 3, or by a signal; else it ends with the driver's exit code. Raises InputError if the log's path cannot be
    written in a script.
    """
    asks = profile.driver
    notice = min(NOTICE_SECONDS, asks.walltime_seconds // 4)
    directives = [
        f"--job-name={name}",
        output(log_file(folder, "").parent, "driver-%j.log"),
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{notice}",
        f"--time={asks.walltime}",
        *([f"--partition={asks.partition}"] if asks.partition else []),
        *([f"--account={asks.account}"] if asks.account else []),
        "--ntasks=1",
        f"--cpus-per-task={asks.cores}",
        f"--mem={math.ceil(asks.memory_gib * 1024)}M",
        *asks.directives,
    ]
    head = "".join(f"#SBATCH {directive}\n" for directive in directives)
    body = _BODY.format(
        folder=shlex.quote(str(start_in)),
        before="".join(f"{line}\n" for line in profile.before),
        command=shlex.join(command),
        patience=notice * 4 // 5,
        stopped=Stopped.exit_code,
    )
    return f"#!/usr/bin/env bash\n{head}\n{body}"


def submit_script(script: str) -> str:
    """Hand a job script to Slurm; its job's id. Raises InputError, with Slurm's own words, where Slurm refuses it."""
    done = _slurm("sbatch", "--parsable", given=script)
    job_id, _, _ = done.stdout.strip().partition(";")  # a cluster's name may follow
    if done.returncode or not job_id.isdecimal():
        raise InputError(done.stderr.strip() or f"sbatch: exit code {done.returncode}, and said {done.stdout!r}")
    return job_id


def job_is_there(job_id: str, cluster: str | None) -> bool | None:
    """Whether Slurm still has that job, of the cluster of that name; None if it cannot be asked, or is another one."""
    if not job_id.isdecimal():
        return None
    try:
        settings = _slurm("scontrol", "show", "config")
        answer = _slurm("squeue", "--noheader", f"--jobs={job_id}", "--format=%T")
    except GrowNNError:
        return None
    here = re.search(r"^ClusterName\s*=\s*(\S+)", settings.stdout, re.MULTILINE)
    if here is None or here[1] != cluster:
        return None
    if answer.returncode:
        return False if "Invalid job id" in answer.stderr else None
    return bool(answer.stdout.strip())


def _slurm(*command: str, given: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            input=given,
            env=outside(os.environ),
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise GrowNNError(f"{command[0]}: not found: this is for a machine that Slurm jobs can be sent from") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GrowNNError(f"Slurm does not answer: {error}") from None
