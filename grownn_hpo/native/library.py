"""The compiled library, and its structures as ctypes has them."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_double, c_int64, c_void_p
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grownn_hpo.errors import GrowNNError
from grownn_hpo.native.cpu import used_capability

PAD = 16
"""Outputs of layers, and the library's vectors, are padded to multiples of so many numbers."""

FOLDER = Path(__file__).parent


class NotBuilt(GrowNNError):
    """The kernels were not compiled for this machine."""


class Activation(IntEnum):
    """What a layer ends in."""

    NONE = 0
    RELU = 1
    HARDTANH = 2
    TANH = 3
    GELU = 4
    SILU = 5


class Part(Structure):
    """A linear layer's place in a network."""

    _fields_ = [(name, c_int64) for name in ("input", "inputs", "output", "outputs", "matrix")]


class Layer(Structure):
    """Linear layers side by side."""

    _fields_ = [(name, c_int64) for name in ("first_part", "parts", "width", "activation")]


class Network(Structure):
    """Layers one behind the other."""

    _fields_ = [("layers", POINTER(Layer)), ("parts", POINTER(Part)), ("depth", c_int64), ("input_width", c_int64)]


class Update(Structure):
    """What does not change during an update; arrays as pointers, which do not keep them."""

    _fields_ = [
        ("network", POINTER(Network)),
        *((name, c_void_p) for name in ("values", "gradient", "exp_avg", "exp_avg_sq")),
        *((name, c_void_p) for name in ("observations", "actions", "choices", "log_probs", "advantages", "returns")),
        *((name, c_int64) for name in ("size", "transitions", "batch", "observation_size", "action_count")),
        *((name, c_int64) for name in ("value_column", "log_std")),
        *((name, c_double) for name in ("clip_range", "vf_coef", "ent_coef", "max_grad_norm", "beta1", "beta2", "eps")),
        *((name, c_int64) for name in ("normalize_advantage", "spans")),
        *((name, c_void_p) for name in ("span_ends", "steps")),
        *((name, c_void_p) for name in ("inputs", "sums", "outputs", "by_outputs", "other", "transposed")),
    ]


@dataclass(frozen=True, slots=True)
class Kernels:
    """The library's functions for one precision."""

    forward: Any
    epoch: Any


@cache
def kernels(dtype: str) -> Kernels:
    """The functions for "float32" or "float64". Raises NotBuilt."""
    suffix = {"float32": "f32", "float64": "f64"}[dtype]
    library = _library()
    forward, epoch = getattr(library, f"forward_{suffix}"), getattr(library, f"epoch_{suffix}")
    forward.argtypes = [POINTER(Network), c_void_p, c_int64, c_void_p, c_void_p, c_void_p]
    forward.restype = c_void_p
    epoch.argtypes = [POINTER(Update), c_void_p, c_double, c_void_p]
    epoch.restype = c_int64
    return Kernels(forward, epoch)


def compiler() -> str:
    """What the library was compiled by. Raises NotBuilt."""
    told = _library().compiler
    told.restype = c_char_p
    name: bytes = told()
    return name.decode()


def pointer(array: NDArray[Any], dtype: str) -> int:
    """Where an array begins, which is the caller's to keep. Raises ValueError unless it is contiguous, of this type."""
    if not array.flags.c_contiguous or array.dtype != dtype:
        raise ValueError(f"{array.dtype}{list(array.shape)} in steps of {array.strides}: must be contiguous {dtype}")
    return array.ctypes.data


def zeros(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """An array at a multiple of 64 bytes: a register's load that crosses two lines of the cache takes twice as long."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


@cache
def _library() -> ctypes.CDLL:
    path = FOLDER / f"kernels-{used_capability()}.so"
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NotBuilt(
            f"the compiled kernels cannot be loaded: {error}; they are built where the package is installed:"
            " run pip install -e . (with a C compiler) in the repository, or install a wheel for this kind of machine"
        ) from error
