"""An update in compiled kernels, an epoch a call: what `update.by_autograd` computes, for networks of vectors.

For networks this small, what surrounds the arithmetic in Python and torch takes several times as long as that.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grownn_hpo import native
from grownn_hpo.ppo.adam import Trained
from grownn_hpo.ppo.agent import Agent
from grownn_hpo.ppo.divergence import must_be_finite
from grownn_hpo.ppo.loss import Losses
from grownn_hpo.ppo.packing import Array, Memory, Packing
from grownn_hpo.spec import PPOSettings


@torch.no_grad()
def by_kernels(
    agent: Agent,
    observations: Tensor,
    actions: Tensor,
    log_probs: Tensor,
    advantages: Tensor,
    returns: Tensor,
    settings: PPOSettings,
    shuffle: torch.Generator,
) -> Losses:
    """As `update.by_autograd`, up to rounding; on the CPU, of vectors."""
    learning_rate, count = agent.optimizer.param_groups[0]["lr"], len(observations)
    transitions = [t.contiguous().numpy() for t in (observations, actions, log_probs, advantages, returns)]
    training = Training(agent, transitions, settings)
    minibatches = -(-count // settings.batch_size)
    # By epoch and minibatch: those of `Losses`, and the gradient's norm.
    statistics = np.zeros((settings.n_epochs, minibatches, 6))
    try:
        for its in statistics:
            done = training.epoch(torch.randperm(count, generator=shuffle).numpy(), learning_rate, its)
            if done < minibatches:
                policy, value, entropy, *_, norm = its[done].tolist()
                must_be_finite(agent, policy + settings.vf_coef * value - settings.ent_coef * entropy, norm)
    finally:
        training.give_back()
    return Losses(*statistics[..., :-1].mean((0, 1)).tolist())


class Training:
    """All that the kernels read and write in an update of an agent, from `transitions` as `update` takes them."""

    def __init__(self, agent: Agent, transitions: list[Array], settings: PPOSettings) -> None:
        network, group = agent.network, agent.optimizer.param_groups[0]
        packing = Packing(network)
        self._trained: dict[Tensor, Trained] = {p: Trained.of(agent.optimizer, p) for p in network.parameters()}
        values, exp_avg, exp_avg_sq, gradient = (packing.zeros(packing.size) for _ in range(4))
        self._pairs = list(self._paired([packing.parts(vector) for vector in (values, exp_avg, exp_avg_sq)]))
        for part, its in self._pairs:
            part[...] = its
        # A grown layer is younger than its neighbours: neighbours of one age are stepped together.
        ages = [(self._trained[place.linear.weight].step.item(), place.end) for place in packing.places]
        if network.log_std is not None:
            ages.append((self._trained[network.log_std].step.item(), packing.size))
        runs = [(age, [end for _, end in its][-1]) for age, its in groupby(ages, lambda pair: pair[0])]
        steps, ends = (np.array(column, np.int64) for column in zip(*runs, strict=True))
        observations, actions, log_probs, advantages, returns = transitions
        memory = Memory(packing, min(settings.batch_size, len(observations)))
        numbers = {
            "values": values,
            "exp_avg": exp_avg,
            "exp_avg_sq": exp_avg_sq,
            "gradient": gradient,
            "observations": observations,
            "log_probs": log_probs,
            "advantages": advantages,
            "returns": returns,
            **{n: getattr(memory, n) for n in ("inputs", "sums", "outputs", "by_outputs", "other", "transposed")},
        }
        whole = {"span_ends": ends, "steps": steps}
        if network.log_std is None:
            whole["choices"] = actions
        else:
            numbers["actions"] = actions
        beta1, beta2 = group["betas"]
        self._update = native.Update(
            network=ctypes.pointer(packing.network),
            size=packing.size,
            transitions=len(observations),
            batch=settings.batch_size,
            observation_size=observations.shape[1],
            action_count=network.actions,
            value_column=packing.value_column,
            log_std=packing.log_std,
            clip_range=settings.clip_range,
            vf_coef=settings.vf_coef,
            ent_coef=settings.ent_coef,
            max_grad_norm=settings.max_grad_norm,
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            normalize_advantage=settings.normalize_advantage,
            spans=len(ends),
            **{name: native.pointer(array, packing.dtype) for name, array in numbers.items()},
            **{name: native.pointer(array, "int64") for name, array in whole.items()},
        )
        self._kept: Any = packing, numbers, whole  # pointers do not keep what they point to
        self._kernels = native.kernels(packing.dtype)
        self._steps, self._steps_before = steps, steps.copy()

    def epoch(self, order: Array, learning_rate: float, statistics: Array) -> int:
        """Learn from the transitions in an order int64 [M]; how many minibatches, and a row of `statistics` for each.

        They are fewer than all where a loss or a gradient was not finite: the row behind the last is that one's.
        """
        written = native.pointer(statistics, "float64")
        done: int = self._kernels.epoch(self._update, native.pointer(order, "int64"), learning_rate, written)
        return done

    def give_back(self) -> None:
        """Give network and optimizer their values, moments and steps."""
        for part, its in self._pairs:
            its[...] = part
        taken = int(self._steps[0] - self._steps_before[0])
        for trained in self._trained.values():
            trained.step.add_(taken)

    def _paired(self, parts: Sequence[Mapping[Tensor, Array]]) -> Iterator[tuple[Array, Array]]:
        """What stands for each parameter and each of its moments, and these themselves."""
        for parameter, its in self._trained.items():
            for each, tensor in zip(parts, (its.values, its.exp_avg, its.exp_avg_sq), strict=True):
                yield each[parameter], tensor.detach().numpy()
