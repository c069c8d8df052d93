"""A rehearsal: segments of a few rollouts, trained for real and thrown away, to learn what real ones will take.

They are trained by `run_segment` itself, in a temporary folder: nothing here knows how training works. Time that they
waited for a core does not count: a login node is shared, a worker has its cores to itself.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from grownn_hpo.segment import run_segment
from grownn_hpo.spec import Arm, configured
from grownn_hpo.store.arm import Configuration
from grownn_hpo.store.attempts import committed
from grownn_hpo.store.paths import CHECKPOINT, ArmFolder
from grownn_hpo.trial import Segment, Status

_ROLLOUTS = 2  # at least, the first of which is for warming up
_SECONDS = 1.2  # go on for so long, where rollouts are quicker
_ENDLESS = 10_000  # rollouts
_SCHEDULED = Path("/proc/thread-self/schedstat")  # nanoseconds on a core, nanoseconds waiting for one, time slices


class _EnoughError(Exception):
    """Enough was timed."""


class RehearsalError(Exception):
    """Training ended before anything could be timed."""


def rehearse(payload: str, beat: Callable[[], None]) -> str:
    """An attempt process's entry: an arm of one rung and configurations in; timings and sizes out, as JSON.

    Each configuration's rollouts (with their updates) are timed; of the first, a whole segment of one rollout, with one
    round of evaluation and a checkpoint, is timed and weighed too.
    """
    job = json.loads(payload)
    arm = Arm.model_validate_json(job["arm"])
    with tempfile.TemporaryDirectory() as folder:
        timings = [
            _rollout_seconds(arm, configuration, ArmFolder(Path(folder) / str(i)), beat)
            for i, configuration in enumerate(job["configurations"])
        ]
        whole = _whole_segment(arm, job["configurations"][0], ArmFolder(Path(folder) / "whole"), beat)
    return json.dumps({"rollout_seconds": timings, **whole})


def _rollout_seconds(arm: Arm, configuration: Configuration, folder: ArmFolder, beat: Callable[[], None]) -> float:
    """The median over some rollouts, of the seconds that one takes with its update."""
    beats: list[float] = []

    def count() -> None:
        beat()
        beats.append(_clock())
        if len(beats) >= _ROLLOUTS and beats[-1] - beats[0] >= _SECONDS:
            raise _EnoughError

    with suppress(_EnoughError):
        run_segment(_lasting(arm, configuration, _ENDLESS), configuration, Segment(1, 1, arm.seeds[0]), folder, count)
    if len(beats) < _ROLLOUTS:
        raise RehearsalError(_ended_early(folder, arm, configuration))
    return statistics.median(later - earlier for earlier, later in pairwise(beats))


def _whole_segment(
    arm: Arm, configuration: Configuration, folder: ArmFolder, beat: Callable[[], None]
) -> dict[str, float]:
    segment = Segment(1, 1, arm.seeds[0])
    began, counted = time.perf_counter(), _clock()
    run_segment(_lasting(arm, configuration, 1), configuration, segment, folder, beat)
    seconds = time.perf_counter() - began
    undisturbed = (_clock() - counted) / seconds
    found = committed(folder, segment)
    if found is None or found.commit.measured is None or found.commit.result.status is not Status.COMPLETED:
        raise RehearsalError(_ended_early(folder, arm, configuration))
    measured = found.commit.measured
    sizes = {path.name: path.stat().st_size for path in found.folder.iterdir()}
    checkpoint = sizes.pop(CHECKPOINT)
    return {
        "start_seconds": (seconds - measured.training_seconds - measured.evaluation_seconds) * undisturbed,
        "episode_seconds": measured.evaluation_seconds * undisturbed / arm.evaluation.episodes,
        "checkpoint_bytes": checkpoint,
        "record_bytes": sum(sizes.values()),
        "memory_gib": measured.peak_memory_gib,
    }


def _lasting(arm: Arm, configuration: Configuration, rollouts: int) -> Arm:
    """The arm with so many rollouts in its one rung, and one round of evaluation at the end."""
    env_steps = configured(arm.ppo, configuration).n_steps * arm.task.envs * rollouts
    rung = arm.rungs[0].model_copy(update={"env_steps": env_steps})
    return arm.model_copy(
        update={"rungs": (rung,), "evaluation": arm.evaluation.model_copy(update={"rounds": 1})},
    )


def _clock() -> float:
    """Seconds that stand still while this thread waits for a core; they do not where the kernel does not tell."""
    try:
        waited = int(_SCHEDULED.read_text().split()[1])
    except (OSError, IndexError, ValueError):
        waited = 0
    return time.perf_counter() - waited / 1e9


def _ended_early(folder: ArmFolder, arm: Arm, configuration: Configuration) -> str:
    found = committed(folder, Segment(1, 1, arm.seeds[0]))
    why = found.commit.result.detail if found is not None else None
    return f"{configuration}: {why or 'training ended before it could be timed'}"
