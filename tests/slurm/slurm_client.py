"""What tests do to the two nodes, by Slurm's own programs, and what they see of the jobs' processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import two_nodes
from driven import wait

STOP_SECONDS = 30.0
OF_SLURM = {"munged", "slurmctld", "slurmscriptd", "slurmd", "slurmstepd"}


@dataclass(frozen=True)
class Job:
    """A job that waits, runs or is ending; `state` is Slurm's word in full, `node` is empty while it waits."""

    id: int
    name: str
    state: str
    node: str


@dataclass(frozen=True)
class Slurm:
    """A running cluster of the nodes n1 and n2. Partition `cpu` gives one CPU of each, `gpu` four CPUs and two GPUs."""

    conf: Path
    keeper: psutil.Process
    """The process of `two_nodes.py`: everything that the cluster or a job of it starts descends from it, always."""

    def environment(self, **extra: str) -> dict[str, str]:
        """For processes that are to find this cluster."""
        return two_nodes.environment(self.conf) | extra

    def call(self, *command: object) -> str:
        """The standard output of one of Slurm's programs; raises RuntimeError with what it says if it fails."""
        words = [str(word) for word in command]
        done = subprocess.run(
            words, env=self.environment(), capture_output=True, text=True, timeout=60, check=False, cwd=self.conf.parent
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def submit(self, command: str, *options: str) -> int:
        """Submits a shell command as a job, without an output file unless the options name one; the job's number."""
        return int(self.call("sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={command}"))

    def jobs(self) -> list[Job]:
        listed = self.call("squeue", "--noheader", "--format=%i|%j|%T|%N")
        return [
            Job(int(i), name, state, node) for i, name, state, node in (li.split("|") for li in listed.splitlines())
        ]

    def job(self, number: int) -> Job | None:
        """That job, or None once it has ended."""
        return next((job for job in self.jobs() if job.id == number), None)

    def state(self, number: int) -> str | None:
        """That job's state, or None once it has ended."""
        return job.state if (job := self.job(number)) else None

    def cancel(self, number: int) -> None:
        self.call("scancel", number)

    def down(self, node: str) -> None:
        """The node is lost to Slurm, which requeues its jobs and has their processes killed."""
        self.call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def drain(self, node: str) -> None:
        """The node takes no more jobs; what runs there goes on."""
        self.call("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")

    def resume(self, node: str) -> None:
        self.call("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def nodes(self) -> dict[str, str]:
        """Each node's state: idle, mixed, drained, ...; with Slurm's mark, as in `down*`, while it doesn't answer."""
        listed = self.call("sinfo", "--noheader", "--Node", "--partition=cpu", "--format=%N %T")
        return dict(line.split() for line in listed.splitlines())

    def processes(self) -> list[psutil.Process]:
        """The living processes of jobs, also of jobs that have ended, whatever they did to get away from theirs."""
        found = []
        for process in self.keeper.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE and process.name() not in OF_SLURM:
                    found.append(process)
        return found

    def daemon(self, node: str) -> psutil.Process:
        """The node's slurmd, by which alone Slurm reaches its jobs."""
        return next(d for d in self.keeper.children() if d.name() == "slurmd" and d.cmdline()[-1] == node)

    def clear(self) -> None:
        """Ends every job and process of one, and brings both nodes back to idle."""

        def idle() -> bool:
            for job in self.jobs():
                with suppress(RuntimeError):  # has ended by now
                    self.cancel(job.id)
            for process in self.processes():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            states = self.nodes()
            for node, state in states.items():
                if state.startswith(("down", "drain")):
                    with suppress(RuntimeError):  # resumes already
                        self.resume(node)
            return set(states.values()) == {"idle"} and not self.jobs() and not self.processes()

        # A node that did not answer for a while is asked again every 100 s.
        wait(idle, 150, lambda: f"not idle: {self.nodes()}, {self.jobs()}, {self.processes()}")


@contextmanager
def started() -> Iterator[Slurm]:
    """A cluster of its own, which ends with the block, and by itself if this process is killed.

    Raises RuntimeError, with what its keeper says, if it doesn't start.
    """
    keeper = subprocess.Popen(
        [sys.executable, two_nodes.__file__],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with keeper:
        assert keeper.stdout is not None
        if not (line := keeper.stdout.readline()):
            raise RuntimeError(f"Slurm did not start: {keeper.communicate()[1]}")
        try:
            yield Slurm(Path(line.strip().removeprefix("export SLURM_CONF=")), psutil.Process(keeper.pid))
        finally:
            keeper.terminate()
            said = keeper.communicate(timeout=STOP_SECONDS)[1]
    if keeper.returncode or said:
        raise RuntimeError(f"Slurm ended by itself, exit {keeper.returncode}: {said}")
