"""All minibatches of an update of maps without autograd: the loops of `update.by_autograd`, each gradient written out.

Most of a map's weights belong to cells that never change, and autograd's bookkeeping costs as much as some of the
arithmetic. So: layers that write where they always write (`layers`), the loss and its gradient (`loss`), Adam on
tensors whose gradients lie in one vector (`adam`), and the map's weights by groups (`map_by_hand`). Each epoch's
transitions are shuffled at once; minibatches are slices of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from grownn_hpo.ppo.adam import Descent, Trained
from grownn_hpo.ppo.agent import Agent
from grownn_hpo.ppo.distribution import CategoricalByHand
from grownn_hpo.ppo.divergence import must_be_finite
from grownn_hpo.ppo.layers import Gradients
from grownn_hpo.ppo.loss import LossByHand, Losses, Minibatch
from grownn_hpo.ppo.map_by_hand import MapLayer, MapRows
from grownn_hpo.ppo.map_features import MapFeatures
from grownn_hpo.ppo.network import ActorCritic, Heads
from grownn_hpo.spec import PPOSettings


@torch.no_grad()
def by_hand(
    agent: Agent,
    observations: Tensor,
    actions: Tensor,
    log_probs: Tensor,
    advantages: Tensor,
    returns: Tensor,
    settings: PPOSettings,
    shuffle: torch.Generator,
) -> Losses:
    """As `update.by_autograd`, up to rounding; on the CPU, of maps."""
    network, features = agent.network, agent.network.features
    assert isinstance(features, MapFeatures)
    trained = {parameter: Trained.of(agent.optimizer, parameter) for parameter in network.parameters()}
    rows = MapRows(features, trained[features.weight], observations)
    trained[features.weight] = rows.trained
    descent = Descent(agent.optimizer, list(trained.values()))
    epoch = Epoch(rows.inputs, actions, log_probs, advantages, returns, settings)
    gradients_for = {size: Gradient(network, rows, size, descent.gradient_of, settings) for size in epoch.sizes}
    statistics: list[tuple[float, ...]] = []
    try:
        with torch.inference_mode():
            for _ in range(settings.n_epochs):
                epoch.shuffle(torch.randperm(len(observations), generator=shuffle))
                parts = []
                for minibatch in epoch.minibatches:
                    gradient = gradients_for[len(minibatch.returns)]
                    policy, value, entropy = gradient.compute(minibatch)
                    norm = math.sqrt(descent.squared_norm() + gradient.squared_norm_unseen())
                    loss = policy + settings.vf_coef * value - settings.ent_coef * entropy
                    must_be_finite(agent, loss, norm)
                    descent.step(norm, settings.max_grad_norm)
                    parts.append((policy, value, entropy))
                statistics += [(*its, *moved) for its, moved in zip(parts, epoch.moved(), strict=True)]
    finally:
        descent.record_steps()
        rows.write_back()
    return Losses(*(sum(column) / len(statistics) for column in zip(*statistics, strict=True)))


class Gradient:
    """Writes the gradients of minibatches of one size where they belong."""

    def __init__(
        self, network: ActorCritic, rows: MapRows, size: int, gradients: Gradients, settings: PPOSettings
    ) -> None:
        features, dtype = network.features, next(network.parameters()).dtype
        assert isinstance(features, MapFeatures)
        self._input = MapLayer(features, rows, size, gradients)
        self._heads = Heads(network, size, gradients)
        self._loss = LossByHand(CategoricalByHand(size, network.actions, dtype), size, settings, dtype)

    def compute(self, minibatch: Minibatch) -> tuple[float, float, float]:
        """Write all gradients; the parts of the loss as `LossByHand.forward`."""
        outputs, values = self._heads.forward(self._input.forward(minibatch.inputs))
        parts = self._loss.forward(outputs, values, minibatch)
        self._input.backward_to_parameters(self._heads.backward(*self._loss.backward()))
        return parts

    def squared_norm_unseen(self) -> float:
        """Of what is not among the gradients written: see `MapLayer`."""
        return self._input.squared_norm_unseen()


class Epoch:
    """Transitions in one shuffled order after another, always in the same memory, and the minibatches in it."""

    def __init__(
        self,
        inputs: Tensor,
        actions: Tensor,
        log_probs: Tensor,
        advantages: Tensor,
        returns: Tensor,
        settings: PPOSettings,
    ) -> None:
        self._settings = settings
        self._sources = inputs, actions, log_probs, advantages, returns
        self._shuffled = [torch.empty_like(source) for source in self._sources]
        log_ratios = torch.empty_like(log_probs)
        size = settings.batch_size
        split = (torch.split(tensor, size) for tensor in (*self._shuffled, log_ratios))
        self.minibatches = [Minibatch(*parts) for parts in zip(*split, strict=True)]
        self.sizes = {len(minibatch.returns) for minibatch in self.minibatches}
        self._losses = _by_minibatch(self._shuffled[3], size)
        self._log_ratios = _by_minibatch(log_ratios, size)

    def shuffle(self, order: Tensor) -> None:
        """Put the transitions into an order [M]."""
        for source, shuffled in zip(self._sources, self._shuffled, strict=True):
            torch.index_select(source, 0, order, out=shuffled)
        for advantages in self._losses:
            size = advantages.shape[1]
            if self._settings.normalize_advantage and size > 1:
                deviation, mean = torch.std_mean(advantages, 1, keepdim=True)
                advantages.sub_(mean).div_(deviation + 1e-8)
            advantages.div_(-size)

    def moved(self) -> list[tuple[float, float]]:
        """How far the policy was from the old one: for each minibatch the approximate KL and the clipped fraction."""
        clip = self._settings.clip_range
        statistics = []
        for log_ratios in self._log_ratios:
            ratio = log_ratios.exp()
            kl = (ratio - 1 - log_ratios).mean(1)
            clipped = ratio != ratio.clamp(1 - clip, 1 + clip)
            statistics += list(zip(kl.tolist(), clipped.to(kl).mean(1).tolist(), strict=True))
        return statistics


def _by_minibatch(tensor: Tensor, size: int) -> list[Tensor]:
    """Views of [M]: the full minibatches [K, B], and [1, b] of the smaller last one; those that there are."""
    full = len(tensor) // size * size
    views = tensor[:full].view(-1, size), tensor[full:].unsqueeze(0)
    return [view for view in views if view.numel()]
