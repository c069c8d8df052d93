"""What is carried from one segment of training to the next, and how it becomes named tensors and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import Tensor
from torch.optim import Adam

from grownn_hpo.errors import Fault, GrowNNError, InputError
from grownn_hpo.ppo.distribution import mode
from grownn_hpo.ppo.environments import Array
from grownn_hpo.ppo.network import ActorCritic
from grownn_hpo.ppo.normalise import RewardScaler, RunningMoments
from grownn_hpo.ppo.packing import suits_kernels
from grownn_hpo.ppo.stepper import VectorStepper
from grownn_hpo.spec import Characters, Network, PPOSettings, Spaces, Vector

# How many observations are kept for the check that growth changed nothing.
PROBE = 256


class CheckpointMismatch(GrowNNError):
    """The tensors of a checkpoint are not those of the agent that is to be restored."""


@dataclass(slots=True)
class Agent:
    """Everything the next segment starts from; training moves it in place.

    `observation_moments` and `reward_scaler` are None where not asked for. `env_steps` and `updates` count over
    the whole lineage. `probe` [P, S] holds the last (up to 256) raw observations that were acted on.
    """

    network: ActorCritic
    optimizer: Adam
    observation_moments: RunningMoments | None
    reward_scaler: RewardScaler | None
    env_steps: int
    updates: int
    probe: Array

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def normalised(self, raw: Array) -> Array:
        """Observations [B, S] as the network takes them; the statistics stay as they are."""
        return raw if self.observation_moments is None else self.observation_moments.normalise(raw)


def new_agent(
    spec: Network,
    depth: int,
    spaces: Spaces,
    settings: PPOSettings,
    cells: NDArray[np.bool_] | None,
    seed: int,
    device: str | torch.device = "cpu",
) -> Agent:
    """An agent that has seen nothing, its weights drawn from `seed` alone.

    `cells` [rows, columns] says which of a map's cells the network reads; None: all. Raises InputError where the
    network does not fit the spaces.
    """
    agent = _unfilled(spec, depth, spaces, settings, None if cells is None else torch.tensor(cells), device)
    agent.network.initialise(spec.initialisation, torch.Generator().manual_seed(seed))
    return agent


def agent_state(agent: Agent) -> tuple[dict[str, Tensor], dict[str, JsonValue]]:
    """All of the agent as named tensors (on the CPU, copied) and counters, with no structure to unpickle.

    Names: `network.<name>`, `adam.<parameter>.exp_avg|exp_avg_sq|step` (absent before the parameter's first update),
    `normaliser.observations|rewards.mean|var|count`, `probe`.
    """
    tensors = {f"network.{name}": tensor for name, tensor in agent.network.state_dict().items()}
    for name, parameter in agent.network.named_parameters():
        for key, tensor in agent.optimizer.state.get(parameter, {}).items():
            tensors[f"adam.{name}.{key}"] = tensor
    for name, moments in _moments(agent).items():
        for key in ("mean", "var", "count"):
            tensors[f"normaliser.{name}.{key}"] = torch.tensor(getattr(moments, key), dtype=torch.float64)
    tensors["probe"] = torch.tensor(agent.probe)
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    return copies, {"env_steps": agent.env_steps, "updates": agent.updates}


def restore_agent(
    tensors: Mapping[str, Tensor],
    counters: Mapping[str, JsonValue],
    spec: Network,
    depth: int,
    spaces: Spaces,
    settings: PPOSettings,
    device: str | torch.device = "cpu",
) -> Agent:
    """The agent that `agent_state` was taken of, bit for bit; the tensors are copied.

    Raises CheckpointMismatch where a name or a shape is not that agent's, InputError as `new_agent`.
    """
    agent = _unfilled(spec, depth, spaces, settings, tensors.get("network.features.cells"), device)
    own = agent.network.state_dict()
    adam = {
        f"adam.{name}.{key}": (parameter, key, () if key == "step" else parameter.shape)
        for name, parameter in agent.network.named_parameters()
        for key in ("step", "exp_avg", "exp_avg_sq")
    }
    moments = {
        f"normaliser.{name}.{key}": (its, key)
        for name, its in _moments(agent).items()
        for key in ("mean", "var", "count")
    }
    required = {f"network.{name}" for name in own} | moments.keys() | {"probe"}
    # A parameter that was never updated has no state; one that was has all of it.
    updated = {name.rpartition(".")[0] for name in tensors.keys() & adam.keys()}
    required |= {name for name in adam if name.rpartition(".")[0] in updated}
    if missing := sorted(required - tensors.keys()):
        raise CheckpointMismatch(_mismatch("lacks", missing, depth))
    if unknown := sorted(tensors.keys() - required - adam.keys()):
        raise CheckpointMismatch(_mismatch("has the unknown", unknown, depth))
    shapes = {f"network.{name}": tensor.shape for name, tensor in own.items()}
    shapes |= {name: torch.Size(shape) for name, (_, _, shape) in adam.items()}
    if wrong := sorted(name for name in tensors if name in shapes and tensors[name].shape != shapes[name]):
        raise CheckpointMismatch(_mismatch("has in other shapes", wrong, depth))

    agent.network.load_state_dict({name: tensors[f"network.{name}"] for name in own})
    for name, (parameter, key, _) in adam.items():
        if name in tensors:
            agent.optimizer.state[parameter][key] = tensors[name].to(parameter.device, copy=True)
    for name, (its, key) in moments.items():
        value = tensors[name].to("cpu", torch.float64)
        setattr(its, key, value.item() if key == "count" else value.numpy().copy())
    agent.probe = tensors["probe"].cpu().numpy().copy()
    agent.env_steps, agent.updates = _count(counters, "env_steps"), _count(counters, "updates")
    return agent


@torch.inference_mode()
def outputs(agent: Agent, observations: Array) -> tuple[Tensor, Tensor]:
    """Logits or means [B, A] and values [B] for raw observations [B, S], on the CPU."""
    # torch.tensor copies: alignment decides which kernel runs, and so the last bits.
    policy, values = agent.network(torch.tensor(agent.normalised(observations), device=agent.device))
    return policy.cpu(), values.cpu()


def policy(agent: Agent, n: int) -> Callable[[Array], Array]:
    """The deterministic policy of an agent that stays as it is.

    A function from raw observations [B, S], B at most `n`, to actions: int64 [B], or float32 [B, A] unclipped.
    """
    log_std = agent.network.log_std
    if not suits_kernels(agent.network):
        return lambda observations: mode(outputs(agent, observations)[0], log_std).numpy()
    step = VectorStepper(agent.network, n)
    step.refresh()
    seen = np.zeros((n, agent.probe.shape[1]), np.float32)  # the rows of environments that have finished are left over

    def act(observations: Array) -> Array:
        seen[: len(observations)] = agent.normalised(observations)
        means = step(seen)[0][: len(observations)]
        return mode(means, log_std).copy()

    return act


def _unfilled(
    spec: Network, depth: int, spaces: Spaces, settings: PPOSettings, cells: Tensor | None, device: str | torch.device
) -> Agent:
    """An agent whose weights are whatever was in memory."""
    device = torch.device(device)
    if device.type == "cuda":  # identity layers are exact only without it
        torch.backends.cuda.matmul.allow_tf32 = False
    space = spaces.observation
    if settings.normalize_observations and isinstance(space, Characters):
        rule = "characters have no mean: must be false for a map of characters"
        raise InputError(Fault("ppo", "normalize_observations", True, rule))
    network = ActorCritic(spec, depth, spaces, cells, settings.initial_log_std).to(device)
    return Agent(
        network=network,
        optimizer=Adam(network.parameters(), lr=settings.learning_rate, eps=settings.adam_eps, fused=True),
        observation_moments=(
            RunningMoments.of_shape(space.size)
            if settings.normalize_observations and isinstance(space, Vector)
            else None
        ),
        reward_scaler=RewardScaler.new(settings.gamma) if settings.normalize_rewards else None,
        env_steps=0,
        updates=0,
        probe=(
            np.zeros((0, space.size), np.float32)
            if isinstance(space, Vector)
            else np.zeros((0, space.rows, space.columns), np.uint8)
        ),
    )


def _moments(agent: Agent) -> dict[str, RunningMoments]:
    moments = {}
    if agent.observation_moments is not None:
        moments["observations"] = agent.observation_moments
    if agent.reward_scaler is not None:
        moments["rewards"] = agent.reward_scaler.moments
    return moments


def _mismatch(what: str, names: list[str], depth: int) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return (
        f"the checkpoint {what} {shown}, compared with an agent of depth {depth}:"
        " restore it with the network, depth, spaces and settings that it was written with"
    )


def _count(counters: Mapping[str, JsonValue], key: str) -> int:
    value = counters.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise CheckpointMismatch(f"the checkpoint's {key} = {value!r}: must be a count; the checkpoint is damaged")
    return value
