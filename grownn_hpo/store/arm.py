"""An arm's folder as a whole: created from an arm, opened again as the same arm, its brackets stored before use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import from_json

from grownn_hpo.errors import InputError
from grownn_hpo.spec import Arm
from grownn_hpo.spec.document import RECORDED, read
from grownn_hpo.spec.study import arm_document, resolve
from grownn_hpo.store.commit import TEMPORARY, make_folder, read_file, seal, unseal, write_file
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.store.terms import arm_sha256

Configuration = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Bracket:
    """A bracket's configurations, verbatim, and the hashes of what they were suggested from and of their arm.

    The latter (`grownn_hpo.store.terms`) is None in brackets of earlier versions.
    """

    bracket: int
    configurations: tuple[Configuration, ...]
    suggested_from: str
    arm_sha256: str | None = None


_BRACKET = TypeAdapter(Bracket)
_CREATED = "arm"
_WORKERS = "workers"


def create_arm(folder: ArmFolder, arm: Arm, environment: dict[str, JsonValue]) -> None:
    """Lay out a new arm's folder; the study file, written last, makes it one."""
    make_folder(folder.root, private=True)
    content = environment | {_CREATED: arm.model_dump(mode="json")}
    write_file(folder.environment_file, json.dumps(content, indent=1).encode())
    record_arm(folder, arm)


def record_arm(folder: ArmFolder, arm: Arm) -> None:
    """Write the study file of an arm as resolved."""
    write_file(folder.study_file, arm_document(arm).encode())


def read_arm(folder: ArmFolder) -> Arm:
    """The arm recorded in a folder; InputError if its study file was edited into something invalid."""
    folder.refuse_links()
    arms = resolve(read(folder.study_file, RECORDED, links=False), str(folder.study_file))
    if len(arms) != 1:
        raise InputError(f"{folder.study_file}: arms: a recorded study file holds one arm, this one has {len(arms)}")
    return arms[0]


def created_arm(folder: ArmFolder) -> Arm | None:
    """The arm as it was when its folder was created, whatever became of its study file; None if that was lost."""
    try:
        return Arm.model_validate_json(json.dumps(_environment(folder)[_CREATED]))
    except (KeyError, ValidationError):
        return None


def read_environment(folder: ArmFolder) -> dict[str, JsonValue]:
    """What the arm was created with: versions, CPU, git commit; empty if that was lost."""
    return {key: value for key, value in _environment(folder).items() if key not in (_CREATED, _WORKERS)}


def record_workers(folder: ArmFolder, machine: dict[str, JsonValue]) -> None:
    """Keep what the arm's workers compute with, as the first of them said."""
    content = _environment(folder) | {_WORKERS: machine}
    write_file(folder.environment_file, json.dumps(content, indent=1).encode())


def read_workers(folder: ArmFolder) -> dict[str, JsonValue] | None:
    """What the arm's workers compute with; None if none has said so yet."""
    machine = _environment(folder).get(_WORKERS)
    return machine if isinstance(machine, dict) else None


def _environment(folder: ArmFolder) -> dict[str, JsonValue]:
    try:
        content = from_json(read_file(folder.environment_file), allow_inf_nan=False)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_bracket(folder: ArmFolder, bracket: Bracket) -> None:
    """Store a bracket, before any of its configurations is used."""
    make_folder(folder.brackets)
    write_file(folder.bracket_file(bracket.bracket), seal(_BRACKET.dump_json(bracket, indent=1)))


def read_brackets(folder: ArmFolder, arm: Arm) -> dict[int, Bracket]:
    """All brackets of `arm` stored so far, by number; InputError if one is not, byte for byte, what was stored."""
    own, most = arm_sha256(arm), arm.rungs[0].configurations
    found: dict[int, Bracket] = {}
    paths = sorted(folder.brackets.glob("*.json")) if folder.brackets.is_dir() else []
    for path in paths:
        try:
            bracket = _BRACKET.validate_json(unseal(read_file(path)), strict=True)
            if path != folder.bracket_file(bracket.bracket):
                raise ValueError(f"it holds bracket {bracket.bracket}")
            if bracket.arm_sha256 not in (None, own) or len(bracket.configurations) > most:
                raise ValueError("it belongs to another arm, or to this one as it was before it was edited")
        except (OSError, ValueError) as error:  # pydantic's ValidationError is one
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(
                f"{path}: damaged: {reason}; restore it, or delete it to have it suggested again"
            ) from None
        found[bracket.bracket] = bracket
    return found


def configurations_of(brackets: Mapping[int, Bracket], per_bracket: int) -> dict[int, Configuration]:
    """Every configuration of these brackets by its number; a full bracket holds `per_bracket`."""
    return {
        (number - 1) * per_bracket + i: configuration
        for number in sorted(brackets)
        for i, configuration in enumerate(brackets[number].configurations, 1)
    }


def sweep_temporaries(folder: ArmFolder) -> None:
    """Remove what a killed driver left half-written at the top of the arm's folder."""
    for parent in (folder.root, folder.brackets):
        for path in parent.glob(f"*{TEMPORARY}"):
            path.unlink(missing_ok=True)
