"""Kernels in C: small networks acting, and whole epochs of PPO's minibatches (`kernels.c`).

They are compiled when the package is installed (`build.py`), and loaded here for the CPU's instruction set. Structures
and functions have the names that they have there; `ppo.compiled` and `ppo.stepper` call them.
"""

from grownn_hpo.native.library import (
    PAD,
    Activation,
    Kernels,
    Layer,
    Network,
    NotBuilt,
    Part,
    Update,
    compiler,
    kernels,
    pointer,
    zeros,
)

__all__ = [
    "PAD",
    "Activation",
    "Kernels",
    "Layer",
    "Network",
    "NotBuilt",
    "Part",
    "Update",
    "compiler",
    "kernels",
    "pointer",
    "zeros",
]
