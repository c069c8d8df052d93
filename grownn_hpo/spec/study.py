"""From a study file to its arms, and from an arm to the study file it is recorded as.

An arm is resolved: the study's common terms, the arm's own `search`, `ppo`, ... laid over them, and the search space
itself rather than its name. So an arm's folder needs nothing but itself to be resumed, and adding an arm to a study
file leaves the other arms' folders as they are.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from grownn_hpo.errors import Fault, InputError
from grownn_hpo.spec import document
from grownn_hpo.spec.explain import explain, one_each, unknown_key
from grownn_hpo.spec.values import Arm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKAGE = Path(__file__).resolve().parents[1]
STUDIES = PACKAGE / "studies"
# An installed wheel carries the search spaces inside the package, a checkout beside it.
SPACES = next((p for p in (PACKAGE / "search_spaces", PACKAGE.parent / "search_spaces") if p.is_dir()), PACKAGE)

ARM_SECTIONS = ("evaluation", "ppo", "network", "growth", "search", "limits")
"""What an arm may lay over the study's common terms, beside its rungs."""
STUDY_KEYS = ("name", *(k for k in Arm.model_fields if k not in ("study", "name", "rungs")), "arms")

SURELY_RECORDABLE = 2**15
"""An arm whose JSON is shorter is within the bounds of what is recorded, however deep it is nested."""


@dataclass(frozen=True, slots=True)
class Study:
    """One question: the arms of a study file, each resolved, and the file they came from."""

    file: str
    arms: tuple[Arm, ...]

    @property
    def name(self) -> str:
        return self.arms[0].study


def bundled_studies() -> tuple[str, ...]:
    """The names of the studies that come with the package."""
    return tuple(sorted(path.stem for path in STUDIES.glob("*.yaml")))


