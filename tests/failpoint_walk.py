"""A small real study, disturbed at its failpoints: what was injected, and what came of it.

`Walk` runs the study once undisturbed, and so learns every pass of every failpoint. Then it is run again and again with
orders (see `grownn_hpo.failpoints`), gone on with after each kill and each stop, and compared.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from warm import Ended, Warm

from grownn_hpo.failpoints import TEARABLE, VARIABLE, Order
from grownn_hpo.store.attempts import read_commit
from grownn_hpo.store.paths import ArmFolder

# Two brackets, two rungs with growth, a boundary in every segment; no forest, whose suggestions would take most of the
# time and last nowhere until they are a bracket's file.
STUDY = """\
name: tiny
seed: 3
seeds: [0]
task: {env: CartPole-v1, envs: 2}
evaluation: {episodes: 2, rounds: 1}
space:
  hyperparameters:
    - {name: learning_rate, type: uniform_float, lower: 0.003, upper: 0.1, log: true, default_value: 0.01}
    - {name: n_epochs, type: uniform_int, lower: 2, upper: 6, default_value: 4}
ppo: {n_steps: 32, batch_size: 16}
network: {kind: mlp, width: 8}
boundary_env_steps: 64
search: {trials: 6, lookahead: 1, surrogate: lowest, initial_design: 4}
arms:
  grown-2:
    rungs:
      - {env_steps: 128, depth: 1, configurations: 2}
      - {env_steps: 128, depth: 2, configurations: 1}
"""
ARM = "results/tiny/grown-2"
KILLED, STOPPED = -9, 3
# So often may a run be begun again after the last order is due.
SPARE_STARTS = 3

Passes = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Counts:
    """How many effects came due, committed segments were lost, and rows of the table count a segment again."""

    injected: int = 0
    lost: int = 0
    duplicated: int = 0
    identical: bool = True

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.injected + other.injected,
            self.lost + other.lost,
            self.duplicated + other.duplicated,
            self.identical and other.identical,
        )

    def __str__(self) -> str:
        return json.dumps(asdict(self))


def passes_in(log: Path) -> Passes:
    """How often each role passed each failpoint."""
    return Counter((role, name) for role, name, _ in map(str.split, log.read_text().splitlines()))


def due(orders: Iterable[str], log: Path) -> list[bool]:
    """Which of the orders came due."""
    passed = passes_in(log) if log.exists() else Passes()
    read = [Order.read(text) for text in orders]
    return [sum(n for each, n in passed.items() if order.means(*each)) >= order.nth for order in read]


class Walk:
    """The study, in folders of its own below `folder`; `table` and `passes` are the undisturbed run's."""

    def __init__(self, warm: Warm, folder: Path) -> None:
        self._warm, self._folder = warm, folder
        counts, self.ended = self.disturbed("undisturbed", [], None)
        assert counts == Counts(), self.ended
        self.passes = passes_in(folder / "undisturbed/passes")
        self.table = self._table(folder / "undisturbed")

    def lasting(self) -> Iterator[tuple[str, str, int]]:
        """Every failpoint before a step that is meant to last: its role, its name, how often it is passed."""
        for (role, name), count in sorted(self.passes.items()):
            if not name.endswith(".read"):
                yield role, name, count

    def disturbed(
        self, name: str, orders: list[str], like: str | None = "", start: Path | None = None
    ) -> tuple[Counts, list[Ended]]:
        """The study under these orders, from nothing or from a copy of `start`, begun again until it is complete.

        Returns the counts and how each run ended. `like` is None where there is nothing yet to compare with.
        """
        folder = self._folder / name
        if start is None:
            folder.mkdir()
            (folder / "tiny.yaml").write_text(STUDY)
        else:
            shutil.copytree(start, folder)
        log = folder / "passes"
        log.unlink(missing_ok=True)
        env = {VARIABLE: " ".join((str(log), *orders))}
        ended: list[Ended] = []
        seen: set[Path] = set()
        while not ended or ended[-1].returncode:
            assert len(ended) <= len(orders) + SPARE_STARTS, ended
            ended.append(self._warm.run(*_going_on(folder), "--workers", 0, cwd=folder, env=env))
            assert ended[-1].returncode in (0, KILLED, STOPPED), ended[-1]
            seen |= _commits(folder)
        if like is None:
            return Counts(), ended
        table = self._table(folder)
        rows = Counter(tuple(line.split(",")[1:4]) for line in table.splitlines()[1:])
        missing = {tuple(line.split(",")[1:4]) for line in self.table.splitlines()[1:]} - rows.keys()
        lost = len(seen - _commits(folder)) + len(missing)
        counts = Counts(sum(due(orders, log)), lost, sum(n - 1 for n in rows.values()), table == self.table)
        if counts == replace(counts, lost=0, duplicated=0, identical=True):
            shutil.rmtree(folder)  # what went wrong is kept to be looked at
        return counts, ended

    def _table(self, folder: Path) -> str:
        ended = self._warm.run("table", "results/tiny", cwd=folder)
        assert ended.returncode == 0, ended
        return ended.stdout


