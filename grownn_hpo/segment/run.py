"""One attempt at a segment: where it begins, its legs, its boundaries, and what came of it."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import cast

import torch
from pydantic import JsonValue
from torch import Tensor

from grownn_hpo import morphism, ppo
from grownn_hpo.envs import VectorEnv, describe, play, varying_cells
from grownn_hpo.segment.streams import Stream, stream_seed
from grownn_hpo.spec import Arm, configured, legs_of
from grownn_hpo.store.arm import Configuration
from grownn_hpo.store.attempts import Committed, Measured, claim_attempt
from grownn_hpo.store.boundary import Boundary, Origin, best_boundary, write_boundary
from grownn_hpo.store.checkpoint import packed, read_checkpoint, unpacked, write_checkpoint
from grownn_hpo.store.curve import Tick, append_point, append_tick, begin_curve, curve_text, read_curve
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import CurvePoint, Segment, SegmentResult, Status

# More environments evaluate no faster in one process, and a NetHack takes a while to build.
MOST_EVALUATORS = 8


def evaluators(arm: Arm) -> int:
    """How many environments play a segment's evaluation rounds side by side."""
    return min(arm.task.envs, arm.evaluation.episodes, MOST_EVALUATORS)


class GrowthError(Exception):
    """Growing changed the function that the network computes: a defect of this program, never of the configuration."""