def load_study(source: str, overrides: Sequence[str] = ()) -> Study:
    """The study named `source` (bundled) or in the file `source`, with `key=value` overrides; InputError if invalid."""
    if source in bundled_studies():
        path = STUDIES / f"{source}.yaml"
    else:
        path = Path(source)
        if not _is_there(path):
            close = difflib.get_close_matches(source, bundled_studies(), 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            names = ", ".join(bundled_studies())
            raise InputError(f"{source}: is neither a file nor a bundled study; {hint}bundled are: {names}")
    raw = document.read(path)
    file = str(path)
    for override in overrides:
        _apply_override(raw, override)
    study = Study(file, resolve(raw, file))
    for arm in study.arms:
        _refuse_unrecordable(arm, file)
    return study


def resolve(raw: dict[str, JsonValue], file: str) -> tuple[Arm, ...]:
    """The arms of a study file's content; InputError with every fault found."""
    faults = [unknown_key(file, key, value, STUDY_KEYS) for key, value in raw.items() if key not in STUDY_KEYS]
    arms = raw.get("arms")
    if not isinstance(arms, dict) or not arms:
        faults.append(Fault(file, "arms", arms, "must name at least one arm and its rungs"))
        raise InputError(faults)
    space = _resolve_space(raw.get("space"), file)
    resolved = []
    for name, own in arms.items():
        key = f"arms.{name}"
        if not isinstance(own, dict):
            faults.append(Fault(file, key, own, "must be a mapping that holds at least `rungs`"))
            continue
        allowed = ("rungs", *ARM_SECTIONS)
        faults += [unknown_key(file, f"{key}.{k}", v, allowed) for k, v in own.items() if k not in allowed]
        merged = {k: v for k, v in raw.items() if k in Arm.model_fields and k not in ("study", "name", "rungs")}
        merged |= {"study": raw.get("name"), "name": name, "space": space}
        for section, value in own.items():
            common = merged.get(section, {})
            if section in ARM_SECTIONS and isinstance(value, dict):
                # Common terms that are no mapping stay, to be refused: laying something over must not hide them.
                merged[section] = common | value if isinstance(common, dict) else common
            elif section in allowed:
                merged[section] = value
        try:
            resolved.append(Arm.model_validate_json(json.dumps(merged)))
        except ValidationError as error:
            faults += [
                explain(file, name, own, merged, each)
                for each in error.errors()
                # A list whose items are refused is called too short on top of that.
                if not (each["type"] == "too_short" and each["input"])
            ]
    if faults:
        raise InputError(one_each(faults))
    return tuple(resolved)


def arm_document(arm: Arm) -> str:
    """`arm` as a study file of its own, everything spelled out; `resolve` gives back an equal arm."""
    dumped = arm.model_dump(mode="json", exclude_none=True)
    study, name, rungs = (dumped.pop(key) for key in ("study", "name", "rungs"))
    return document.render({"name": study, **dumped, "arms": {name: {"rungs": rungs}}})


def _refuse_unrecordable(arm: Arm, file: str) -> None:
    """InputError where the arm, written down, would be more than what is read again."""
    if len(arm.model_dump_json()) < SURELY_RECORDABLE:
        return
    try:
        recorded = arm_document(arm)
        if len(recorded) > document.RECORDED.bytes:
            raise InputError(f"{file}: it comes to more than {document.RECORDED.bytes:,} bytes")
        document.parse(recorded, file, document.RECORDED)
    except InputError as error:
        rule = f"its aliases and search space written out, this arm is too large to be kept: {error}; make it smaller"
        raise InputError(Fault(file, f"arms.{arm.name}", "...", rule)) from None


def differences(recorded: Arm, given: Arm) -> list[str]:
    """Where two arms differ, a line each: key, recorded value, given value. `limits` may: they change no result."""
    given = given.model_copy(update={"limits": recorded.limits})
    if given.search.lookahead == "auto":  # resolved once, when the study was created
        search = given.search.model_copy(update={"lookahead": recorded.search.lookahead})
        given = given.model_copy(update={"search": search})
    if given.device == "auto":
        given = given.model_copy(update={"device": recorded.device})
    # Compared as they read: to Python 1, 1.0 and True are equal, to a search space or an environment they are not.
    old, new = ({k: repr(v) for k, v in _leaves(arm.model_dump(mode="json"))} for arm in (recorded, given))
    keys = [*old, *(k for k in new if k not in old)]
    absent = "nothing"
    return [
        f"{key}: recorded {old.get(key, absent)}, given {new.get(key, absent)}"
        for key in keys
        if old.get(key, absent) != new.get(key, absent)
    ]


def _leaves(value: JsonValue, key: str = "") -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            spelled = json.dumps(name) if re.search(r"[.\[\]]", name) else name  # {a.b: 1} is not {a: {b: 1}}
            yield from _leaves(item, f"{key}.{spelled}".lstrip("."))
    elif isinstance(value, list) and value:
        for i, item in enumerate(value):
            yield from _leaves(item, f"{key}[{i}]")
    else:
        yield key, value


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True  # reading it will say what is wrong
    except OSError:
        return False  # a name that can be none, being too long


def _resolve_space(space: JsonValue, file: str) -> JsonValue:
    if not isinstance(space, str):
        return space  # the mapping itself, or something that the arm's validation refuses
    named = SPACES / f"{space}.yaml"
    path = named if named.parent == SPACES and _is_there(named) else Path(file).parent / space
    if not _is_there(path) or path.is_dir():
        names = ", ".join(sorted(p.stem for p in SPACES.glob("*.yaml")))
        rule = f"is neither a bundled search space ({names}) nor a file beside the study file"
        raise InputError(Fault(file, "space", space, rule))
    try:
        return document.read(path)
    except InputError as error:
        raise InputError(Fault(file, "space", space, str(error))) from None


def _apply_override(raw: dict[str, JsonValue], override: str) -> None:
    """Set `a.b[0].c=value` (or `a.b.0.c=value`) in `raw`; `*` stands for every key or item that is there."""
    key, equals, text = override.partition("=")
    parts = [p for p in re.split(r"[.\[\]]+", key.strip()) if p]
    if not equals or not parts:
        raise InputError(f"--set {override}: must read key=value, for example --set search.trials=20")
    _assign(raw, parts, document.parse(text, f"--set {override}"), f"--set {override}")


def _assign(node: JsonValue, parts: Sequence[str], value: JsonValue, file: str) -> None:
    head, rest = parts[0], parts[1:]
    if isinstance(node, list):
        if head == "*":
            indices = list(range(len(node)))
        elif head.isdecimal() and int(head) < len(node):
            indices = [int(head)]
        else:
            items = f"the number of an item, 0 to {len(node) - 1}, or *" if node else "*: the list is empty"
            raise InputError(f"{file}: {head!r} must be {items}")
        for i in indices:
            if rest:
                _assign(node[i], rest, value, file)
            else:
                node[i] = copy.deepcopy(value)  # no two places share what a later override may change
    elif isinstance(node, dict):
        for name in list(node) if head == "*" else [head]:
            if rest:
                _assign(node.setdefault(name, {}), rest, value, file)
            else:
                node[name] = copy.deepcopy(value)
    else:
        raise InputError(f"{file}: {head!r} names a key inside {node!r}, which is not a mapping")
