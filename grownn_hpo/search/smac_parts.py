"""The facade that a bracket is asked from, and the parts of our own in it. The only importer of smac.

Ours are an intensifier that yields new configurations at the lowest budget and leaves promotions to the ladder, a
config selector that trains the forest on all that it was told, a local search whose result does not depend on
PYTHONHASHSEED, and an optimizer that writes nothing. Import this module inside functions only: smac takes 2 s.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from smac import MultiFidelityFacade, Scenario
from smac.acquisition.maximizer.local_search import LocalSearch
from smac.callback.callback import Callback
from smac.intensifier.abstract_intensifier import AbstractIntensifier
from smac.main.config_selector import ConfigSelector
from smac.main.exceptions import ConfigurationSpaceExhaustedException
from smac.main.smbo import SMBO
from smac.runhistory import StatusType, TrialInfo, TrialValue

if TYPE_CHECKING:
    from ConfigSpace import Configuration, ConfigurationSpace

logging.getLogger("smac").setLevel(logging.ERROR)  # it warns of every bracket that has no initial design of SMAC's


class LowestBudget(AbstractIntensifier):  # type: ignore[misc]
    """Yields each new configuration once, at the lowest budget."""

    uses_seeds = False
    uses_budgets = True
    uses_cutoffs = False

    @property
    def uses_instances(self) -> bool:
        return self._scenario.instances is not None

    def __iter__(self) -> Iterator[TrialInfo]:
        lowest = self._scenario.min_budget
        for configuration in self.config_generator:
            yield _info(self._scenario, configuration, lowest)

    def get_callback(self) -> Callback:
        """None of its own: SMAC's keeps an incumbent, which costs a pass over all trials with each one told."""
        return Callback()


class LearnsFromAllTold(ConfigSelector):  # type: ignore[misc]
    """Trains on every trial told, where SMAC would take the highest budget that has a single row."""

    def _collect_data(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        self._considered_budgets = [None]
        encoder = self._runhistory_encoder
        return (*encoder.transform(), encoder.get_configurations())

    def _get_x_best(self, x: NDArray[Any]) -> tuple[NDArray[Any], float]:
        """The row predicted to be best, and its cost: as in SMAC, which however predicts the rows one by one."""
        costs = self._model.predict_marginalized(x)[0][:, 0]
        best = int(np.argmin(costs))
        return x[best], costs[best]


class OrderedLocalSearch(LocalSearch):  # type: ignore[misc]
    """SMAC's local search with its starting points in a fixed order.

    SMAC 2.4.1 takes them from a set (`local_search.py`, line 301), whose order follows the hash of a configuration's
    text: another one in every process unless PYTHONHASHSEED is set.
    """

    def _get_initial_points(self, *args: Any, **kwargs: Any) -> list[Configuration]:
        points = super()._get_initial_points(*args, **kwargs)
        # Inactive values are NaN in the vector, which has no order; the text tells apart what the vector does not.
        return sorted(points, key=lambda c: (np.nan_to_num(c.get_array(), nan=-1.0).tolist(), str(c)))


class WritesNothing(SMBO):  # type: ignore[misc]
    """SMAC's optimizer without the folder in which it looks for an earlier run and writes its own."""

    def _initialize_state(self) -> None:
        pass


class Facade(MultiFidelityFacade):  # type: ignore[misc]
    """SMAC's multi-fidelity facade with the parts above."""

    def _get_optimizer(self) -> SMBO:
        return WritesNothing(self._scenario, None, self._runhistory, self._intensifier)


def facade(
    space: ConfigurationSpace,
    *,
    seed: int,
    budgets: Sequence[float],
    fidelity_is_a_feature: bool,
    batch: int,
    rows: int,
) -> Facade:
    """A fresh facade over `space`, whose random state it takes; `seed` is below 2^32.

    `rows` trials are going to be told, and then `batch` configurations asked for.

    With `fidelity_is_a_feature` the budgets are instances with one feature each, the share of the highest budget: so
    the forest is trained on every rung, and expected improvement averages over them (SMAC's own way with instances).
    """
    features = {_instance(budget): [budget / max(budgets)] for budget in budgets} if fidelity_is_a_feature else None
    scenario = Scenario(
        space,
        name="bracket",
        deterministic=True,
        min_budget=min(budgets),
        max_budget=max(budgets),
        instances=list(features) if features else None,
        instance_features=features,
        seed=seed,
    )
    model = Facade.get_model(scenario)
    # Threads would add up the instances' predictions in any order, and take longer. A tree never has more leaves than
    # rows, but scikit-learn reserves memory for as many as it may have: SMAC's 2^20 make 2 of a suggestion's 3 seconds.
    model._rf_opts |= {"n_jobs": 1, "max_leaf_nodes": max(2, rows)}
    maximizer = Facade.get_acquisition_maximizer(scenario)
    maximizer._local_search = OrderedLocalSearch(space, seed=seed)
    return Facade(
        scenario,
        model=model,
        acquisition_maximizer=maximizer,
        initial_design=Facade.get_initial_design(scenario, n_configs=0),
        intensifier=LowestBudget(scenario),
        # One search of the acquisition function a batch: nothing is told in between.
        config_selector=LearnsFromAllTold(scenario, retrain_after=batch),
        logging_level=False,
    )


def tell(to: Facade, configuration: Configuration, budget: float, cost: float) -> None:
    """Tell a finished trial; `cost` is finite."""
    to.tell(_info(to.scenario, configuration, budget), TrialValue(cost, status=StatusType.SUCCESS), save=False)


def exclude(to: Facade, configuration: Configuration) -> None:
    """Keep a configuration from being suggested: SMAC takes it for one that is running."""
    to.runhistory.add_running_trial(_info(to.scenario, configuration, to.scenario.min_budget))


def asked(of: Facade) -> Iterator[Configuration]:
    """Suggestions, one after the other, until SMAC finds no new one."""
    while True:
        try:
            with warnings.catch_warnings():
                # Its local search averages over no steps where conditions leave it no neighbour.
                warnings.simplefilter("ignore", RuntimeWarning)
                configuration = of.ask().config
        except (ConfigurationSpaceExhaustedException, StopIteration):
            return
        yield configuration


def _info(scenario: Scenario, configuration: Configuration, budget: float) -> TrialInfo:
    return TrialInfo(configuration, instance=_instance(budget) if scenario.instances else None, budget=budget)


def _instance(budget: float) -> str:
    return repr(budget)
