"""Which agent is meant: from a study's folder, or the file that `grownn export` wrote, to a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grownn_hpo.acting.trained import TrainedAgent, load_agent
from grownn_hpo.errors import InputError
from grownn_hpo.report.incumbent_file import read_incumbent
from grownn_hpo.report.read import one_arm
from grownn_hpo.search.ladder import incumbent
from grownn_hpo.spec import Arm
from grownn_hpo.store.arm import read_arm
from grownn_hpo.store.attempts import committed
from grownn_hpo.store.known import read_known
from grownn_hpo.store.paths import ArmFolder, arm_folders
from grownn_hpo.trial import Segment


@dataclass(frozen=True, slots=True)
class Chosen:
    """An incumbent and the folder of its arm; `checkpoints` are the only ones meant, all if it is empty."""

    folder: ArmFolder
    arm: Arm
    config: int
    rung: int
    checkpoints: Mapping[Segment, str] = field(default_factory=dict)

    def returns(self) -> dict[int, float]:
        """The mean return of the last evaluation, by seed."""
        found = {}
        for seed in self.arm.seeds:
            done = committed(self.folder, Segment(self.config, self.rung, seed))
            if done is not None and done.commit.result.mean_return is not None:
                found[seed] = done.commit.result.mean_return
        return found

    def agent(self, seed: int | None) -> TrainedAgent:
        """The agent of that seed; None: of the one whose last evaluation was best, the first of equals."""
        if seed is None:
            returns = self.returns()
            seed = max(returns, key=returns.__getitem__) if returns else self.arm.seeds[0]
        sha256 = self.checkpoints.get(Segment(self.config, self.rung, seed))
        return load_agent(self.folder, self.config, self.rung, seed, sha256)


def choose(path: Path, results: Path) -> Chosen:
    """The incumbent at `path`: an arm's folder (a study's, if it has one arm), or a file that `grownn export` wrote.

    A file's checkpoints are looked for, by their hashes, beside it and in the study's folder in `results`. Raises
    InputError where there is no such incumbent, or where its checkpoints are not to be found.
    """
    if path.is_dir():
        folder = one_arm(path)
        known = read_known(folder)
        leader = incumbent(known.outcomes)
        if leader is None:
            raise InputError(f"{folder.root}: no trial has completed yet, so there is no incumbent")
        return Chosen(folder, known.arm, leader.config, leader.rung)
    named = read_incumbent(path)
    study, arm = named.arm.study, named.arm.name
    looked = []
    for place in (
        path.absolute().parent,
        results / study,
        path.absolute().parent / study,
        path.absolute().parent / arm,
    ):
        for folder in arm_folders(place):
            looked.append(folder.root)
            if _holds(folder, named.checkpoints, named.config, named.rung):
                return Chosen(folder, read_arm(folder), named.config, named.rung, named.checkpoints)
    where = ", ".join(map(str, looked)) or f"{results / study} (there is no study)"
    raise InputError(
        f"{path}: the checkpoints that it names are in none of {where}: name the folder that holds the studies' folders"
        " with --results, or give the arm's folder itself"
    )


def _holds(folder: ArmFolder, checkpoints: Mapping[Segment, str], config: int, rung: int) -> bool:
    """Whether a checkpoint of the incumbent's last rung is this arm's."""
    for segment, sha256 in checkpoints.items():
        if (segment.config, segment.rung) == (config, rung):
            found = committed(folder, segment)
            if found is not None and found.commit.result.checkpoint_sha256 == sha256:
                return True
    return False
