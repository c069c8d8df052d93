"""A cluster profile: where segments are trained. It belongs to the site, not to the study, and changes no result."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from grownn_hpo.errors import Fault, InputError
from grownn_hpo.spec import document
from grownn_hpo.spec.explain import key_of, one_each, unknown_key, worded
from grownn_hpo.spec.values import RuleBroken, Value

# What stands in a job script as it is: nothing that a shell or Slurm would take for more than a name, or than a line.
_WORD = r"^[A-Za-z0-9_][A-Za-z0-9_.,:@+-]*$"
_LINE = r"^[^\x00-\x1f\x7f]+$"
# In double quotes, which it cannot end: variables, and nothing else that means something to a shell.
_VARIABLE = r"\$[A-Za-z_][A-Za-z0-9_]*|\$\{[A-Za-z_][A-Za-z0-9_]*\}"
_FOLDER = rf"^(/|{_VARIABLE})([^\x00-\x1f\x7f\"$`\\]|{_VARIABLE})*$"
_PROGRAM = r"^(/[^\x00-\x1f\x7f$~]*[^\x00-\x1f\x7f$~/]|[A-Za-z0-9_][A-Za-z0-9_.+-]*)$"
_PATTERNS = {
    _WORD: "must be one word of letters, digits and _.,:@+-, the first a letter, digit or _",
    _LINE: "must be one line of text, not empty and without control characters: write another line as another item",
    _FOLDER: 'must be an absolute path; $VARIABLE or ${VARIABLE} may stand in it, but no other $, and no ", ` or \\',
    _PROGRAM: "must be a program's absolute path, without ~ and $, or the name of one that is in PATH after `before`",
}
"""The rule that each pattern is, in words."""

Word = Annotated[str, Field(pattern=_WORD, max_length=200)]
Line = Annotated[str, Field(pattern=_LINE, max_length=4000)]
Folder = Annotated[str, Field(pattern=_FOLDER, max_length=4000)]
Program = Annotated[str, Field(pattern=_PROGRAM, max_length=4000)]

Workers = Annotated[int, Field(ge=1, le=10_000)]
"""How many there may be of what the driver holds a slot, a core or a process for."""

_WALLTIME = re.compile(r"(?:([0-9]{1,4})-)?([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])")
_OWN_DIRECTIVES = {
    **dict.fromkeys(("--partition", "-p"), "partition"),
    **dict.fromkeys(("--account", "-A"), "account"),
    **dict.fromkeys(("--time", "-t", "--time-min"), "walltime"),
    **dict.fromkeys(("--cpus-per-task", "-c", "--cpus-per-gpu"), "cores"),
    **dict.fromkeys(("--mem", "--mem-per-cpu", "--mem-per-gpu"), "memory_gib"),
    **dict.fromkeys(("--gres", "--gpus", "-G", "--gpus-per-node", "--gpus-per-task", "--gpus-per-socket"), "gpus"),
}
"""Directives that a field of the profile stands for; given twice, Slurm would quietly take one of them."""
_REFUSED_DIRECTIVES = (
    *("--job-name", "-J", "--output", "-o", "--error", "-e", "--open-mode", "--signal", "--requeue", "--no-requeue"),
    *("--array", "-a", "--nodes", "-N", "--ntasks", "-n", "--ntasks-per-node", "--wrap", "--chdir", "-D"),
    *("--clusters", "-M", "--parsable", "--wait", "-W", "--test-only", "--help", "-h", "--usage", "--version", "-V"),
)
"""Directives that this program needs for itself, or that make `sbatch` do something else."""


def seconds_of(walltime: str) -> int:
    """The seconds in a time as Slurm writes it, `[days-]hours:minutes:seconds`."""
    match = _WALLTIME.fullmatch(walltime)
    if match is None:
        raise ValueError(f"walltime = {walltime!r}: must be [days-]hours:minutes:seconds")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _broken_by_directive(line: str) -> str | None:
    """The rule that a directive breaks, None if it is one option of `sbatch` by its full name, and not ours to set."""
    try:
        words = shlex.split(line)
    except ValueError:
        return "has a quote that nothing ends"
    name, equals, _ = (words or [""])[0].partition("=")
    if not re.fullmatch(r"--[a-z][a-z-]+|-[A-Za-z]", name):
        return 'must be an option of sbatch, as in "--constraint=icelake" or "-C icelake"'
    if name in _OWN_DIRECTIVES:
        return f"is what `{_OWN_DIRECTIVES[name]}` is for: set that"
    if name in _REFUSED_DIRECTIVES:
        return "is not for a profile: this program sets it, or relies on its absence; leave it out"
    if longer := [full for full in (*_OWN_DIRECTIVES, *_REFUSED_DIRECTIVES) if full.startswith(name)]:
        return f"sbatch may take {name} for {longer[0]}: write the option's name in full"
    if len(words) > (1 if equals else 2) or any(word.startswith("-") for word in words[1:]):
        return "must be one option: write another as another item"
    return None


class Jobs(Value):
    """How many worker jobs there are at a time: as many as there are segments for, between these two."""

    at_least: Workers = 1
    at_most: Workers = 10

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
    cores: Workers = 1
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
            if rule := _broken_by_directive(line):
                raise RuleBroken(f"directives[{i}]", line, rule)
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
    segments: Workers = 1
    jobs: Jobs = Jobs()
    interface: Word | None = None
    before: tuple[Line, ...] = ()
    scratch: Folder | None = None
    python: Program | None = None
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
    workers: Workers | None = None


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
        raise InputError(one_each(_fault(file, model, each) for each in error.errors())) from None


def _fault(file: str, model: type[Value], error: Any) -> Fault:
    """One of pydantic's errors about a profile."""
    parts = [part for part in error["loc"] if isinstance(part, (str, int))]
    broken = error.get("ctx", {}).get("error")
    if isinstance(broken, RuleBroken):
        within = parts[:-1] if parts and parts[-1] == broken.key else parts
        return Fault(file, ".".join(filter(None, [key_of(within), broken.key])), broken.value, broken.rule)
    value = error["input"]
    match error["type"]:
        case "extra_forbidden":
            inner: dict[object, type[Value]] = {"driver": Allocation, "jobs": Jobs}
            known = tuple((inner[parts[0]] if len(parts) > 1 else model).model_fields)
            return unknown_key(file, key_of(parts), value, known, "a cluster profile")
        case "missing":
            rule = "is missing and has no default: add it"
        case "string_pattern_mismatch":
            rule = _PATTERNS[error["ctx"]["pattern"]]
        case "model_type":
            rule = "must be a mapping of keys to values"
        case "tuple_type":
            rule = 'must be a list, as in ["first", "second"]'
        case "int_type" | "float_type" if isinstance(value, str):
            rule = f"{worded(error['msg'])}, without quotes or a unit"
        case _:
            rule = worded(error["msg"])
    return Fault(file, key_of(parts), value, rule)


def _with_tuples(value: object) -> object:
    """YAML has lists, frozen values tuples, and strict validation does not take one for the other."""
    if isinstance(value, list):
        return tuple(_with_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    return value
