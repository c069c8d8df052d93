"""How training ends when numbers stop being numbers."""

from __future__ import annotations

from grownn_hpo.errors import GrowNNError


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
