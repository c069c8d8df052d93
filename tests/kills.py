"""SIGKILL at random instants, study after study: `python tests/kills.py --kills 1000 [--seed N]`, or `make kills`.

Two small studies run side by side. Again and again a victim is drawn: an attempt, a launcher, a worker, the driver
alone, or the whole tree; a driver that is gone is followed by `grownn resume`. Each study, once complete, must have the
table of the undisturbed one; every result that was seen committed must still be there, and be counted once. Prints a
line per study and per kind of victim, and one JSON object; the exit code is 1 if anything was lost or counted twice.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import psutil
from fault_table import Key, commits, key_of, recorded, rows_of
from program import TINY, command, surroundings

STUDIES = {"whole": TINY, "legs": TINY.replace("seed: 3\n", "seed: 3\nboundary_env_steps: 128\n")}
"""Without boundaries, and with three in every segment."""
ARM = Path("results/tiny/grown-3")
STREAMS = 2
STOPPED = 3
STUCK_SECONDS = 300.0


class Victim(StrEnum):
    """What is killed."""

    ATTEMPT = "attempt"
    LAUNCHER = "launcher"
    WORKER = "worker"
    DRIVER = "driver"
    TREE = "whole tree"


WEIGHTS = {Victim.ATTEMPT: 38, Victim.LAUNCHER: 16, Victim.WORKER: 18, Victim.DRIVER: 14, Victim.TREE: 14}
DRIVERS = {Victim.DRIVER: 1, Victim.TREE: 1}
# A driver starts for 4 to 6 seconds, and a study goes on for that long again: kills fall into both.
SECONDS_BEFORE = {Victim.DRIVER: 8.0, Victim.TREE: 8.0} | dict.fromkeys(
    (Victim.ATTEMPT, Victim.LAUNCHER, Victim.WORKER), 1.5
)


@dataclass
class Toll:
    """What studies came to. A tree counts as one kill."""

    kills: Counter[Victim] = field(default_factory=Counter)
    lost: Counter[Victim] = field(default_factory=Counter)
    twice: Counter[Victim] = field(default_factory=Counter)
    second_commits: int = 0
    """Segments that two attempts finished: counted once, and compared."""
    stops: int = 0
    """Drivers that gave up with exit code 3: too many of their workers were killed while they started."""
    studies: int = 0
    identical: bool = True

    def add(self, other: Toll) -> None:
        self.kills += other.kills
        self.lost += other.lost
        self.twice += other.twice
        self.second_commits += other.second_commits
        self.stops += other.stops
        self.studies += other.studies
        self.identical &= other.identical

    @property
    def clean(self) -> bool:
        return self.identical and not self.lost.total() and not self.twice.total()

    def told(self) -> str:
        kinds = ", ".join(f"{n} of {kind}" for kind, n in sorted(self.kills.items()))
        table = "identical" if self.identical else "DIFFERS"
        return (
            f"{self.kills.total()} kills ({kinds or 'none'}): lost {self.lost.total()}, counted twice"
            f" {self.twice.total()}, table {table}; {self.second_commits} segments were finished twice,"
            f" {self.stops} drivers gave up"
        )


class Disturbed:
    """One study in `folder`, driven to its end through kills; `more` says whether there is to be another."""

    def __init__(
        self, folder: Path, text: str, seed: int, more: Callable[[], bool], weights: dict[Victim, int] = WEIGHTS
    ) -> None:
        self.folder, self.arm, self.toll = folder, folder / ARM, Toll(studies=1)
        self._random, self._more, self._weights = random.Random(seed), more, weights
        self._seen: dict[Key, dict[str, str]] = {}
        self._starts = self._workers = 0
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.yaml").write_text(text)

    def through(self, undisturbed: str) -> Toll:
        """Drive it to its end; what it came to, beside the undisturbed table. Raises RuntimeError if it gets stuck."""
        last = Victim.TREE
        while True:
            driver = self._start()
            try:
                while (victim := self._kill_one(driver)) is not None:
                    last = self._look(victim)
                    if victim in DRIVERS:
                        break
                if victim is None and self._complete(driver):
                    break
            finally:
                driver.kill()
                driver.wait()
        self._compare(undisturbed, last)
        return self.toll

    def _start(self) -> subprocess.Popen[bytes]:
        words = ("resume", "results/tiny") if (self.arm / "study.yaml").exists() else ("run", "study.yaml")
        self._workers = self._random.choice((0, 1, 1, 2))
        self._starts += 1
        with (self.folder / "driver.log").open("ab") as log:
            return subprocess.Popen(
                command(*words, "--workers", self._workers),
                cwd=self.folder,
                env=surroundings(PYTHONHASHSEED=str(self._starts)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _kill_one(self, driver: subprocess.Popen[bytes]) -> Victim | None:
        """Kill somebody at a random instant, and say whom; None if the driver ended by itself before that."""
        if not self._more():
            driver.wait(STUCK_SECONDS)
            return None
        kinds = [kind for kind in self._weights if self._workers or kind is not Victim.WORKER]
        (victim,) = self._random.choices(kinds, [self._weights[kind] for kind in kinds])
        deadline = time.monotonic() + STUCK_SECONDS
        while time.monotonic() < deadline:  # until there is one of its kind
            with suppress(subprocess.TimeoutExpired):
                driver.wait(self._random.uniform(0, SECONDS_BEFORE[victim]))
                return None
            found = list(victims(victim, driver.pid, self._random))
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            if found:
                self.toll.kills[victim] += 1
                return victim
        raise RuntimeError(f"{self.folder}: no {victim} appeared\n{self._said()}")

    def _complete(self, driver: subprocess.Popen[bytes]) -> bool:
        """Whether the driver ended because the study is complete; if not, it must have said that it can go on."""
        if driver.returncode not in (0, STOPPED):
            raise RuntimeError(f"{self.folder}: the driver ended with {driver.returncode}\n{self._said()}")
        self.toll.stops += driver.returncode == STOPPED
        return driver.returncode == 0

    def _said(self) -> str:
        return "\n".join((self.folder / "driver.log").read_text(errors="replace").splitlines()[-30:])

    def _look(self, victim: Victim) -> Victim:
        """Whether what was seen committed outlived this kill, and remember what is committed now."""
        now = commits(self.arm)
        for key, attempts in self._seen.items():
            self.toll.lost[victim] += not attempts.items() <= now.get(key, {}).items()
        self._seen = now
        return victim

    def _compare(self, undisturbed: str, last: Victim) -> None:
        done = subprocess.run(
            command("table", "results/tiny"), cwd=self.folder, env=surroundings(), capture_output=True, text=True
        )
        self._look(last)
        tabled = Counter(map(key_of, rows_of(done.stdout)))
        self.toll.lost[last] += len(set(map(key_of, rows_of(undisturbed))) - set(tabled))
        self.toll.twice[last] += sum(n - 1 for n in (*tabled.values(), *recorded(self.arm).values()))
        self.toll.second_commits = sum(len(attempts) - 1 for attempts in self._seen.values())
        self.toll.identical = done.stdout == undisturbed
        self.toll.lost, self.toll.twice = +self.toll.lost, +self.toll.twice


def victims(victim: Victim, driver: int, generator: random.Random) -> Iterator[psutil.Process]:
    """The living processes of a driver's tree to be killed: one of that kind, or all; none if there is none now."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(driver)
        if victim is Victim.DRIVER:
            yield root
            return
        tree = [process for process in root.children(recursive=True) if process.status() != psutil.STATUS_ZOMBIE]
        if victim is Victim.TREE:
            generator.shuffle(whole := [root, *tree])
            yield from whole
            return
        of_kind = [process for process in tree if kind_of(process) is victim]
        if of_kind:
            yield generator.choice(of_kind)


