"""GrowNN HPO: hyperparameter search for deep RL agents whose networks grow while they train."""

__version__ = "0.1.0"
