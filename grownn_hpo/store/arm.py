"""An arm's folder as a whole: created from an arm, opened again as the same arm, its brackets stored before use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError

from grownn_hpo.errors import GrowNNError, InputError
from grownn_hpo.spec import Arm
from grownn_hpo.spec.document import read
from grownn_hpo.spec.study import arm_document, resolve
from grownn_hpo.store.commit import make_folder, read_file, remove, seal, set_aside, unseal, write_file
from grownn_hpo.store.paths import TEMPORARY, ArmFolder
from grownn_hpo.store.storage import PASSING

Configuration = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Bracket:
    """A bracket's configurations, verbatim, and the hash of what they were suggested from."""

    bracket: int
    configurations: tuple[Configuration, ...]
    suggested_from: str


@dataclass(frozen=True, slots=True)
class Earlier:
    """An environment that an arm was driven in before, and the attempts, like `c0001/s0/r1/a1`, that counted then."""

    environment: dict[str, JsonValue]
    attempts: tuple[str, ...]


_BRACKET = TypeAdapter(Bracket)
_EARLIERS = TypeAdapter(tuple[Earlier, ...])
_CREATED = "arm"
_WORKERS = "workers"
_EARLIER = "earlier"


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
    arms = resolve(read(folder.study_file), str(folder.study_file))
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
    """What the arm is driven with: versions, CPU, git commit; empty if that was lost."""
    return {key: value for key, value in _environment(folder).items() if key not in (_CREATED, _WORKERS, _EARLIER)}


def read_earlier(folder: ArmFolder) -> tuple[Earlier, ...]:
    """The environments that the arm was driven in before, first one first; none unless another was accepted since."""
    try:
        return _EARLIERS.validate_python(_environment(folder).get(_EARLIER, ()))
    except ValidationError:
        return ()


def begin_environment(
    folder: ArmFolder,
    environment: dict[str, JsonValue],
    workers: dict[str, JsonValue] | None,
    attempts: Iterable[str],
) -> None:
    """From now on the arm is driven with `environment`, its `workers` with theirs; `attempts` are all that count now.

    Those that no earlier environment has yet are kept as the work of the one recorded until now.
    """
    content, earlier = _environment(folder), read_earlier(folder)
    theirs = tuple(sorted({*attempts}.difference(*(each.attempts for each in earlier))))
    if theirs:
        until_now = {key: value for key, value in content.items() if key not in (_CREATED, _EARLIER)}
        earlier = (*earlier, Earlier(until_now, theirs))
    content = environment | {key: content[key] for key in (_CREATED,) if key in content}
    if workers is not None:
        content |= {_WORKERS: workers}
    if earlier:
        content |= {_EARLIER: _EARLIERS.dump_python(earlier, mode="json")}
    write_file(folder.environment_file, json.dumps(content, indent=1).encode())


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
        content = json.loads(read_file(folder.environment_file))
    except ValueError:
        return {}
    except OSError as error:
        if error.errno in PASSING:
            raise  # or `record_workers` would write as little as was read
        return {}
    return content if isinstance(content, dict) else {}


def write_bracket(folder: ArmFolder, bracket: Bracket) -> None:
    """Store a bracket, before any of its configurations is used."""
    make_folder(folder.brackets)
    write_file(folder.bracket_file(bracket.bracket), seal(_BRACKET.dump_json(bracket, indent=1)))


def read_brackets(folder: ArmFolder) -> dict[int, Bracket]:
    """All brackets stored so far, by number; GrowNNError if one is not, byte for byte, what was stored."""
    found: dict[int, Bracket] = {}
    for path in _bracket_files(folder):
        try:
            bracket = _read_bracket(folder, path)
        except ValueError as error:
            raise GrowNNError(
                f"{path}: damaged: {error}; restore it, or have it suggested again: grownn resume {folder.root}"
            ) from None
        found[bracket.bracket] = bracket
    return found


def set_aside_damaged_brackets(folder: ArmFolder) -> tuple[Path, ...]:
    """Rename every file of `brackets/` that `read_brackets` would not believe; their names from now on.

    A bracket is a function of earlier outcomes, so that what is lost can be suggested again.
    """
    aside = []
    for path in _bracket_files(folder):
        try:
            _read_bracket(folder, path)
        except ValueError:
            aside.append(set_aside(path))
    return tuple(aside)


def _bracket_files(folder: ArmFolder) -> list[Path]:
    return sorted(folder.brackets.glob("*.json")) if folder.brackets.is_dir() else []


def _read_bracket(folder: ArmFolder, path: Path) -> Bracket:
    """The bracket at `path`; ValueError (pydantic's ValidationError is one) if it is not what was stored there."""
    bracket = _BRACKET.validate_json(unseal(read_file(path)), strict=True)
    if path != folder.bracket_file(bracket.bracket):
        raise ValueError(f"it holds bracket {bracket.bracket}")
    return bracket


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
            remove(path)
