"""A study on the two nodes, driven by the program as a person runs it, and held in mid-segment when a test says so."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from driven import SECONDS, Driver, driven, wait
from program import TINY, command, surroundings
from slurm_client import Slurm

HERE = Path(__file__).parent
HALTING = TINY.replace("CartPole-v1", "halting:Halting-v0").replace("trials: 12", "trials: 6")
"""One bracket of it."""
PROFILE = """\
kind: slurm
walltime: "{walltime}"
memory_gib: 0.9
jobs: {{at_least: {at_least}, at_most: {at_most}}}
"""


@dataclass(frozen=True)
class Attempt:
    """A segment's attempt that has come halfway: its Slurm job and its process."""

    job: int
    process: psutil.Process


@dataclass(frozen=True)
class Study:
    """The tiny study in a folder of its own, on a cluster."""

    slurm: Slurm
    folder: Path
    text: str

    def __post_init__(self) -> None:
        (self.folder / "study.yaml").write_text(self.text)
        self.profile()
        self._gate.mkdir()

    @property
    def arm(self) -> Path:
        return self.folder / "results/tiny/grown-3"

    @property
    def _gate(self) -> Path:
        return self.folder / "gate"

    def profile(self, *more: str, walltime: str = "00:10:00", at_least: int = 1, at_most: int = 2) -> None:
        """Writes the profile, with these lines as well."""
        text = PROFILE.format(walltime=walltime, at_least=at_least, at_most=at_most)
        (self.folder / "site.yaml").write_text("\n".join([text, *more]) + "\n")

    @contextmanager
    def driven(self, *words: object, **env: str) -> Iterator[Driver]:
        """`grownn` with these words, `run` the study if there are none; it is killed at the end if it still runs."""
        words = words or ("run", "study.yaml", "--cluster", "site.yaml")
        with driven(self.folder, *words, env=self._environment(**env)) as driver:
            yield driver

    def call(self, *words: object) -> subprocess.CompletedProcess[str]:
        """`grownn` with these words, to its end."""
        return subprocess.run(
            command(*words),
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def resume(self) -> tuple[object, ...]:
        """The words that resume it."""
        return "resume", "results/tiny", "--cluster", "site.yaml"

    def table(self) -> str:
        done = self.call("table", "results/tiny")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def halt(self) -> None:
        """From now on, attempts wait in mid-segment."""
        (self._gate / "halt").touch()

    def go_on(self) -> None:
        (self._gate / "halt").unlink()

    def halfway(self) -> list[Attempt]:
        """The attempts that came halfway, and still are there."""
        found = []
        for path in self._gate.glob("*-*"):
            job, pid = path.name.split("-")
            with suppress(psutil.NoSuchProcess):
                found.append(Attempt(int(job), psutil.Process(int(pid))))
        return found

    def when_halfway(self, count: int, seconds: float = SECONDS) -> list[Attempt]:
        """Waits until so many attempts wait in mid-segment."""
        wait(lambda: len(self.halfway()) == count, seconds, lambda: f"halfway: {self.halfway()}, {self.slurm.jobs()}")
        return self.halfway()

    def nothing_left(self) -> None:
        """No job, no process and no key file, a moment after the driver's end."""
        wait(lambda: not self.slurm.jobs(), 20, lambda: f"left: {self.slurm.jobs()}")
        wait(lambda: not self.slurm.processes(), 20, lambda: f"left: {self.slurm.processes()}")
        assert self.keys() == []

    def keys(self) -> list[Path]:
        """The files of the encryption, and whatever else lies beside the logs."""
        return [path for path in (self.folder / "results/tiny/slurm").rglob("*") if path.suffix != ".log"]

    def _environment(self, **extra: str) -> dict[str, str]:
        path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        return surroundings(**self.slurm.environment(HALTING=str(self._gate), PYTHONPATH=path, **extra))


def since(moment: float) -> str:
    return f"{time.monotonic() - moment:.1f} s"
