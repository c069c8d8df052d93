"""A trained policy as a file that runs without this package: raw observations in, actions out, checked before written.

`.pt2` needs torch (`torch.export`; TorchScript is deprecated in torch 2.13), `.onnx` any ONNX runtime. What it is the
policy of stands inside the file, as the JSON `METADATA`.
"""

from __future__ import annotations

import copy
import io
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import Tensor, nn

from grownn_hpo import __version__, ppo
from grownn_hpo.acting.trained import TrainedAgent, one_thread
from grownn_hpo.errors import GrowNNError, InputError
from grownn_hpo.ppo.normalise import CLIP
from grownn_hpo.spec import Characters, Continuous, Discrete

ONNX, TORCH = ".onnx", ".pt2"
METADATA = "grownn_hpo.json"
"""The name of the metadata inside: a metadata property in ONNX, an extra file in torch's archive."""

TOLERANCE = 1e-5
"""How far continuous actions may be from the agent's own, relative to 1 or their size; choices must be the same."""


class Policy(nn.Module):
    """The deterministic policy of raw observations: float32 [B, size] or uint8 [B, rows, columns].

    Gives the most probable choices, int64 [B], or the means clipped to the actions' bounds, float32 [B, A].
    """

    mean: Tensor
    deviation: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, agent: ppo.Agent, action: Discrete | Continuous) -> None:
        super().__init__()
        network, moments = agent.network, agent.observation_moments
        self.features = network.features
        self.layers = nn.Sequential(network.input_activation, *network.stack, *network.policy)
        self.normalises, self.clips = moments is not None, isinstance(action, Continuous)
        if moments is not None:
            self.register_buffer("mean", torch.tensor(moments.mean))
            self.register_buffer("deviation", torch.tensor(moments.deviation))
        if isinstance(action, Continuous):
            self.register_buffer("low", torch.tensor(action.low, dtype=torch.float32))
            self.register_buffer("high", torch.tensor(action.high, dtype=torch.float32))

    def forward(self, observations: Tensor) -> Tensor:
        if self.normalises:
            scaled = (observations.double() - self.mean) / self.deviation
            observations = scaled.clamp(-CLIP, CLIP).float()
        outputs: Tensor = self.layers(self.features(observations))
        return outputs.clamp(self.low, self.high) if self.clips else outputs.argmax(-1)


def export_policy(trained: TrainedAgent, suffix: str) -> bytes:
    """The agent's policy as the bytes of a file of the kind that `suffix` names.

    Checked on the checkpoint's stored observations (up to 256 that were acted on in training): the file's actions are
    the agent's. Raises GrowNNError where they are not, InputError as `refuse_policy`.
    """
    refuse_policy(suffix)
    policy = Policy(copy.deepcopy(trained.agent), trained.spaces.action).eval().requires_grad_(False)
    probe = trained.agent.probe
    described = describe_policy(trained) | {"checked_observations": len(probe)}
    metadata = json.dumps(described, indent=1, allow_nan=False)
    with one_thread():
        if suffix == ONNX:
            from grownn_hpo.acting import onnx_file

            data = onnx_file.write(policy, trained.spaces, METADATA, metadata)
            run = onnx_file.read(data)
        else:
            data = _torch_file(policy, probe, metadata)
            run = _torch_program(data)
        _check(trained, run, suffix)
    return data


def refuse_policy(suffix: str) -> None:
    """InputError where no policy can be written as such a file, before anything is loaded for it."""
    if suffix == ONNX:
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
        except ImportError as error:
            raise InputError(
                f"an {ONNX} needs {error.name}, which is not installed: pip install 'grownn-hpo[onnx]', or write"
                f" a {TORCH}"
            ) from None
    elif suffix != TORCH:
        old = " (TorchScript, .pt, is deprecated: torch's own form is .pt2)" if suffix in (".pt", ".pth") else ""
        raise InputError(f"--policy: {suffix or 'no suffix'!r}: the file's name must end in {ONNX} or {TORCH}{old}")


def describe_policy(trained: TrainedAgent) -> dict[str, JsonValue]:
    """What the policy is of, what it takes and what it gives. `B` is any number of observations."""
    segment, result, action = trained.segment, trained.result, trained.spaces.action
    seen, kwargs = trained.spaces.observation, dict(trained.arm.task.kwargs)
    if isinstance(seen, Characters):
        observations: JsonValue = {"dtype": "uint8", "shape": ["B", seen.rows, seen.columns], "key": "chars"}
    else:
        observations = {"dtype": "float32", "shape": ["B", seen.size]}
    if isinstance(action, Continuous):
        low, high = ([x if math.isfinite(x) else None for x in bound] for bound in (action.low, action.high))
        actions: JsonValue = {"dtype": "float32", "shape": ["B", len(low)], "low": [*low], "high": [*high]}
    else:
        actions = {"dtype": "int64", "shape": ["B"], "names": list(trained.action_names)}
    return {
        "format": 1,
        "grownn_hpo": __version__,
        "study": trained.arm.study,
        "arm": trained.arm.name,
        "config": segment.config,
        "rung": segment.rung,
        "seed": segment.seed,
        "env_steps": result.env_steps,
        "mean_return": result.mean_return,
        "checkpoint_sha256": result.checkpoint_sha256,
        "env": trained.env,
        "env_kwargs": kwargs,
        "observations": observations,
        "actions": actions,
    }


def _torch_file(policy: Policy, probe: NDArray[Any], metadata: str) -> bytes:
    example = torch.tensor(probe[:2])  # of one alone, torch would conclude that there never are more
    dynamic = {"observations": {0: torch.export.Dim("B", min=1)}}
    program = torch.export.export(policy, (example,), dynamic_shapes=dynamic)
    program.example_inputs = None  # torch would pickle them
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={METADATA: metadata})
    return content.getvalue()


def _torch_program(data: bytes) -> Callable[[NDArray[Any]], NDArray[Any]]:
    module = torch.export.load(io.BytesIO(data)).module()

    def run(observations: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            actions: NDArray[Any] = module(torch.tensor(observations)).numpy()
        return actions

    return run


def _check(trained: TrainedAgent, run: Callable[[NDArray[Any]], NDArray[Any]], suffix: str) -> None:
    """GrowNNError unless the file acts as the agent does, on all stored observations together and on one alone."""
    probe = trained.agent.probe
    for observations in (probe, probe[:1]):
        own, its = trained.act(observations), run(observations)
        if its.shape == own.shape and its.dtype == own.dtype:
            if own.dtype.kind == "i":
                same = its == own
            else:
                same = (np.abs(its - own) <= TOLERANCE * np.maximum(1.0, np.abs(own))).all(-1)
            if same.all():
                continue
            wrong = f"acts otherwise than the agent on {int((~same).sum())} of {len(probe)} stored observations"
        else:
            wrong = f"gives {its.dtype}{list(its.shape)} for the agent's {own.dtype}{list(own.shape)}"
        raise GrowNNError(
            f"the policy of {trained.segment} as {suffix} {wrong}, and so was not written; export it as"
            f" {TORCH if suffix == ONNX else ONNX}, and please report this"
        )
