"""Where segments are trained, on this machine or in a cluster's jobs, and what a worker must pass before it trains."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from grownn_hpo import preflight
from grownn_hpo.dispatch import (
    Died,
    Dispatcher,
    Ending,
    Job,
    Lost,
    OutOfMemory,
    Preflight,
    Raised,
    Returned,
    Stalled,
    open_dispatcher,
    open_slurm,
)
from grownn_hpo.dispatch.job_script import output
from grownn_hpo.driver.arms import OpenArm
from grownn_hpo.driver.run import ArmRun, preload
from grownn_hpo.environment import environment
from grownn_hpo.errors import Fault, InputError
from grownn_hpo.preflight import Machine, Report
from grownn_hpo.spec import Arm
from grownn_hpo.spec.cluster import SlurmProfile
from grownn_hpo.store.arm import read_workers, record_workers
from grownn_hpo.store.commit import make_folder
from grownn_hpo.store.storage import STORAGE_ERRORS, failure

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
PREFLIGHT_SECONDS = 300.0
_MACHINE = TypeAdapter(Machine)


@dataclass(frozen=True, slots=True)
class Site:
    """`slots` segments at a time: in Slurm jobs by `profile` (from `file`), else in processes here.

    `inline`: one at a time, without Dask.
    """

    slots: int
    inline: bool = False
    profile: SlurmProfile | None = None
    file: str = ""

    @property
    def has_gpus(self) -> bool:
        return NVIDIA_DRIVER.exists() if self.profile is None else self.profile.gpus > 0

    def check(self, arms: Sequence[Arm], study: str, folder: Path) -> None:
        """InputError where these arms, from the file `study`, cannot be trained here into `folder`. Changes nothing."""
        self.check_devices(arms, study)
        if self.profile is not None:
            for program in ("sbatch", "squeue", "scancel"):
                if shutil.which(program) is None:
                    rule = f"there is no `{program}` here: run this on a login node of the cluster"
                    raise InputError(Fault(self.file, "kind", "slurm", rule))
            from grownn_hpo.dispatch.slurm import check_interface

            check_interface(self.profile, self.file)
            output(folder.absolute() / "slurm", "")

    def check_devices(self, arms: Sequence[Arm], study: str) -> None:
        """InputError where these arms, from the file `study`, need GPUs and there are none."""
        if any(arm.device == "cuda" for arm in arms) and not self.has_gpus:
            if self.profile is not None:
                rule = f"the study trains on `device: cuda`: ask for at least one, or change {study}"
                raise InputError(Fault(self.file, "gpus", self.profile.gpus, rule))
            rule = "this machine has no NVIDIA driver: use auto, which takes a GPU where there is one, or cpu"
            raise InputError(Fault(study, "device", "cuda", rule))

    def open(self, runs: Sequence[ArmRun]) -> Dispatcher:
        """Slots for arms of one study, all of which are driven by us."""
        gate = Gate(runs)
        modules = preload([run.arm for run in runs])
        if self.profile is None:
            return open_dispatcher(self.slots, self.inline, modules, gate.preflight())
        logs = _logs(runs)
        if logs.is_symlink():
            raise InputError(f"{logs}: is a symbolic link, and may lead anywhere; put a folder in its place")
        make_folder(logs)
        logs.chmod(0o700)  # the keys lie there
        return open_slurm(self.profile, _label(runs), logs, modules, gate.preflight())

    def worker_script(self, opened: Sequence[OpenArm]) -> str | None:
        """The script of the worker jobs in which these arms would be trained; None where there are no jobs."""
        if self.profile is None:
            return None
        from grownn_hpo.dispatch.worker_job import worker_script  # Dask takes half a second to import

        return worker_script(self.profile, _label(opened), _logs(opened))


def _logs(runs: Sequence[ArmRun | OpenArm]) -> Path:
    return runs[0].folder.root.absolute().parent / "slurm"


def _label(runs: Sequence[ArmRun | OpenArm]) -> str:
    """A name for the jobs of the driver of these arms, in this results folder and no other."""
    folders = "\n".join(sorted(str(run.folder.root.resolve()) for run in runs))
    return f"{runs[0].arm.study}-{hashlib.sha256(folders.encode()).hexdigest()[:8]}"


def _cause(ending: Ending) -> str:
    match ending:
        case Raised(kind, message):
            return f"{kind}: {message}"
        case Died():
            return f"{ending.cause}\n{ending.output_tail}".strip()
        case Stalled(seconds):
            return f"no answer for {seconds:.0f} s"
        case OutOfMemory(detail):
            return f"out of memory: {detail}"
        case Lost(reason):
            return reason
        case Returned(value):
            return value


class Gate:
    """Lets a worker in that computes as the study's workers have done so far; the first sets the measure."""

    def __init__(self, runs: Sequence[ArmRun]) -> None:
        self._runs = runs
        self._gpu = any(run.arm.device == "cuda" for run in runs)
        self._versions = preflight.versions(environment())
        self._accept = {run for run in runs if run.accept_environment}
        self._lock = threading.Lock()

    def preflight(self) -> Preflight:
        payload = preflight.payload([run.folder.root for run in self._runs], self._tokens, self._gpu)
        return Preflight(Job("preflight", preflight.ENTRY, payload, stalled_seconds=PREFLIGHT_SECONDS), self.refusal)

    @property
    def _tokens(self) -> list[str | None]:
        return [run.token for run in self._runs]

    def refusal(self, ending: Ending) -> str | None:
        """Why the worker whose preflight ended so must not train; None if it may."""
        if not isinstance(ending, Returned):
            return (
                f"a worker cannot even tell what it is: {_cause(ending)}\n"
                "Is the same version of this program installed there?"
            )
        try:
            return self._judgement(preflight.read_report(ending.value), time.time())
        except OSError as error:  # no worker's fault, but none can be let in
            if error.errno not in STORAGE_ERRORS:
                raise
            return failure(error)

    def _judgement(self, report: Report, clock: float) -> str | None:
        with self._lock:
            lines = []
            for run in self._runs:
                known = None if run in self._accept else read_workers(run.folder)
                try:
                    machine = None if known is None else _MACHINE.validate_python(known)
                except ValidationError:
                    lines.append(f"{run.folder.environment_file}: workers = {known!r}: is no machine; remove that key")
                    continue
                lines += preflight.refusals(report, self._versions, self._tokens, machine, self._gpu, clock)
            if not lines:
                self._keep(preflight.machine_of(report, self._gpu))
                return None
        job = f" (Slurm job {report.job})" if report.job else ""
        listed = "\n  ".join(dict.fromkeys(lines))
        return f"the worker on {report.host}{job} must not train for this study:\n  {listed}"

    def _keep(self, machine: Machine) -> None:
        for run in self._runs:
            known = read_workers(run.folder)
            if known is not None and known != asdict(machine):
                run.begin_environment(environment(), asdict(machine))
            elif known is None:
                record_workers(run.folder, asdict(machine))
        self._accept.clear()  # what was accepted is the measure from now on
