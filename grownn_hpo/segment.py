"""One segment: load the parent's checkpoint, grow, train, evaluate, commit.

A segment is a function of its arm, its configuration, its seed and its rung. Every random stream has a seed of its own,
derived from the study's seed, the segment's seed, the rung and the stream's name, and from nothing else:
configurations and arms meet the same episodes, so that comparing them is paired.
"""

from __future__ import annotations

import hashlib
import json
import math
import resource
import socket
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import cast

import torch
from pydantic import JsonValue

from grownn_hpo import morphism, ppo
from grownn_hpo.envs import VectorEnv, describe, play, varying_cells
from grownn_hpo.spec import Arm, PPOSettings
from grownn_hpo.store.arm import Configuration
from grownn_hpo.store.attempts import Committed, Measured, claim_attempt, commit_result, committed, intact_checkpoint
from grownn_hpo.store.checkpoint import read_checkpoint, write_checkpoint
from grownn_hpo.store.commit import STORAGE_ERRORS
from grownn_hpo.store.curve import Tick, append_point, append_tick, read_curve
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import CurvePoint, Segment, SegmentResult, Status

# More environments evaluate no faster in one process, and a NetHack takes a while to build.
MOST_EVALUATORS = 8


class Stream(StrEnum):
    """The random streams of a segment."""

    INITIALISATION = "initialisation"
    ENVIRONMENTS = "environments"
    EVALUATION = "evaluation"
    ACTIONS = "actions"
    MINIBATCHES = "minibatches"


class Verdict(StrEnum):
    """What an attempt tells its driver; what it found out is in the store."""

    COMMITTED = "committed"
    PARENT_LOST = "parent lost"
    STORAGE_FAILED = "storage failed"


class GrowthError(Exception):
    """Growing changed the function that the network computes: a defect of this program, never of the configuration."""


def stream_seed(study_seed: int, seed: int, rung: int, stream: Stream) -> int:
    """The seed of a random stream, 0 to 2^63 - 1."""
    text = f"{study_seed}/{seed}/{rung}/{stream}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def attempt(payload: str, beat: Callable[[], None]) -> str:
    """An attempt process's entry: the driver's job in, a verdict out. `beat` is called whenever training gets on."""
    job = json.loads(payload)
    arm, segment = Arm.model_validate_json(job["arm"]), Segment(**job["segment"])
    folder = ArmFolder(Path(job["folder"]))
    detail = ""
    try:
        verdict = run_segment(arm, job["configuration"], segment, folder, beat)
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        verdict, detail = Verdict.STORAGE_FAILED, f"{error.strerror}: {error.filename or folder.root}"
    return json.dumps({"verdict": verdict, "detail": detail})


def run_segment(
    arm: Arm, configuration: Configuration, segment: Segment, folder: ArmFolder, beat: Callable[[], None]
) -> Verdict:
    """Train `configuration` on one rung and seed, from the checkpoint of the rung below, and commit what came of it."""
    if committed(folder, segment) is not None:  # an orphan was faster, or a dispatcher delivered the job twice
        return Verdict.COMMITTED
    parent = None if segment.parent is None else committed(folder, segment.parent)
    if segment.parent is not None and (parent is None or not intact_checkpoint(parent)):
        return Verdict.PARENT_LOST
    run = SegmentRun(arm, configuration, segment, claim_attempt(folder, segment), parent, beat)
    result = run.train()
    commit_result(run.attempt, result, run.measured())
    return Verdict.COMMITTED


