"""The tiny study on this machine, in a folder of its own, whose attempts can be held in mid-segment."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from driven import SECONDS, Driver, driven, wait
from program import TINY, command, surroundings

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class LocalStudy:
    """`text`, of itself one bracket, in `folder`; what it runs goes behind `prefix`."""

    folder: Path
    text: str = TINY.replace("CartPole-v1", "unlucky:Unlucky-v0").replace("trials: 12", "trials: 6")
    prefix: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "study.yaml").write_text(self.text)

    @property
    def arm(self) -> Path:
        return self.folder / "results/tiny/grown-3"

    @contextmanager
    def driven(self, *words: object, **env: str) -> Iterator[Driver]:
        """`grownn` with these words, at work."""
        with driven(self.folder, *words, prefix=self.prefix, env=self.environment(**env)) as driver:
            yield driver

    @contextmanager
    def held(self, times: int, *words: object, workers: int = 2) -> Iterator[Driver]:
        """The study, run by so many workers, of which the first `times` attempts wait in mid-segment."""
        (self.folder / "halt").touch()
        unlucky = f"halt:{times}:{self.folder}"
        with self.driven("run", "study.yaml", "--workers", workers, *words, UNLUCKY=unlucky) as driver:
            yield driver

    def call(self, *words: object, **env: str) -> subprocess.CompletedProcess[str]:
        """`grownn` with these words, to its end."""
        return subprocess.run(
            [*self.prefix, *command(*words)],
            cwd=self.folder,
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * SECONDS,
        )

    def table(self) -> str:
        done = self.call("table", "results/tiny")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def environment(self, **extra: str) -> dict[str, str]:
        path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
        return surroundings(PYTHONPATH=path, **extra)

    def go_on(self) -> None:
        """Lets the attempts go that wait."""
        (self.folder / "halt").unlink()

    def waiting(self) -> list[psutil.Process]:
        """The attempts that wait, or have waited, in mid-segment and still are there."""
        found = []
        for path in self.folder.glob("halted-*"):
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(path.name.split("-")[1])))
        return found

    def when_waiting(self, count: int, driver: Driver, seconds: float = SECONDS) -> list[psutil.Process]:
        """Waits until so many attempts wait in mid-segment."""
        wait(lambda: len(self.waiting()) == count, seconds, lambda: f"{self.waiting()}\n{driver.said}")
        return self.waiting()

    def attempts(self) -> Counter[int]:
        """How many segments have had so many attempts."""
        return Counter(len(list(folder.iterdir())) for folder in self.arm.glob("segments/*/*/*"))
