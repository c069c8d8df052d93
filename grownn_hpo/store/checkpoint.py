"""A checkpoint's two files: tensors as safetensors, everything else as JSON. Equal state gives equal bytes."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from grownn_hpo.store.commit import read_file, write_file
from grownn_hpo.store.paths import CHECKPOINT, CHECKPOINT_META

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue
    from torch import Tensor


def write_checkpoint(attempt: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, JsonValue]) -> str:
    """Write both files into an attempt's folder; returns the SHA-256 of the tensors' file."""
    digest = write_file(attempt / CHECKPOINT, packed(tensors))
    write_file(attempt / CHECKPOINT_META, json.dumps(meta, indent=1, sort_keys=True).encode())
    return digest


def read_checkpoint(
    attempt: Path, artefacts: Mapping[str, str] | None = None
) -> tuple[dict[str, Tensor], dict[str, JsonValue]]:
    """The tensors (on the CPU) and the JSON of the checkpoint in an attempt's folder.

    With a commit's `artefacts`, ValueError unless the very bytes that are used are those that were committed.
    """
    files = {}
    for name in (CHECKPOINT, CHECKPOINT_META):
        files[name] = read_file(attempt / name, sys.maxsize)  # how large a network is, is the study's affair
        if artefacts is not None and hashlib.sha256(files[name]).hexdigest() != artefacts.get(name):
            raise ValueError(f"{attempt / name}: was changed just now; what was committed had another hash")
    return unpacked(files[CHECKPOINT]), json.loads(files[CHECKPOINT_META])


def packed(tensors: Mapping[str, Tensor]) -> bytes:
    """Named tensors as the bytes of a safetensors file; equal tensors give equal bytes."""
    from safetensors.torch import save  # torch is for workers alone

    # No metadata inside: safetensors keeps it in a hash map, whose order differs from process to process.
    return save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})


def unpacked(data: bytes) -> dict[str, Tensor]:
    """The tensors (on the CPU) in the bytes of a safetensors file."""
    from safetensors.torch import load

    return load(data)