class SegmentRun:
    """One attempt at a segment, from the parent's checkpoint to the artefacts in the attempt's folder."""

    def __init__(
        self,
        arm: Arm,
        configuration: Configuration,
        segment: Segment,
        attempt: Path,
        parent: Committed | None,
        beat: Callable[[], None],
    ) -> None:
        self.attempt = attempt
        self._arm, self._segment, self._parent, self._beat = arm, segment, parent, beat
        self._rung = arm.rungs[segment.rung - 1]
        self._env = arm.env_of(segment.rung)
        self._settings = configured(arm.ppo, configuration)
        self._configuration = configuration
        self._rounds = 0
        self._started = time.perf_counter()
        self._training_seconds = self._evaluation_seconds = 0.0

    def train(self) -> SegmentResult:
        """The segment's result; its artefacts are written, not yet committed."""
        arm, segment, task = self._arm, self._segment, self._arm.task
        start = arm.env_steps_before(segment.rung)
        rounds = arm.evaluation.rounds
        agent = self._starting_agent()
        growth = self._grow(agent)
        detail = checkpoint_sha256 = None
        evaluators = min(task.envs, arm.evaluation.episodes, MOST_EVALUATORS)
        with (
            VectorEnv(self._env, task.kwargs, task.envs, self._seed(Stream.ENVIRONMENTS)) as environments,
            VectorEnv(self._env, task.kwargs, evaluators, self._seed(Stream.EVALUATION)) as evaluation,
        ):
            began = time.perf_counter()
            try:
                ppo.train(
                    agent,
                    environments,
                    self._settings,
                    env_steps=self._rung.env_steps,
                    total_env_steps=arm.env_steps,
                    action_seed=self._seed(Stream.ACTIONS),
                    minibatch_seed=self._seed(Stream.MINIBATCHES),
                    evaluate_at=[start + self._rung.env_steps * k // rounds for k in range(1, rounds + 1)],
                    on_evaluation=lambda trained, _: self._evaluate(trained, evaluation),
                    on_progress=self._progress,
                )
            except ppo.Diverged as error:
                detail = str(error)
            self._training_seconds = time.perf_counter() - began - self._evaluation_seconds
        last = read_curve(self.attempt)[-1] if detail is None else None
        if last is not None and not math.isfinite(last.mean_return):
            detail, last = f"the last evaluation's mean return is {last.mean_return}", None
        if last is not None:
            tensors, counters = ppo.agent_state(agent)
            checkpoint_sha256 = write_checkpoint(self.attempt, tensors, self._meta(counters))
        return SegmentResult(
            segment=segment,
            status=Status.COMPLETED if detail is None else Status.DIVERGED,
            mean_return=None if last is None else last.mean_return,
            success_rate=None if last is None else last.success_rate,
            env_steps=agent.env_steps,
            depth=self._rung.depth,
            growth_difference=growth,
            parent_sha256=None if self._parent is None else self._parent.commit.result.checkpoint_sha256,
            checkpoint_sha256=checkpoint_sha256,
            detail=detail,
        )

    def measured(self) -> Measured:
        """What the attempt took so far."""
        return Measured(
            seconds=time.perf_counter() - self._started,
            training_seconds=self._training_seconds,
            evaluation_seconds=self._evaluation_seconds,
            peak_memory_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,  # Linux counts in KiB
            host=socket.gethostname(),
        )

    def _starting_agent(self) -> ppo.Agent:
        arm, network, task = self._arm, self._arm.network, self._arm.task
        spaces = describe(self._env, task.kwargs)
        if self._parent is not None:
            tensors, meta = read_checkpoint(self._parent.folder)
            depth = arm.rungs[self._segment.rung - 2].depth
            counters = cast("dict[str, JsonValue]", meta["counters"])
            return ppo.restore_agent(tensors, counters, network, depth, spaces, self._settings, _device(arm.device))
        cells = None
        if network.cells == "varying":
            cells = varying_cells(sorted({arm.env_of(r) for r in range(1, len(arm.rungs) + 1)}), task.kwargs)
        seed = self._seed(Stream.INITIALISATION)
        return ppo.new_agent(network, self._rung.depth, spaces, self._settings, cells, seed, _device(arm.device))

    def _grow(self, agent: ppo.Agent) -> float | None:
        """Deepen the agent's network to what the rung declares; the difference it made (0), None if nothing grew."""
        layers = self._rung.depth - agent.network.depth
        if layers == 0:
            return None
        before = ppo.outputs(agent, agent.probe)
        morphism.deepen(agent.network.stack, agent.optimizer, layers, self._arm.growth.optimizer_state)
        difference = morphism.difference(before, ppo.outputs(agent, agent.probe))
        if difference != 0.0:
            raise GrowthError(
                f"{self._segment}: growing by {layers} layers changed logits or values by {difference!r} on"
                f" {len(agent.probe)} observations; it must be 0: please report this with the study file"
            )
        return difference

    def _evaluate(self, agent: ppo.Agent, environments: VectorEnv) -> None:
        began = time.perf_counter()
        self._rounds += 1
        episodes = play(
            lambda observations: ppo.act(agent, observations),
            environments,
            self._arm.evaluation.episodes,
            self._rounds,
        )
        point = CurvePoint(
            env_steps=agent.env_steps,
            mean_return=episodes.mean_return,
            std_return=episodes.std_return,
            mean_length=episodes.mean_length,
            success_rate=episodes.success_rate,
            episodes=self._arm.evaluation.episodes,
        )
        append_point(self.attempt, point)
        self._evaluation_seconds += time.perf_counter() - began
        self._beat()

    def _progress(self, progress: ppo.Progress) -> None:
        append_tick(self.attempt, Tick(progress.env_steps, time.perf_counter() - self._started, progress.mean_return))
        self._beat()

    def _seed(self, stream: Stream) -> int:
        return stream_seed(self._arm.seed, self._segment.seed, self._segment.rung, stream)

    def _meta(self, counters: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Where a checkpoint comes from and what network it holds; no clock, no machine: equal runs, equal bytes."""
        arm, segment = self._arm, self._segment
        return {
            "format": 1,
            "study": arm.study,
            "arm": arm.name,
            "config": segment.config,
            "rung": segment.rung,
            "seed": segment.seed,
            "configuration": self._configuration,
            "network": arm.network.model_dump(mode="json"),
            "depth": self._rung.depth,
            "parent_sha256": None if self._parent is None else self._parent.commit.result.checkpoint_sha256,
            "counters": counters,
        }


def _device(wanted: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def configured(settings: PPOSettings, configuration: Configuration) -> PPOSettings:
    """The study's PPO settings with a configuration laid over them, validated as a whole."""
    return PPOSettings.model_validate(settings.model_dump() | configuration)