class SegmentRun:
    """One attempt at a segment, from the parent's checkpoint or a boundary to the artefacts in a folder of its own."""

    def __init__(
        self,
        arm: Arm,
        configuration: Configuration,
        segment: Segment,
        folder: ArmFolder,
        parent: Committed | None,
        beat: Callable[[], None],
        terms_sha256: str,
    ) -> None:
        self._started = time.perf_counter()
        self.attempt = claim_attempt(folder, segment)
        self._arm, self._segment, self._folder, self._parent, self._beat = arm, segment, folder, parent, beat
        self._rung = arm.rungs[segment.rung - 1]
        self._env = arm.env_of(segment.rung)
        self._spaces = describe(self._env, arm.task.kwargs)
        self._settings = configured(arm.ppo, configuration)
        self._configuration = configuration
        self._legs = legs_of(arm, segment.rung, configuration)
        self._parent_sha256 = None if parent is None else parent.commit.result.checkpoint_sha256
        self._origin = Origin(segment, self._parent_sha256, terms_sha256)
        self._growth: float | None = None
        self._rounds = 0
        self._training_seconds = self._evaluation_seconds = 0.0
        self._env_steps = 0

    def train(self) -> SegmentResult:
        """The segment's result; its artefacts are written, not yet committed."""
        agent, done = self._begin()
        began_at = agent.env_steps
        detail = checkpoint_sha256 = None
        try:
            for leg in range(done + 1, len(self._legs) + 1):
                self._train_leg(agent, leg)
                if leg < len(self._legs):
                    agent = self._cross_boundary(agent, leg)
        except ppo.Diverged as error:
            detail = str(error)
        self._env_steps = agent.env_steps - began_at
        last = read_curve(self.attempt)[-1] if detail is None else None
        if last is not None and not math.isfinite(last.mean_return):
            detail, last = f"the last evaluation's mean return is {last.mean_return}", None
        if last is not None:
            tensors, counters = ppo.agent_state(agent)
            checkpoint_sha256 = write_checkpoint(self.attempt, tensors, self._meta(counters))
        return SegmentResult(
            segment=self._segment,
            status=Status.COMPLETED if detail is None else Status.DIVERGED,
            mean_return=None if last is None else last.mean_return,
            success_rate=None if last is None else last.success_rate,
            env_steps=agent.env_steps,
            depth=self._rung.depth,
            growth_difference=self._growth,
            parent_sha256=self._parent_sha256,
            checkpoint_sha256=checkpoint_sha256,
            detail=detail,
        )

    def measured(self) -> Measured:
        """What the attempt took so far."""
        return Measured(
            seconds=time.perf_counter() - self._started,
            training_seconds=self._training_seconds,
            evaluation_seconds=self._evaluation_seconds,
            peak_memory_gib=_peak_memory_gib(),
            host=socket.gethostname(),
            env_steps=self._env_steps,
        )

    def _begin(self) -> tuple[ppo.Agent, int]:
        """The agent where this attempt begins, and how many legs it has behind it."""
        found = best_boundary(self._folder, self._origin) if len(self._legs) > 1 else None
        if found is None:
            agent = self._starting_agent()
            self._growth = self._grow(agent)
            return agent, 0
        boundary, tensors = found
        self._growth, self._rounds = boundary.growth_difference, boundary.rounds
        begin_curve(self.attempt, boundary.curve)
        return self._restored(unpacked(tensors), boundary.counters, self._rung.depth), boundary.leg

    def _train_leg(self, agent: ppo.Agent, leg: int) -> None:
        """Train `agent` through a leg (counted from 1) in environments of its own."""
        arm, task = self._arm, self._arm.task
        start, rounds = arm.env_steps_before(self._segment.rung), arm.evaluation.rounds
        with (
            VectorEnv(self._env, task.kwargs, task.envs, self._seed(Stream.ENVIRONMENTS, leg)) as environments,
            # Every round has seeds of its own, by its number in the segment.
            VectorEnv(self._env, task.kwargs, evaluators(arm), self._seed(Stream.EVALUATION)) as evaluation,
        ):
            began, evaluated = time.perf_counter(), self._evaluation_seconds
            try:
                ppo.train(
                    agent,
                    environments,
                    self._settings,
                    env_steps=self._legs[leg - 1],
                    total_env_steps=arm.env_steps,
                    action_seed=self._seed(Stream.ACTIONS, leg),
                    minibatch_seed=self._seed(Stream.MINIBATCHES, leg),
                    evaluate_at=[start + self._rung.env_steps * k // rounds for k in range(1, rounds + 1)],
                    on_evaluation=lambda trained, _: self._evaluate(trained, evaluation),
                    on_progress=self._progress,
                )
            finally:
                self._training_seconds += time.perf_counter() - began - (self._evaluation_seconds - evaluated)

    def _cross_boundary(self, agent: ppo.Agent, leg: int) -> ppo.Agent:
        """Write down where training stands after a leg; the agent as another attempt would take it from there."""
        state, counters = ppo.agent_state(agent)
        tensors = packed(state)
        boundary = Boundary(
            origin=self._origin,
            leg=leg,
            counters=cast("dict[str, int]", counters),
            rounds=self._rounds,
            curve=curve_text(self.attempt),
            growth_difference=self._growth,
        )
        write_boundary(self.attempt, boundary, tensors)
        self._beat()
        return self._restored(unpacked(tensors), counters, self._rung.depth)

    def _starting_agent(self) -> ppo.Agent:
        arm, network = self._arm, self._arm.network
        if self._parent is not None:
            tensors, meta = read_checkpoint(self._parent.folder, self._parent.commit.artefacts)
            counters = cast("dict[str, JsonValue]", meta["counters"])
            return self._restored(tensors, counters, arm.rungs[self._segment.rung - 2].depth)
        cells = None
        if network.cells == "varying":
            cells = varying_cells(sorted({arm.env_of(r) for r in range(1, len(arm.rungs) + 1)}), arm.task.kwargs)
        seed = self._seed(Stream.INITIALISATION)
        device = _device(arm.device)
        return ppo.new_agent(network, self._rung.depth, self._spaces, self._settings, cells, seed, device)

    def _restored(self, tensors: Mapping[str, Tensor], counters: Mapping[str, JsonValue], depth: int) -> ppo.Agent:
        network, device = self._arm.network, _device(self._arm.device)
        return ppo.restore_agent(tensors, counters, network, depth, self._spaces, self._settings, device)

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
            ppo.policy(agent, len(environments)),
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
        seconds = time.perf_counter() - self._started
        losses = (float(f"{value:.6g}") for value in astuple(progress.losses))  # for people, who look at many lines
        append_tick(self.attempt, Tick(progress.env_steps, seconds, progress.mean_return, *losses))
        self._beat()

    def _seed(self, stream: Stream, leg: int = 1) -> int:
        return stream_seed(self._arm.seed, self._segment.seed, self._segment.rung, stream, leg)

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
            "parent_sha256": self._parent_sha256,
            "counters": counters,
        }


def _device(wanted: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def _peak_memory_gib() -> float:
    """The most memory that this process has had; `ru_maxrss` would also count that of the one it was started from."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 2**20  # Linux counts in KiB
