"""The study file: frozen, validated values, and the one way to read and write them."""

from grownn_hpo.spec.spaces import Characters, Continuous, Discrete, Spaces, Vector
from grownn_hpo.spec.training import configured, legs, legs_of
from grownn_hpo.spec.values import (
    IDEMPOTENT_ACTIVATIONS,
    Arm,
    Evaluation,
    Growth,
    Limits,
    Network,
    PPOSettings,
    Rung,
    Search,
    Task,
)

__all__ = [
    "IDEMPOTENT_ACTIVATIONS",
    "Arm",
    "Characters",
    "Continuous",
    "Discrete",
    "Evaluation",
    "Growth",
    "Limits",
    "Network",
    "PPOSettings",
    "Rung",
    "Search",
    "Spaces",
    "Task",
    "Vector",
    "configured",
    "legs",
    "legs_of",
]
