"""A checkpoint's two files: tensors as safetensors, everything else as JSON. Equal state gives equal bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from grownn_hpo.store.arm import Configuration
from grownn_hpo.store.attempts import committed
from grownn_hpo.store.commit import read_file, write_file
from grownn_hpo.store.paths import CHECKPOINT, CHECKPOINT_META, ArmFolder
from grownn_hpo.trial import Segment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue
    from torch import Tensor


def write_checkpoint(attempt: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, JsonValue]) -> str:
    """Write both files into an attempt's folder; returns the SHA-256 of the tensors' file."""
    digest = write_file(attempt / CHECKPOINT, packed(tensors))
    write_file(attempt / CHECKPOINT_META, json.dumps(meta, indent=1, sort_keys=True).encode())
    return digest


def read_checkpoint(attempt: Path) -> tuple[dict[str, Tensor], dict[str, JsonValue]]:
    """The tensors (on the CPU) and the JSON of the checkpoint in an attempt's folder."""
    return unpacked(read_file(attempt / CHECKPOINT)), json.loads(read_file(attempt / CHECKPOINT_META))


def trained_configuration(folder: ArmFolder, segment: Segment) -> Configuration | None:
    """The configuration that a committed segment was trained with, as its checkpoint tells; None if it has none."""
    found = committed(folder, segment)
    if found is None or CHECKPOINT_META not in found.commit.artefacts:
        return None
    text = read_file(found.folder / CHECKPOINT_META)
    if hashlib.sha256(text).hexdigest() != found.commit.artefacts[CHECKPOINT_META]:
        return None  # it is noticed as damaged when somebody starts from it
    configuration: Configuration = json.loads(text)["configuration"]
    return configuration


def packed(tensors: Mapping[str, Tensor]) -> bytes:
    """Named tensors as the bytes of a safetensors file; equal tensors give equal bytes."""
    from safetensors.torch import save  # torch is for workers alone

    # No metadata inside: safetensors keeps it in a hash map, whose order differs from process to process.
    return save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})


def unpacked(data: bytes) -> dict[str, Tensor]:
    """The tensors (on the CPU) in the bytes of a safetensors file."""
    from safetensors.torch import load

    return load(data)
