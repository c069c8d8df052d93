"""Maps to larger networks that compute the same function (Wei et al. 2016, Network Morphism); torch only."""

from grownn_hpo.morphism.deeper import CannotGrow, deepen
from grownn_hpo.morphism.exactness import IDEMPOTENT, difference

__all__ = ["IDEMPOTENT", "CannotGrow", "deepen", "difference"]
