"""Which configurations a bracket starts with: SMAC3's multi-fidelity facade by ask and tell, without any state.

Every call builds a fresh facade, tells it the observations in a fixed order and asks. So a bracket's configurations
are a pure function of its `Basis`, in any process and thread. What SMAC is given of our own stands in `smac_parts`.

SMAC3: Lindauer et al. 2022. Its random forest and expected improvement: Hutter et al. 2011, sections 4.1 and 4.3.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

from grownn_hpo.search.sobol import sobol_configurations
from grownn_hpo.search.space import Plain, all_configurations, from_plain, read_space, to_plain
from grownn_hpo.trial import Status

if TYPE_CHECKING:
    from ConfigSpace import Configuration, ConfigurationSpace

# Points of the Sobol sequence to look at for a new configuration; only a small finite space ever needs so many.
_DRAWS = 20_000


@dataclass(frozen=True, slots=True)
class Observation:
    """What a trial told: configuration number `config` came to `cost` at `rung`; no cost unless it completed."""

    config: int
    rung: int
    configuration: Plain
    status: Status
    cost: float | None


@dataclass(frozen=True, slots=True)
class Basis:
    """All that a bracket is suggested from.

    `count` configurations are wanted, numbered from `first_config`; those numbered up to `initial_design` come from the
    Sobol sequence, with `begin_with_default` behind the space's default configuration. `known` holds the configurations
    of all earlier brackets in the order of their numbers, also those without an outcome: none is suggested twice.
    `rungs_env_steps` are each rung's own env steps, lowest rung first.
    """

    space: Mapping[str, Any]
    study_seed: int
    bracket: int
    first_config: int
    count: int
    initial_design: int
    known: Sequence[Plain]
    observations: Sequence[Observation]
    rungs_env_steps: Sequence[int]
    surrogate: Literal["lowest", "highest", "all"]
    begin_with_default: bool = False

    def ordered(self) -> list[Observation]:
        """The observations in an order that does not depend on how they came; a cost is finite or None."""
        in_order = sorted(self.observations, key=lambda o: (o.config, o.rung))
        return [o if _finite(o.cost) else replace(o, cost=None) for o in in_order]


def fingerprint(basis: Basis) -> str:
    """SHA-256 of the canonical JSON of a basis, in whatever order its observations came."""
    content = {**asdict(basis), "observations": [asdict(o) for o in basis.ordered()]}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def suggest(basis: Basis) -> tuple[Plain, ...]:
    """The bracket's configurations: `count` of them, or all that are left of a finite space.

    Takes seconds (most of it SMAC's local search), leaves no file and touches no global random state. Raises InputError
    when the space cannot be read.
    """
    space = read_space(basis.space, "the study's search space")
    taken = {_identity(plain) for plain in basis.known}
    everything = all_configurations(space) or ()
    left = [plain for plain in map(to_plain, everything) if _identity(plain) not in taken]
    if everything and len(left) <= basis.count:
        return tuple(left)

    chosen: list[Plain] = []

    def take(candidates: Iterable[Plain], upto: int) -> None:
        """Take new ones until there are `upto`; never draws a candidate that it does not need."""
        candidates = iter(candidates)
        while len(chosen) < upto and (plain := next(candidates, None)) is not None:
            if _identity(plain) not in taken:
                taken.add(_identity(plain))
                chosen.append(plain)

    def design() -> Iterator[Plain]:
        if basis.begin_with_default:
            yield to_plain(space.get_default_configuration())
        sequence = sobol_configurations(space, _seed("initial design", basis.study_seed))
        yield from map(to_plain, islice(sequence, _DRAWS))

    take(design(), min(basis.count, basis.initial_design - basis.first_config + 1))
    if len(chosen) < basis.count and (rows := training_rows(basis, _dimensions(space))):
        take(map(to_plain, _ask(space, basis, chosen, rows)), basis.count)
    # Without a row to learn from the sequence goes on. The last few of a finite space are drawn outright.
    random.Random(_seed("what is left", basis.study_seed, basis.bracket)).shuffle(left)
    take(chain(design(), left), basis.count)
    return tuple(chosen)


def training_rows(basis: Basis, dimensions: int) -> list[tuple[Observation, float]]:
    """What the forest learns from, and the cost it is told: 0 for the best of them to 1 for the worst.

    A diverged or crashed trial counts as the worst that completed at its rung; a rung where none did is left out. Costs
    are told on that scale because SMAC takes the logarithm of a cost's distance to the best with a fixed 1e-10 added,
    which vanishes beside large costs; otherwise its transformation is invariant under scale and shift.
    """
    rungs: dict[int, list[Observation]] = {}
    for observation in basis.ordered():
        rungs.setdefault(observation.rung, []).append(observation)
    worst = {rung: max((o.cost for o in rows if o.cost is not None), default=None) for rung, rows in rungs.items()}
    usable = sorted(rung for rung, cost in worst.items() if cost is not None)
    match basis.surrogate:
        case "lowest":
            usable = [rung for rung in usable if rung == 1]
        case "highest":
            # As many rows as BOHB asks for before it trusts a model of d dimensions (Falkner, Klein and Hutter 2018,
            # section 3: d + 1 and two more). A forest of one row is a constant, and its suggestions a random search.
            enough = [rung for rung in usable if len(rungs[rung]) >= dimensions + 3]
            usable = enough[-1:] or usable[:1]
    rows = [(o, o.cost if o.cost is not None else worst[o.rung]) for rung in usable for o in rungs[rung]]
    rows.sort(key=lambda row: (row[0].config, row[0].rung))
    return _to_unit_range(rows)


def _to_unit_range(rows: list[tuple[Observation, Any]]) -> list[tuple[Observation, float]]:
    if not rows:
        return []
    largest = max(abs(cost) for _, cost in rows) or 1.0  # divided out first: a difference of two costs may overflow
    costs = [cost / largest for _, cost in rows]
    low, span = min(costs), (max(costs) - min(costs)) or 1.0
    return [(observation, (cost - low) / span) for (observation, _), cost in zip(rows, costs, strict=True)]


def _ask(
    space: ConfigurationSpace, basis: Basis, chosen: Sequence[Plain], rows: list[tuple[Observation, float]]
) -> Iterator[Configuration]:
    """Configurations as SMAC suggests them, until its space is exhausted."""
    from grownn_hpo.search import smac_parts

    budgets = [float(sum(basis.rungs_env_steps[:rung])) for rung in range(1, len(basis.rungs_env_steps) + 1)]
    facade = smac_parts.facade(
        space,
        seed=_seed("bracket", basis.study_seed, basis.bracket) % 2**32,
        budgets=budgets,
        fidelity_is_a_feature=basis.surrogate == "all",
        batch=basis.count - len(chosen),
        rows=len(rows),
    )
    for observation, cost in rows:
        smac_parts.tell(facade, from_plain(space, observation.configuration), budgets[observation.rung - 1], cost)
    evaluated = {_identity(observation.configuration) for observation, _ in rows}
    for plain in (*basis.known, *chosen):
        if _identity(plain) not in evaluated:
            smac_parts.exclude(facade, from_plain(space, plain))
    return smac_parts.asked(facade)


def _dimensions(space: ConfigurationSpace) -> int:
    """How many hyperparameters vary."""
    return sum(hyperparameter.size > 1 for hyperparameter in space.values())


def _identity(plain: Plain) -> str:
    return json.dumps(plain, sort_keys=True)


def _finite(cost: float | None) -> bool:
    return cost is None or isfinite(cost)


def _seed(*parts: str | int) -> int:
    """A seed below 2^63 for this purpose, unrelated to those of neighbouring studies and brackets."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
