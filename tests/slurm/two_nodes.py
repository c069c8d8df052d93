"""A real Slurm of two nodes, n1 and n2, on this machine's loopback. Needs root, and Debian's slurm-wlm and munge.

    python tests/slurm/two_nodes.py     # prints `export SLURM_CONF=...` when both nodes are idle; Ctrl-C stops it

Every cluster has a folder, ports and a munge key of its own, so that several may run at once, beside a real one too.
This process starts the daemons and adopts what they and their jobs leave behind. When it is told to stop, when a daemon
ends, or when its own parent dies, it kills all of them, removes the folder and ends.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from grownn_hpo.dispatch.processes import adopt_orphans, die_with_parent

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
NODES = ("n1", "n2")
START_SECONDS = 60.0

STOPPING = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
AWAITED = {*STOPPING, signal.SIGCHLD}

# What is not here has Slurm's default, KillWait (30 s) for one. What differs from a usual site:
# - cred_expire (default 120 s): so long a requeued job waits before it may start again.
# - sched_interval (60 s), bf_interval (30 s): how soon the scheduler looks again at jobs that could not start at once.
# - Nodes take all they declare (config_overrides): four CPUs, of which partition `cpu` gives one, and GPUs that are
#   names only. Their numbers in CUDA_VISIBLE_DEVICES come from the files' names; Slurm wants those to be devices.
# - Without cgroups nothing holds a job's processes but their descent from it (linuxproc), and no limit on memory.
CONF = """\
ClusterName=two-nodes
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1000
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
GresTypes=gpu
NodeName=DEFAULT CPUs=4 RealMemory=4000 Gres=gpu:2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]}
PartitionName=DEFAULT Nodes=ALL MaxTime=UNLIMITED DefaultTime=UNLIMITED State=UP
PartitionName=cpu Default=YES MaxCPUsPerNode=1
PartitionName=gpu
"""


def free_ports(number: int) -> list[int]:
    """Ports free on loopback, below the range from which the kernel takes those of outgoing connections."""
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < number:
            port = random.randrange(20_000, 32_000)
            with suppress(OSError):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
                ports.append(port)
        return ports


def write_configuration(folder: Path) -> Path:
    """Lays out the cluster's folder; the path of its slurm.conf."""
    folder.chmod(0o755)  # munged's socket is of use to no other user otherwise
    (folder / "state").mkdir()
    for number in range(2):
        (folder / f"gpu{number}").symlink_to("/dev/null")
    (folder / "gres.conf").write_text(f"NodeName=n[1-2] Name=gpu File={folder}/gpu[0-1]\n")
    key = folder / "munge.key"
    key.touch(mode=0o400)
    key.write_bytes(os.urandom(1024))
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(folder=folder, host=socket.gethostname().split(".")[0], ports=free_ports(3)))
    return conf


class Daemons:
    """munged, slurmctld and one slurmd per node, as children of this process."""

    def __init__(self, folder: Path, conf: Path) -> None:
        self.folder = folder
        self.conf = conf
        self.processes: list[subprocess.Popen[bytes]] = []
        self.parent = os.getppid()

    def start(self) -> None:
        """Returns when both nodes are idle; raises SystemExit, with the logs' ends, if they are not within a minute."""
        deadline = time.monotonic() + START_SECONDS
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._launch("munged", "--foreground", *(f"--{o}={self.folder}/munge.{end}" for o, end in files.items()))
        while not (self.folder / "munge.socket").exists():
            self._not_later_than(deadline, "munged has made no socket")
        self._launch("slurmctld", "-D", "-f", str(self.conf))
        for node in NODES:
            self._launch("slurmd", "-D", "-f", str(self.conf), "-N", node)
        while (states := self._states()) != dict.fromkeys(NODES, "idle"):
            self._not_later_than(deadline, f"the nodes' states are {states}, not idle")

    def watch(self, seconds: float) -> None:
        """Sleeps for so long, or until a signal comes, and reaps. Raises SystemExit when all is to stop."""
        got = signal.sigtimedwait(AWAITED, seconds)
        if got is not None and got.si_signo in STOPPING:
            raise SystemExit(0)
        if os.getppid() != self.parent:
            raise SystemExit("the process that started this cluster has ended")
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        for process in self.processes:
            if process.poll() is not None:
                raise SystemExit(f"{process.args!r} has ended\n{self._logs()}")

    def end(self) -> None:
        """SIGKILLs everything below this process, which adopts all orphans, until it has no child left."""
        with suppress(ChildProcessError):
            while True:
                for process in psutil.Process().children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
                while os.waitpid(-1, os.WNOHANG)[0] != 0:
                    pass
                time.sleep(0.01)

    def _launch(self, *command: str) -> None:
        def in_child() -> None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, AWAITED)
            die_with_parent()

        with (self.folder / f"{Path(command[0]).name}.out").open("ab") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment(self.conf),
                start_new_session=True,
                preexec_fn=in_child,
            )
        self.processes.append(process)

    def _states(self) -> dict[str, str]:
        command = ("sinfo", "--noheader", "--Node", "--partition=cpu", "--format=%N %T")
        try:  # without a controller it would try for 9 s
            done = subprocess.run(command, env=environment(self.conf), capture_output=True, text=True, timeout=2)
        except subprocess.TimeoutExpired:
            return {}
        return dict(line.split() for line in done.stdout.splitlines())

    def _not_later_than(self, deadline: float, otherwise: str) -> None:
        if time.monotonic() > deadline:
            raise SystemExit(f"after {START_SECONDS:.0f} s {otherwise}\n{self._logs()}")
        self.watch(0.05)

    def _logs(self, lines: int = 15) -> str:
        texts = {p.name: p.read_text(errors="replace").splitlines() for p in sorted(self.folder.glob("*.out"))}
        return "\n".join(line for name, text in texts.items() for line in (f"== {name}", *text[-lines:]))


def environment(conf: Path) -> dict[str, str]:
    """This process's environment with that cluster in it, and none of a Slurm job that this may run in."""
    slurms = ("SLURM", "SBATCH", "SQUEUE", "SINFO")
    outer = {name: value for name, value in os.environ.items() if not name.startswith(slurms)}
    return outer | {"SLURM_CONF": str(conf)}


def why_not() -> str | None:
    """Why no cluster can be started here; None if one can."""
    if os.geteuid() != 0:
        return "a Slurm of its own can be started by root only, whose daemons it has"
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"not in PATH: {', '.join(missing)}; on Debian, apt-get install --no-install-recommends slurm-wlm munge"
    return None


def main() -> None:
    if reason := why_not():
        raise SystemExit(reason)
    adopt_orphans()
    signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
    with tempfile.TemporaryDirectory(prefix="two-nodes-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        daemons = Daemons(folder, write_configuration(folder))
        try:
            daemons.start()
            print(f"export SLURM_CONF={daemons.conf}", flush=True)
            while True:
                daemons.watch(0.5)
        finally:
            daemons.end()


if __name__ == "__main__":
    main()
