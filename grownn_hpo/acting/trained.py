"""A trained agent taken from a committed checkpoint: what it does, and the evaluation that the ledger tells of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue

from grownn_hpo import ppo
from grownn_hpo.envs import Episodes, VectorEnv, play
from grownn_hpo.envs.interface import Drawable, Single
from grownn_hpo.envs.opening import open_env
from grownn_hpo.errors import Fault, InputError
from grownn_hpo.ppo.distribution import mode, noise_for, sample
from grownn_hpo.segment import MOST_EVALUATORS, Stream, evaluators, stream_seed
from grownn_hpo.spec import Arm, Characters, Continuous, Spaces, configured
from grownn_hpo.store.arm import Configuration, configurations_of, read_arm, read_brackets
from grownn_hpo.store.attempts import Committed, committed
from grownn_hpo.store.checkpoint import read_checkpoint
from grownn_hpo.store.curve import read_curve
from grownn_hpo.store.paths import CHECKPOINT, ArmFolder
from grownn_hpo.store.terms import terms_sha256
from grownn_hpo.trial import Segment, SegmentResult, Status

Opener = Callable[[str, Mapping[str, Any]], Single]


@dataclass(frozen=True, slots=True)
class TrainedAgent:
    """The agent at the end of a segment; make one with `load_agent`.

    `result` is what the ledger says of the segment, `rounds` how many evaluations it had. `steps_per_second` is how
    fast its environment is to be shown, None where that is a map of characters.
    """

    arm: Arm
    configuration: Configuration
    result: SegmentResult
    rounds: int
    agent: ppo.Agent
    spaces: Spaces
    action_names: tuple[str, ...]
    steps_per_second: float | None

    @property
    def segment(self) -> Segment:
        return self.result.segment

    @property
    def env(self) -> str:
        """The id of the environment that the agent was trained in last."""
        return self.arm.env_of(self.segment.rung)

    @property
    def network(self) -> ppo.ActorCritic:
        """The torch module, from normalised observations to logits or means, and values."""
        return self.agent.network

    def act(
        self, observations: Any, deterministic: bool = True, generator: torch.Generator | None = None
    ) -> NDArray[Any]:
        """The actions for raw observations, as the environment gives them: one, or a batch of `B`.

        One observation is whatever has as many numbers as the task's (a Box of any shape, a Discrete as one-hot) or,
        in MiniHack, a map of characters [21, 79], or the dictionary that holds it as `chars`. They are normalised as
        in training. Returns int64 [] or [B], or float32 [A] or [B, A], clipped to the actions' bounds. The actions
        are the most probable ones, or drawn by `generator` (torch's own if there is none). Raises InputError for
        observations of another shape, or not finite.
        """
        batch, single = self._batch(observations)
        with one_thread():
            outputs, _ = ppo.outputs(self.agent, batch)
            log_std = self.network.log_std
            with torch.inference_mode():
                if deterministic:
                    chosen = mode(outputs, log_std)
                else:
                    drawn = generator if generator is not None else torch.default_generator
                    chosen = sample(outputs, noise_for(tuple(outputs.shape), log_std, drawn), log_std)
        actions: NDArray[Any] = chosen.cpu().numpy()
        if isinstance(self.spaces.action, Continuous):
            low, high = (np.array(bound, np.float32) for bound in (self.spaces.action.low, self.spaces.action.high))
            actions = np.clip(actions, low, high)
        return actions[0] if single else actions

    def play(self, episodes: int = 10, seed: int = 0) -> Episodes:
        """Fresh episodes of the deterministic policy, each a function of `seed` and its number.

        Undiscounted returns, lengths in env steps, successes. Raises InputError for fewer than one episode.
        """
        if episodes < 1:
            raise InputError(f"episodes = {episodes}: must be at least 1")
        return self._played(min(episodes, MOST_EVALUATORS), seed, episodes, 0, open_env)

    def replay(self, opener: Opener = open_env) -> Episodes:
        """The segment's last evaluation once more, episode by episode: its mean return is the ledger's.

        To the last bit where versions and the CPU's kind are those that it was trained with. `opener` builds the
        environments.
        """
        segment = self.segment
        seed = stream_seed(self.arm.seed, segment.seed, segment.rung, Stream.EVALUATION)
        return self._played(evaluators(self.arm), seed, self.arm.evaluation.episodes, self.rounds, opener)

    def _played(self, n: int, seed: int, episodes: int, round_number: int, opener: Opener) -> Episodes:
        with one_thread(), VectorEnv(self.env, self.arm.task.kwargs, n, seed, opener) as vector:
            return play(ppo.policy(self.agent, n), vector, episodes, round_number)

    def _batch(self, observations: Any) -> tuple[NDArray[Any], bool]:
        """The observations as the networks take them [B, *O], and whether it was a single one."""
        if isinstance(observations, Mapping):
            if "chars" not in observations:
                keys = ", ".join(map(str, observations))
                raise InputError(f"observations = a mapping of {keys}: must hold `chars`, the map that the agent sees")
            observations = observations["chars"]
        seen = np.asarray(observations)
        space = self.spaces.observation
        if isinstance(space, Characters):
            shape: tuple[int, ...] = (space.rows, space.columns)
            single, batched = seen.shape == shape, seen.ndim == 3 and seen.shape[1:] == shape
        else:
            shape = (space.size,)
            single = seen.size == space.size and seen.shape != (1, space.size)
            batched = not single and seen.ndim > 1 and seen.size == len(seen) * space.size
        if not (single or batched) or not seen.size:
            rule = f"must be one observation of shape {list(shape)}, or a batch [B, {', '.join(map(str, shape))}]"
            raise InputError(f"observations of shape {list(seen.shape)}: {rule}")
        if seen.dtype.kind not in "biuf" or not np.isfinite(seen).all():
            raise InputError(f"observations of {seen.dtype}: must be finite numbers")
        wanted = np.uint8 if isinstance(space, Characters) else np.float32
        return seen.reshape(-1, *shape).astype(wanted), single


def load_agent(folder: ArmFolder, config: int, rung: int, seed: int, sha256: str | None = None) -> TrainedAgent:
    """The agent of a configuration and seed at the end of a rung (all as in the ledger), on the CPU.

    Also of a study that is still running. With `sha256`, only that checkpoint. Raises InputError where there is none:
    not finished yet, failed, deleted by `grownn clean`, damaged, or another.
    """
    arm = read_arm(folder)
    if seed not in arm.seeds:
        raise InputError(Fault(str(folder.root), "seed", seed, f"must be one of the study's, {_listed(arm.seeds)}"))
    if not 1 <= rung <= len(arm.rungs):
        raise InputError(Fault(str(folder.root), "rung", rung, f"must be one of the arm's, 1 to {len(arm.rungs)}"))
    configurations = configurations_of(read_brackets(folder, arm), arm.rungs[0].configurations)
    if config not in configurations:
        known = f"those suggested so far are 1 to {max(configurations)}" if configurations else "there is none yet"
        raise InputError(Fault(str(folder.root), "config", config, f"is no configuration of this arm; {known}"))
    segment, configuration = Segment(config, rung, seed), configurations[config]
    found = committed(folder, segment, terms_sha256(arm, configuration))
    tensors, meta = _checkpoint(folder, segment, found, sha256)
    assert found is not None
    single = open_env(arm.env_of(rung), arm.task.kwargs)
    try:
        spaces, names = single.spaces, single.action_names
        speed = single.steps_per_second if isinstance(single, Drawable) else None
    finally:
        single.close()
    settings = configured(arm.ppo, configuration)
    agent = ppo.restore_agent(tensors, meta, arm.network, arm.rungs[rung - 1].depth, spaces, settings)
    rounds = len(read_curve(found.folder))
    return TrainedAgent(arm, configuration, found.commit.result, rounds, agent, spaces, names, speed)


def _checkpoint(
    folder: ArmFolder, segment: Segment, found: Committed | None, sha256: str | None
) -> tuple[dict[str, torch.Tensor], Mapping[str, JsonValue]]:
    """The checkpoint's tensors and counters."""
    where = f"{folder.root}: {segment}"
    if found is None:
        raise InputError(f"{where}: has not finished, so there is no agent yet; see: grownn status {folder.root}")
    result = found.commit.result
    if result.status is not Status.COMPLETED:
        raise InputError(f"{where}: {result.status} ({result.detail}), so there is no agent; choose another")
    if sha256 not in (None, result.checkpoint_sha256):
        rule = f"its checkpoint is {result.checkpoint_sha256}, and the incumbent's file names {sha256}"
        raise InputError(f"{where}: {rule}: it is of another study; name the folder that it was exported from")
    if not (found.folder / CHECKPOINT).exists():
        rule = (
            "its checkpoint was deleted (grownn clean); only those that may be needed again, the incumbent's too, stay"
        )
        raise InputError(f"{where}: {rule}")
    try:
        tensors, meta = read_checkpoint(found.folder, found.commit.artefacts)
    except ValueError:
        rule = "its checkpoint is damaged: its SHA-256 is not the one that was committed"
        raise InputError(f"{where}: {rule}; put back a copy, or choose another seed") from None
    counters = meta["counters"]
    assert isinstance(counters, dict)  # as it was committed
    return tensors, counters


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread, as in training: sums over more have other last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _listed(seeds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seeds))