def _going_on(folder: Path) -> tuple[str, str]:
    """What to type: a study that was killed before its file was written is not there yet."""
    return ("resume", "results/tiny") if (folder / ARM / "study.yaml").exists() else ("run", "tiny.yaml")


def _commits(folder: Path) -> set[Path]:
    """The attempts that hold a valid result."""
    attempts = ArmFolder(folder / ARM).all_attempts()
    return {attempt for segment, attempt, _ in attempts if read_commit(attempt, segment) is not None}


def at_once(walk: Walk, effect: str) -> list[str]:
    """An order for every failpoint that can have `effect`, each in the middle of its passes, for a single study."""
    passing = effect in ("EIO", "ESTALE")  # the only ones that befall who reads
    return [
        f"{role}:{name}@{count // 2 + 1}={effect}"
        for (role, name), count in sorted(walk.passes.items())
        if passing or (name.endswith(TEARABLE) if effect == "torn" else not name.endswith(".read"))
    ]


def every_pass(walk: Walk) -> Counts:
    """A study for every pass of every failpoint, killed just there: hundreds of them."""
    counts = Counts()
    for role, name, passes in walk.lasting():
        for nth in range(1, passes + 1):
            found, ended = walk.disturbed(f"{role}-{name}-{nth}", [f"{role}:{name}@{nth}=kill"])
            assert (ended[0].returncode == KILLED) == (role == "driver"), ended
            counts += found
    return counts


def every_error(walk: Walk, effect: str) -> Counts:
    """A study for every failpoint, where that errno is raised once, in the middle of its passes."""
    counts = Counts()
    for order in at_once(walk, effect):
        found, ended = walk.disturbed(order.replace(":", "-"), [order])
        starts = [each.returncode for each in ended]
        assert starts in ([0], [STOPPED, 0]), ended
        assert starts == [0] or effect not in ("EIO", "ESTALE"), ended
        assert "Traceback" not in ended[0].stderr, ended[0].stderr
        counts += found
    return counts


def every_recovery(walk: Walk, warm: Warm, folder: Path, first: str) -> Counts:
    """A driver killed at `first` (`NAME@N`); then, for each pass of the recovery from that, one killed there."""
    begun = folder / "begun"
    begun.mkdir()
    (begun / "tiny.yaml").write_text(STUDY)
    log = begun / "passes"
    killed = warm.run("run", "tiny.yaml", "--workers", 0, cwd=begun, env={VARIABLE: f"{log} driver:{first}=kill"})
    assert killed.returncode == KILLED, killed
    counts = Counts(1)
    undisturbed = folder / "recovered"
    shutil.copytree(begun, undisturbed)
    log = undisturbed / "passes"
    log.unlink()
    recovered = warm.run(*_going_on(undisturbed), "--workers", 0, cwd=undisturbed, env={VARIABLE: str(log)})
    assert recovered.returncode == 0, recovered
    for (role, name), passes in sorted(passes_in(log).items()):
        if role == "driver" and not name.endswith(".read"):
            for nth in range(1, passes + 1):
                order = f"{role}:{name}@{nth}=kill"
                counts += walk.disturbed(f"again-{name}-{nth}", [order], start=begun)[0]
    shutil.rmtree(begun)
    shutil.rmtree(undisturbed)
    return counts
