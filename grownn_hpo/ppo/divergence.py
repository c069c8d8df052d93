"""How training ends when numbers stop being numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from grownn_hpo.errors import GrowNNError

if TYPE_CHECKING:
    from grownn_hpo.ppo.agent import Agent


class Diverged(GrowNNError):
    """A number that must be finite was not.

    `update` is the one under way (counted from 1 over the lineage), `env_steps` the lineage's total so far, `what` the
    quantity. The parameters are those before the optimizer step that it would have spoiled.
    """

    def __init__(self, update: int, env_steps: int, what: str) -> None:
        super().__init__(
            f"training diverged in update {update} after {env_steps} env steps: the {what} is not finite;"
            " a lower learning rate, scaled rewards or normalised observations may help"
        )
        self.update, self.env_steps, self.what = update, env_steps, what


def must_be_finite(agent: Agent, loss: float, norm: float) -> None:
    """Raises Diverged where a minibatch's loss or its gradients' norm is not; to be asked before the step."""
    for what, number in (("loss", loss), ("gradients' norm", norm)):
        if not math.isfinite(number):
            raise Diverged(agent.updates + 1, agent.env_steps, what)
