"""The initial design: a scrambled Sobol sequence laid over a search space (Sobol' 1967; Owen 1998).

SMAC's own design would do, but for three things: it ignores priors and weights (and so draws choices of weight zero),
it comes up short where points are forbidden, and it has a fixed length. This one goes on for as long as it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from grownn_hpo.search.space import is_active

if TYPE_CHECKING:
    from ConfigSpace import Configuration, ConfigurationSpace

_BLOCK = 64  # a power of two, as the sequence's balance asks; its length changes nothing


def sobol_configurations(space: ConfigurationSpace, seed: int) -> Iterator[Configuration]:
    """Endless configurations, forbidden ones left out; a function of the space and the seed (0 to 2^63 - 1) alone.

    Small finite spaces repeat themselves.
    """
    import numpy as np
    from ConfigSpace import Configuration, Constant
    from ConfigSpace.exceptions import ForbiddenValueError
    from ConfigSpace.types import NotSet
    from scipy.stats.qmc import Sobol

    free = [name for name in space if not isinstance(space[name], Constant)]
    sequence = Sobol(d=max(1, len(free)), scramble=True, rng=np.random.default_rng(seed))
    while True:
        for point in sequence.random(_BLOCK):
            at = dict(zip(free, point, strict=False))
            chosen: dict[str, Any] = dict.fromkeys(space, NotSet)
            for name in space:  # parents come before children
                if is_active(space, name, chosen):
                    chosen[name] = _quantile(space[name], at.get(name, 0.0))
            try:
                yield Configuration(space, values={k: v for k, v in chosen.items() if v is not NotSet})
            except ForbiddenValueError:
                continue


def _quantile(hyperparameter: Any, u: float) -> Any:
    """The value below which a share `u` of the hyperparameter's distribution lies, 0 <= u < 1."""
    from ConfigSpace import CategoricalHyperparameter, Constant, OrdinalHyperparameter, UniformIntegerHyperparameter

    match hyperparameter:
        case Constant():
            return hyperparameter.value
        case CategoricalHyperparameter():
            return _weighted(hyperparameter.choices, hyperparameter.probabilities, u)
        case OrdinalHyperparameter():
            return hyperparameter.sequence[int(u * len(hyperparameter.sequence))]
        case UniformIntegerHyperparameter(log=False):  # rounding would halve the share of both ends
            return hyperparameter.lower + int(u * (hyperparameter.upper - hyperparameter.lower + 1))
    prior = getattr(hyperparameter._vector_dist, "rv", None)  # none where it is uniform
    return hyperparameter.to_value(u if prior is None else float(prior.ppf(u)))


def _weighted(choices: Sequence[Any], probabilities: Sequence[float], u: float) -> Any:
    """The choice that `u` falls to; one of probability zero never."""
    total = 0.0
    for choice, probability in zip(choices, probabilities, strict=True):
        total += probability
        if u < total:
            return choice
    return max(zip(probabilities, choices, strict=True), key=lambda pair: pair[0])[1]  # u beyond a sum of 1 - 1e-16
