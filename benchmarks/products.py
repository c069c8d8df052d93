"""The matrix products of a network and nothing else: what no training on one core can be quicker than."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from grownn_hpo.ppo import ActorCritic
from grownn_hpo.ppo.map_features import MapFeatures

Product = tuple[Tensor, Tensor, Tensor]
"""Two factors and where their product goes."""


def forward_products(network: ActorCritic, rows: int, cells: int) -> list[Product]:
    """Of `rows` observations, with `cells` cells of a map that vary (no matter for vectors)."""
    device = next(network.parameters()).device
    return [
        (
            torch.randn(rows, inputs, device=device),
            torch.randn(outputs, inputs, device=device).t(),
            torch.empty(rows, outputs, device=device),
        )
        for outputs, inputs in _shapes(network, cells)
    ]


def update_products(network: ActorCritic, rows: int, cells: int) -> list[Product]:
    """Of a minibatch: forward, by the weights, and by the inputs but for those of vectors, which nobody asks for."""
    products = []
    is_map = isinstance(network.features, MapFeatures)
    for place, (x, transposed, y) in enumerate(forward_products(network, rows, cells)):
        gradient, weight = torch.randn_like(y), transposed.t()
        products += [(x, transposed, y), (gradient.t(), x, torch.empty_like(weight))]
        if place or is_map:
            products.append((gradient, weight, torch.empty_like(x)))
    return products


def multiply(products: list[Product], times: int) -> None:
    """Compute all of them so many times."""
    for _ in range(times):
        for a, b, out in products:
            torch.mm(a, b, out=out)


def _shapes(network: ActorCritic, cells: int) -> list[tuple[int, int]]:
    """Outputs and inputs of every layer, the input part's first."""
    layers = [m for m in network.modules() if isinstance(m, nn.Linear)]
    shapes = [(layer.out_features, layer.in_features) for layer in layers]
    if isinstance(network.features, MapFeatures):
        shapes.insert(0, (network.features.width, network.features.channels * cells))
    return shapes
