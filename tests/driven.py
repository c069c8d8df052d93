"""A driver at work in a process of its own, and waiting for what it does."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from program import command, surroundings

SECONDS = 150.0
"""More than anything in these tests takes on a machine that has more to do."""


def wait(condition: Callable[[], object], seconds: float, otherwise: Callable[[], str] | str) -> float:
    """The seconds until the condition held; raises TimeoutError with the words if it takes longer than `seconds`."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise TimeoutError(f"after {seconds:g} s: {otherwise if isinstance(otherwise, str) else otherwise()}")
        time.sleep(0.05)
    return time.monotonic() - start


@dataclass(frozen=True)
class Driver:
    """A driver at work, and the file that it writes its lines to."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, text: str, seconds: float = SECONDS) -> float:
        """Waits until it has said so; the seconds that this took."""
        return wait(lambda: text in self.said, seconds, lambda: f"did not say {text!r}:\n{self.said}")

    def ends(self, code: int = 0, seconds: float = 2 * SECONDS) -> str:
        """Waits for its end, with that exit code; all that it said."""
        wait(lambda: self.process.poll() is not None, seconds, lambda: f"has not ended:\n{self.said}")
        assert self.process.returncode == code, self.said
        assert "Traceback" not in self.said
        return self.said

    def kill(self) -> None:
        """SIGKILL of the driver alone, as a machine's failure or its owner would."""
        self.process.kill()
        self.process.wait()


@contextmanager
def driven(
    folder: Path, *words: object, prefix: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> Iterator[Driver]:
    """`grownn` with these words in `folder`, behind `prefix`; it is killed at the end if it still runs."""
    log = folder / f"driver-{len(list(folder.glob('driver-*')))}.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*prefix, *command(*words)],
            cwd=folder,
            env=surroundings() if env is None else env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        yield Driver(process, log)
    finally:
        process.kill()
        process.wait()
