"""An arm's folder as a whole: created from an arm, opened again as the same arm, its brackets stored before use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import from_json

from grownn_hpo.errors import InputError
from grownn_hpo.files import PASSING
from grownn_hpo.spec import Arm
from grownn_hpo.spec.document import RECORDED, read
from grownn_hpo.spec.study import arm_document, resolve
from grownn_hpo.store.commit import make_folder, read_file, read_if_there, remove, seal, set_aside, unseal, write_file
from grownn_hpo.store.paths import TEMPORARY, ArmFolder
from grownn_hpo.store.storage import persevering
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
    folder.refuse_links()
    recorded = persevering(lambda: read(folder.study_file, RECORDED, links=False))
    arms = resolve(recorded, str(folder.study_file))
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
        content = from_json(read_if_there(folder.environment_file), allow_inf_nan=False)
    except ValueError:
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
    for path in _bracket_files(folder):
        try:
            bracket = _read_bracket(folder, path, own, most)
        except OSError as error:
            if error.errno in PASSING:
                raise
            raise _damaged(folder, path, error.strerror) from None
        except ValueError as error:
            raise _damaged(folder, path, error) from None
        found[bracket.bracket] = bracket
    return found


def set_aside_damaged_brackets(folder: ArmFolder, arm: Arm) -> tuple[Path, ...]:
    """Rename every file of `brackets/` that `read_brackets` would not believe; their names from now on.

    A bracket is a function of earlier outcomes, so that what is lost can be suggested again. Raises InputError where
    there are brackets of another arm and none of this one: then it is rather the study file that was changed.
    """
    own, most = arm_sha256(arm), arm.rungs[0].configurations
    lost, foreign, whole = [], [], False
    for path in _bracket_files(folder):
        try:
            _read_bracket(folder, path, own, most)
            whole = True
        except _ForeignError as error:
            foreign.append((path, error))
        except OSError as error:
            if error.errno in PASSING:
                raise
            lost.append(path)
        except ValueError:
            lost.append(path)
    if foreign and not whole:
        path, reason = foreign[0]
        raise InputError(
            f"{path}: {reason}: put back the study file, or the bracket, that belongs there; or delete that bracket to"
            f" have another suggested for {folder.study_file}"
        )
    return tuple(set_aside(path) for path in sorted([*lost, *(path for path, _ in foreign)]))


class _ForeignError(ValueError):
    """A bracket is whole, and another arm's."""


def _bracket_files(folder: ArmFolder) -> list[Path]:
    return sorted(folder.brackets.glob("*.json")) if folder.brackets.is_dir() else []


def _read_bracket(folder: ArmFolder, path: Path, own: str, most: int) -> Bracket:
    """The bracket at `path`; ValueError (pydantic's ValidationError is one) if it is not what was stored there.

    `own` is the arm's SHA-256, `most` how many configurations a bracket of it may hold.
    """
    bracket = _BRACKET.validate_json(unseal(read_file(path)), strict=True)
    if path != folder.bracket_file(bracket.bracket):
        raise ValueError(f"it holds bracket {bracket.bracket}")
    if bracket.arm_sha256 not in (None, own) or len(bracket.configurations) > most:
        raise _ForeignError("it belongs to another arm, or to this one as it was before it was edited")
    return bracket


def _damaged(folder: ArmFolder, path: Path, reason: object) -> InputError:
    return InputError(f"{path}: damaged: {reason}; restore it, or have it suggested again: grownn resume {folder.root}")


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
