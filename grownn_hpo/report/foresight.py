"""How well the ranks at a lower rung foretell those at the last one: what successive halving builds on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from grownn_hpo.report.incumbent import standings
from grownn_hpo.report.record import ArmRecord
from grownn_hpo.report.statistics import Estimate, rank_correlation
from grownn_hpo.trial import Trial


@dataclass(frozen=True, slots=True)
class Foresight:
    """Of the `C` configurations that completed the last of `R` rungs, their ranks at every rung.

    `ranks`: shape (R, C), 1 is the best; `correlations`: of each lower rung with the last, None where it has none.
    """

    configurations: tuple[int, ...]
    ranks: NDArray[np.float64]
    correlations: tuple[Estimate | None, ...]


def foresight(record: ArmRecord) -> Foresight | None:
    """How the rungs' ranks agree; None for an arm of a single rung, and while fewer than two have been to the last.

    Only what was promoted has a last rung: those passed over might have changed their order too.
    """
    done, last = standings(record), len(record.arm.rungs)
    finalists = [trial.config for trial in done if trial.rung == last]
    # A lower rung's result can be missing while a damaged one is computed again.
    finalists = [c for c in finalists if all(Trial(c, rung) in done for rung in range(1, last))]
    if last < 2 or len(finalists) < 2:
        return None
    returns = np.array([[done[Trial(c, rung)].mean_return for c in finalists] for rung in range(1, last + 1)])
    return Foresight(
        tuple(finalists),
        scipy.stats.rankdata(-returns, axis=1),
        tuple(rank_correlation(below, returns[-1]) for below in returns[:-1]),
    )
