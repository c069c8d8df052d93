"""All that an arm's files tell, read in one go."""

from __future__ import annotations

from dataclasses import dataclass

from grownn_hpo.spec import Arm
from grownn_hpo.store.arm import Bracket, Configuration, configurations_of, read_arm, read_brackets
from grownn_hpo.store.ledger import Ledger, read_ledger
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.store.terms import terms_of
from grownn_hpo.trial import Outcome, Trial, outcomes_of


@dataclass(frozen=True, slots=True)
class Known:
    """An arm as recorded, its brackets by number, and its ledger: results of these brackets' configurations alone."""

    arm: Arm
    brackets: dict[int, Bracket]
    ledger: Ledger

    @property
    def configurations(self) -> dict[int, Configuration]:
        """Every configuration suggested so far, by number."""
        return configurations_of(self.brackets, self.arm.rungs[0].configurations)

    @property
    def outcomes(self) -> dict[Trial, Outcome]:
        """The outcome of every trial whose seeds have all finished."""
        return outcomes_of(self.ledger.results, self.arm.seeds)


def read_known(folder: ArmFolder) -> Known:
    """What is known of the arm in a folder. Changes nothing; InputError for a damaged study file or bracket."""
    return known_of(folder, read_arm(folder))


def known_of(folder: ArmFolder, arm: Arm) -> Known:
    """What is known of `arm`, whose folder this is."""
    brackets = read_brackets(folder, arm)
    configurations = configurations_of(brackets, arm.rungs[0].configurations)
    return Known(arm, brackets, read_ledger(folder, terms_of(arm, configurations)))
