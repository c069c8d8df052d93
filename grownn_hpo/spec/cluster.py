"""A cluster profile: where segments are trained. It belongs to the site, not to the study, and changes no result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from grownn_hpo.errors import Fault, InputError
from grownn_hpo.spec import document
from grownn_hpo.spec.explain import key_of, one_each, unknown_key, worded
from grownn_hpo.spec.values import Positive, RuleBroken, Value

# These become words of a job script: nothing that a shell or Slurm would take for more than a name.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,:@+-]*$", max_length=200)]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=4000)]

_WALLTIME = re.compile(r"(?:([0-9]{1,4})-)?([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])")
_OWN_DIRECTIVES = {
    "--partition": "partition",
    "-p": "partition",
    "--account": "account",
    "-A": "account",
    "--time": "walltime",
    "-t": "walltime",
    "--cpus-per-task": "cores",
    "-c": "cores",
    "--mem": "memory_gib",
    "--gres": "gpus",
    "--gpus": "gpus",
    "-G": "gpus",
}
"""Directives that a field of the profile stands for; given twice, Slurm would quietly take one of them."""
_REFUSED_DIRECTIVES = (
    *("--job-name", "-J", "--output", "-o", "--error", "-e", "--open-mode", "--signal", "--requeue", "--no-requeue"),
    *("--array", "-a", "--nodes", "-N", "--ntasks", "-n", "--wrap", "--chdir", "-D"),
)
"""Directives that this program needs for itself."""


def seconds_of(walltime: str) -> int:
    """The seconds in a time as Slurm writes it, `[days-]hours:minutes:seconds`."""
    match = _WALLTIME.fullmatch(walltime)
    if match is None:
        raise ValueError(f"walltime = {walltime!r}: must be [days-]hours:minutes:seconds")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


class Jobs(Value):
    """How many worker jobs there are at a time: as many as there are segments for, between these two."""

    at_least: Positive = 1
    at_most: Positive = 10

    @model_validator(mode="after")
    def _ordered(self) -> Jobs:
        if self.at_least > self.at_most:
            raise RuleBroken("at_least", self.at_least, f"must be at most jobs.at_most, {self.at_most}")
        return self


class Allocation(Value):
    """What a Slurm job asks for, and what it runs before ours: its terms are those of `sbatch`."""

    partition: Word | None = None
    account: Word | None = None
    walltime: str = "04:00:00"
    cores: Positive = 1
    memory_gib: Annotated[float, Field(gt=0, le=2**20)] = 4.0
    directives: tuple[Line, ...] = ()

    @field_validator("walltime", mode="before")
    @classmethod
    def _time(cls, value: object) -> object:
        if not isinstance(value, str) or not _WALLTIME.fullmatch(value) or not seconds_of(value):
            rule = 'must be a time as Slurm writes it, [days-]hours:minutes:seconds, as in "04:00:00" or "2-00:00:00"'
            raise RuleBroken("walltime", value, rule)
        return value

    @model_validator(mode="after")
    def _foreign_directives(self) -> Allocation:
        for i, line in enumerate(self.directives):
            name = re.split(r"[\s=]", line, maxsplit=1)[0]
            key = f"directives[{i}]"
            if not re.fullmatch(r"--?[A-Za-z][A-Za-z0-9-]*", name):
                raise RuleBroken(key, line, 'must be an option of sbatch, as in "--constraint=icelake"')
            if name in _OWN_DIRECTIVES:
                raise RuleBroken(key, line, f"is what `{_OWN_DIRECTIVES[name]}` is for: set that")
            if name in _REFUSED_DIRECTIVES:
                raise RuleBroken(key, line, "is set by this program, which relies on it: leave it out")
        return self

    @property
    def walltime_seconds(self) -> int:
        return seconds_of(self.walltime)


class SlurmProfile(Allocation):
    """Workers as Slurm jobs that come, go and are replaced. The fields of `Allocation` are those of one worker job.

    A job trains `segments` at a time, each on a core of its own, and shares its `gpus` evenly among them. `interface`
    is the network interface that driver and workers talk over; left out, the one that leads from a worker to the
    driver. `before` are lines of shell that set up the environment; `scratch` a folder on the node's own disk, in
    which the shell's variables may stand. `python` is the interpreter on the nodes, left out the driver's own.
    `driver` is the job of `grownn submit`.
    """

    kind: Literal["slurm"]
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    segments: Positive = 1
    jobs: Jobs = Jobs()
    interface: Word | None = None
    before: tuple[Line, ...] = ()
    scratch: Line | None = None
    python: Line | None = None
    driver: Allocation = Allocation(walltime="1-00:00:00", cores=1, memory_gib=4.0)

    @model_validator(mode="after")
    def _room_for_segments(self) -> SlurmProfile:
        if self.cores < self.segments:
            rule = f"each of a job's {self.segments} segments trains on a core of its own: must be at least that many"
            raise RuleBroken("cores", self.cores, rule)
        if self.gpus and self.segments % self.gpus:
            rule = f"must be a multiple of gpus ({self.gpus}), so that the segments of a job share its GPUs evenly"
            raise RuleBroken("segments", self.segments, rule)
        return self

    @property
    def slots(self) -> int:
        """How many segments are trained at a time when every job is there."""
        return self.jobs.at_most * self.segments


class LocalProfile(Value):
    """Workers as processes on this machine, one per core if `workers` is left out."""

    kind: Literal["local"]
    workers: Positive | None = None


ClusterProfile = SlurmProfile | LocalProfile
_KINDS: dict[str, type[SlurmProfile] | type[LocalProfile]] = {"slurm": SlurmProfile, "local": LocalProfile}


def load_profile(path: Path) -> ClusterProfile:
    """The profile in the file at `path`; InputError with every fault found."""
    file = str(path)
    raw = document.read(path)
    kind = raw.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InputError(Fault(file, "kind", kind, f"must be one of {', '.join(_KINDS)}"))
    model = _KINDS[kind]
    try:
        return model.model_validate(_with_tuples(raw))
    except ValidationError as error:
        faults = []
        for each in error.errors():
            broken = each.get("ctx", {}).get("error")
            loc = [part for part in each["loc"] if isinstance(part, (str, int))]
            if isinstance(broken, RuleBroken):
                within = loc[:-1] if loc and loc[-1] == broken.key else loc
                faults.append(
                    Fault(file, ".".join(filter(None, [key_of(within), broken.key])), broken.value, broken.rule)
                )
            elif each["type"] == "extra_forbidden":
                owner = Allocation if loc[0] == "driver" else Jobs if loc[0] == "jobs" else model
                known = tuple(model.model_fields) if len(loc) == 1 else tuple(owner.model_fields)
                faults.append(unknown_key(file, key_of(loc), each["input"], known, "a cluster profile"))
            elif each["type"] == "missing":
                faults.append(Fault(file, key_of(loc), None, "is missing and has no default: add it"))
            else:
                faults.append(Fault(file, key_of(loc), each["input"], worded(each["msg"])))
        raise InputError(one_each(faults)) from None


def _with_tuples(value: object) -> object:
    """YAML has lists, frozen values tuples, and strict validation does not take one for the other."""
    if isinstance(value, list):
        return tuple(_with_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    return value