def kind_of(process: psutil.Process) -> Victim | None:
    """What a process below a driver is; None for what is none of these."""
    with suppress(psutil.NoSuchProcess):
        words = " ".join(process.cmdline())
        if "dispatch.launcher" in words:  # an attempt is its launcher's fork
            above = " ".join(process.parent().cmdline())
            return Victim.ATTEMPT if "dispatch.launcher" in above else Victim.LAUNCHER
        if "spawn_main" in words:
            return Victim.WORKER
    return None


def undisturbed_table(folder: Path, text: str) -> str:
    """The table of a study that nothing befell."""
    folder.mkdir()
    (folder / "study.yaml").write_text(text)
    for words in (("run", "study.yaml", "--workers", 0), ("table", "results/tiny")):
        done = subprocess.run(command(*words), cwd=folder, env=surroundings(), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
    return done.stdout


def many(kills: int, seed: int, folder: Path) -> Toll:
    """Study after study, two at a time, until there were so many kills; prints how each came out."""
    tables = {name: undisturbed_table(folder / name, text) for name, text in STUDIES.items()}
    total, lock = Toll(), threading.Lock()
    running: dict[int, Disturbed] = {}

    def more() -> bool:
        with lock:
            return total.kills.total() + sum(study.toll.kills.total() for study in running.values()) < kills

    def stream(number: int) -> None:
        while more():
            name = list(STUDIES)[number // STREAMS % len(STUDIES)]
            study = Disturbed(folder / f"study-{number}", STUDIES[name], seed + number, more)
            with lock:
                running[number] = study
            toll = study.through(tables[name])
            with lock:
                del running[number]
                total.add(toll)
            print(f"study {number} ({name}, seed {seed + number}): {toll.told()}", flush=True)
            number += STREAMS

    with ThreadPoolExecutor(STREAMS) as pool:
        for future in [pool.submit(stream, number) for number in range(STREAMS)]:
            future.result()
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1000)
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="grownn-kills-") as folder:
        total = many(asked.kills, asked.seed, Path(folder))
    seconds = time.monotonic() - began
    for kind in Victim:
        print(f"{kind:10} killed {total.kills[kind]:4}, lost {total.lost[kind]}, counted twice {total.twice[kind]}")
    print(f"{total.studies} studies, seeds from {asked.seed} on, {seconds:.0f} s; {total.told()}")
    result = {
        "kills": total.kills.total(),
        "lost": total.lost.total(),
        "duplicated": total.twice.total(),
        "identical": total.identical,
        "studies": total.studies,
        "seconds": round(seconds),
        "seed": asked.seed,
        "by_victim": {
            kind: {"kills": total.kills[kind], "lost": total.lost[kind], "duplicated": total.twice[kind]}
            for kind in Victim
        },
    }
    print(json.dumps(result))
    sys.exit(not total.clean)


if __name__ == "__main__":
    main()
