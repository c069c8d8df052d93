"""Rehearsing what has not been measured: which environments and depths, with which settings, and what came of it.

The cost of an env step and of an update is affine in the depth, for every layer is like the others: so the shallowest
and the deepest network of a task are rehearsed, and what lies between is interpolated.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from grownn_hpo.dispatch import Died, Dispatcher, Ending, Inline, Job, Lost, OutOfMemory, Raised, Returned, Stalled
from grownn_hpo.driver.planning.effort import Effort, Timing, between, costs
from grownn_hpo.driver.run import preload
from grownn_hpo.driver.site import NVIDIA_DRIVER
from grownn_hpo.errors import GrowNNError
from grownn_hpo.search.space import Plain, read_space, to_plain
from grownn_hpo.spec import Arm, PPOSettings, configured

ENTRY = "grownn_hpo.rehearsal:rehearse"
# Two minibatches of the largest size, or so many env steps: enough to time, and seconds even for a slow environment.
_ROLLOUT_MINIBATCHES = 2
_ROLLOUT_ENV_STEPS = 512
_MANY_EPOCHS = 10  # at most
_MOST_EPISODES = 4

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """A rung (from 1) to rehearse, and configurations like those that will be trained there."""

    arm: Arm
    rung: int
    samples: Sequence[Plain]

    @property
    def depth(self) -> int:
        return self.arm.rungs[self.rung - 1].depth

    def __str__(self) -> str:
        return f"{self.arm.env_of(self.rung)} at depth {self.depth}"


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a rehearsal of a whole segment told of `Effort`."""

    start_seconds: float
    episode_seconds: float
    checkpoint_bytes: float
    record_bytes: float
    memory_gib: float


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """Efforts by what they depend on, and by depth."""

    efforts: Mapping[str, Mapping[int, Effort]]

    def effort(self, arm: Arm, rung: int) -> Effort:
        """What training takes at a rung (from 1) that was among those given to `rehearse`."""
        found, depth = self.efforts[_theme(arm, rung)], arm.rungs[rung - 1].depth
        low, high = min(found), max(found)
        share = (depth - low) / (high - low) if high > low else 0.0
        return between(found[low], found[high], share)


def rehearse(stages: Sequence[Stage], tell: Tell) -> Rehearsed:
    """Train a little at these rungs, in attempt processes on this machine, one after another; a few seconds each.

    GrowNNError where a rehearsal fails, in the words of an attempt's failure.
    """
    themes: dict[str, dict[int, Stage]] = {}
    for stage in stages:
        themes.setdefault(_theme(stage.arm, stage.rung), {})[stage.depth] = stage
    if not themes:
        return Rehearsed({})
    efforts: dict[str, dict[int, Effort]] = {}
    with Inline(preload([stage.arm for stage in stages])) as dispatcher:
        for theme, by_depth in themes.items():
            efforts[theme] = {}
            for depth in sorted({min(by_depth), max(by_depth)}):
                began = time.perf_counter()
                efforts[theme][depth] = _effort(dispatcher, by_depth[depth])
                tell(f"rehearsed {by_depth[depth]} in {time.perf_counter() - began:.0f} s")
    return Rehearsed(efforts)


def _effort(dispatcher: Dispatcher, stage: Stage) -> Effort:
    """Rehearse one rung."""
    arm = stage.arm
    configurations = list(_configurations(arm, stage.samples))
    payload = json.dumps({"arm": _alone(arm, stage.rung).model_dump_json(), "configurations": configurations})
    limits = arm.limits
    dispatcher.submit(
        Job(str(stage), ENTRY, payload, memory_gib=limits.memory_gib, stalled_seconds=limits.stalled_seconds)
    )
    while not (endings := dispatcher.wait(1.0)):
        pass
    answer = json.loads(_returned(stage, endings[0][1]))
    rollouts = answer.pop("rollout_seconds")
    settings = [configured(arm.ppo, configuration) for configuration in configurations]
    timings = [
        Timing(each.n_steps * arm.task.envs, each.batch_size, each.n_epochs, seconds)
        for each, seconds in zip(settings, rollouts, strict=True)
    ]
    env_step, minibatch, row = costs(*timings)
    return Effort(env_step_seconds=env_step, minibatch_seconds=minibatch, row_seconds=row, **asdict(Weighed(**answer)))


def _configurations(arm: Arm, samples: Sequence[Plain]) -> Iterator[Plain]:
    """The space's default configuration with few epochs, many epochs and small minibatches, and a short rollout."""
    settings: list[PPOSettings] = [configured(arm.ppo, sample) for sample in samples]
    largest = max(each.batch_size for each in settings)
    smallest = min(each.batch_size for each in settings)
    if smallest * _ROLLOUT_MINIBATCHES > largest:  # alike: their cost could not be told from that of their rows
        smallest = max(1, largest // (2 * _ROLLOUT_MINIBATCHES))
    wanted = max(_ROLLOUT_MINIBATCHES * largest, _ROLLOUT_ENV_STEPS)
    n_steps = min(max(each.n_steps for each in settings), math.ceil(wanted / arm.task.envs))
    many = max(2, min(_MANY_EPOCHS, max(each.n_epochs for each in settings)))
    default = to_plain(read_space(arm.space, arm.study).get_default_configuration())
    for batch_size, n_epochs in ((largest, 1), (largest, many), (smallest, many)):
        yield {**default, "n_steps": n_steps, "batch_size": batch_size, "n_epochs": n_epochs}


def _alone(arm: Arm, rung: int) -> Arm:
    """The arm with this rung alone, without boundaries, and on the CPU where a GPU is asked for that is elsewhere."""
    episodes = min(arm.evaluation.episodes, _MOST_EPISODES)
    return arm.model_copy(
        update={
            "rungs": (arm.rungs[rung - 1].model_copy(update={"configurations": 1}),),
            "evaluation": arm.evaluation.model_copy(update={"episodes": episodes}),
            "boundary_env_steps": None,
            "device": "cpu" if arm.device == "cuda" and not NVIDIA_DRIVER.exists() else arm.device,
        }
    )


def _theme(arm: Arm, rung: int) -> str:
    """What an effort depends on beside the depth; rungs of other arms that agree in it share a rehearsal."""
    fields = {"task", "network", "ppo", "space", "device"}
    return json.dumps([arm.env_of(rung), arm.evaluation.episodes, arm.model_dump(mode="json", include=fields)])


def _returned(stage: Stage, ending: Ending) -> str:
    match ending:
        case Returned(value):
            return value
        case Raised(kind, message, traceback):
            cause, detail = f"{kind}: {message}", traceback
        case Died(_, output_tail):
            cause, detail = ending.cause, output_tail
        case Stalled(seconds, output_tail):
            cause, detail = f"no progress for {seconds:.0f} s, the limit", output_tail
        case OutOfMemory(reason):
            cause, detail = "out of memory", reason
        case Lost(reason):
            cause, detail = reason, ""
    raise GrowNNError(
        f"the rehearsal of {stage} failed ({cause}), as every attempt at its segments would:"
        f" mend that before the study runs\n{detail}".rstrip()
    )
