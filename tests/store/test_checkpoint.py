"""Checkpoints: bit for bit, the same bytes in every process, nothing pickled."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grownn_hpo.store.checkpoint import read_checkpoint, write_checkpoint
from grownn_hpo.store.cleaning import checkpoints_of, delete_checkpoints
from grownn_hpo.store.paths import CHECKPOINT, CHECKPOINT_META, ArmFolder
from grownn_hpo.trial import Segment

WRITER = """
import sys, torch
from pathlib import Path
from grownn_hpo.store.checkpoint import write_checkpoint
names = {f"layer.{i}.{part}" for i in range(9) for part in ("weight", "bias", "exp_avg")}  # a set: hash order
tensors = {name: torch.full((3, 2), float(len(name) + int(name.split(".")[1]))) for name in names}
meta = {name: len(name) for name in names}
print(write_checkpoint(Path(sys.argv[1]), tensors, meta))
"""


def test_equal_tensors_give_equal_bytes_in_every_process(tmp_path: Path) -> None:
    seen = set()
    for hash_seed in ("0", "1", "77"):
        attempt = tmp_path / hash_seed
        attempt.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", WRITER, str(attempt)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        content = (attempt / CHECKPOINT).read_bytes()
        assert done.stdout.strip() == hashlib.sha256(content).hexdigest()
        seen.add((content, (attempt / CHECKPOINT_META).read_bytes()))
    assert len(seen) == 1


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def test_every_bit_comes_back(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.nn.Parameter(torch.randn(5, 7, generator=generator))
    tensors = {
        "weights": weights,
        "transposed": weights.t(),
        "slice": weights[::2, 1:],
        "special": torch.tensor([float("nan"), float("inf"), -0.0, 5e-324, 1 / 3], dtype=torch.float64),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "step": torch.tensor([2**62, -1]),
        "mask": torch.tensor([True, False]),
        "cells": torch.arange(256, dtype=torch.uint8),
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
    }
    write_checkpoint(tmp_path, tensors, {"counters": {"env_steps": 2**53, "x": 0.1}, "none": None})
    read, meta = read_checkpoint(tmp_path)
    assert meta == {"counters": {"env_steps": 2**53, "x": 0.1}, "none": None}
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert read[name].shape == tensor.shape
        assert bits(read[name]) == bits(tensor.detach())
        assert not read[name].requires_grad


def test_nothing_is_pickled(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {"w": torch.ones(2)}, {"format": 1})
    content = (tmp_path / CHECKPOINT).read_bytes()
    length = int.from_bytes(content[:8], "little")  # safetensors: a header's length, the header in JSON, the numbers
    header = json.loads(content[8 : 8 + length])
    assert header == {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    assert content[8 + length :] == torch.ones(2).numpy().tobytes()
    assert json.loads((tmp_path / CHECKPOINT_META).read_bytes()) == {"format": 1}
    assert {p.name for p in tmp_path.iterdir()} == {CHECKPOINT, CHECKPOINT_META}


@settings(max_examples=30, deadline=None)
@given(st.permutations(["a", "b.weight", "b.bias", "zz"]))
def test_the_order_of_tensors_does_not_matter(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    attempt = tmp_path_factory.mktemp("attempt")
    digest = write_checkpoint(attempt, {n: torch.full((2,), float(len(n))) for n in names}, dict.fromkeys(names, 1))
    assert digest == write_checkpoint(attempt, {n: torch.full((2,), float(len(n))) for n in sorted(names)}, {})


def test_cleaning_frees_checkpoints_and_keeps_results(folder: ArmFolder) -> None:
    from store_samples import finish

    spent, kept = Segment(1, 1, 0), Segment(2, 1, 0)
    attempts = [finish(folder, spent, checkpoint=b"x" * n).folder for n in (10, 20)]
    other = finish(folder, kept).folder
    found = checkpoints_of(folder, [spent, Segment(3, 1, 0)])
    assert [(c.path, c.bytes) for c in found] == [(attempts[0] / CHECKPOINT, 10), (attempts[1] / CHECKPOINT, 20)]
    delete_checkpoints(found)
    delete_checkpoints(found)
    assert checkpoints_of(folder, [spent]) == ()
    assert all({p.name for p in a.iterdir()} == {"checkpoint.json", "progress.jsonl", "result.json"} for a in attempts)
    assert (other / CHECKPOINT).exists()
