"""Validation errors, told with the key as it stands in the study file, the value there and the rule it breaks."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from grownn_hpo.errors import Fault
from grownn_hpo.spec.values import Arm, RuleBroken

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


_WORDING = {
    r"^(Input|String|List|Tuple|Dictionary) should ": "must ",
    r"a valid (array|list|tuple)": "a list",
    r"an object|a valid dictionary": "a mapping of keys to values",
    r"a valid string": "text",
    r"a valid boolean": "true or false",
    r"a valid integer": "an integer",
    r"a valid number": "a number",
    r" after validation, not \d+$": "",
    r"be greater than or equal to": "be at least",
    r"be less than or equal to": "be at most",
}
"""Pydantic's phrases, and this program's."""


def unknown_key(file: str, key: str, value: object, known: Sequence[str], of: str = "a study file") -> Fault:
    """The fault of a key that nothing knows, with the known one that is closest."""
    close = difflib.get_close_matches(key.rpartition(".")[2], known, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return Fault(file, key or "''", value, f"is not a key of {of}; {hint}known here: {', '.join(known)}")


def explain(file: str, arm: str, own: Mapping[str, Any], merged: Mapping[str, Any], error: Any) -> Fault:
    """One of pydantic's errors about the resolved arm `merged`, of which the file's arm holds `own`."""
    broken = error.get("ctx", {}).get("error")
    if isinstance(broken, RuleBroken):
        parts: list[str | int] = [int(p) if p.isdecimal() else p for p in re.split(r"[.\[\]]+", broken.key) if p]
        return Fault(file, _key_in_file(arm, own, parts), broken.value, broken.rule)
    parts = []
    node: Any = merged
    for part in error["loc"]:
        known = part in node if isinstance(node, dict) else isinstance(node, list) and isinstance(part, int)
        if not known and error["type"] not in ("missing", "extra_forbidden"):
            break  # a branch of a union, not a key
        parts.append(part)
        node = node[part] if known else None
    key = _key_in_file(arm, own, parts)
    if error["type"] == "extra_forbidden":
        owner: type[BaseModel] = Arm
        for part in parts[:-1]:
            owner = _submodel(owner, part)
        return unknown_key(file, key, node, tuple(owner.model_fields))
    if error["type"] == "missing":
        return Fault(file, key, None, "is missing and has no default: add it")
    rule = worded(error["msg"])
    if isinstance(node, str) and rule.endswith(("number", "integer")) and _is_number(node):
        rule += ", and this is text: write it without quotes"
    if parts in (["study"], ["name"]):
        rule = "must be a plain name of at most 64 letters, digits, '_', '-' and single '.', first a letter or digit"
    return Fault(file, key, node, rule)


def worded(message: str) -> str:
    """One of pydantic's messages in this program's words."""
    for theirs, ours in _WORDING.items():
        message = re.sub(theirs, ours, message)
    return message


def key_of(parts: Sequence[str | int]) -> str:
    """A place in a document as people write it: `arms.grown-4.rungs[0].depth`."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def one_each(faults: Iterable[Fault]) -> list[Fault]:
    """The faults with those of one key told as one: arms repeat what they share, a choice fails on every branch."""
    rules: dict[tuple[str, str, str], tuple[Fault, list[str]]] = {}
    for fault in faults:
        _, known = rules.setdefault((fault.file, fault.key, repr(fault.value)), (fault, []))
        if fault.rule not in known:
            known.append(fault.rule)
    return [replace(fault, rule=", or ".join(known)) for fault, known in rules.values()]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _submodel(model: type[BaseModel], part: str | int) -> type[BaseModel]:
    """The value class in `model`'s field `part`, through tuples and unions; `model` itself for an index."""
    if isinstance(part, int) or part not in model.model_fields:
        return model
    pending: list[Any] = [model.model_fields[part].annotation]
    while pending:
        candidate = pending.pop()
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
        pending += get_args(candidate)
    return model


def _key_in_file(arm: str, own: Mapping[str, Any], parts: Sequence[str | int]) -> str:
    """Where a key of the resolved arm stands in the study file: under the arm if it laid it over, else at the top."""
    if not parts:
        return f"arms.{arm}"
    if parts[0] == "name":
        return "arms"
    head = "name" if parts[0] == "study" else parts[0]
    section = own.get(str(head))
    mine = head == "rungs" or (isinstance(section, dict) and len(parts) > 1 and parts[1] in section)
    return key_of([*(["arms", arm] if mine else []), str(head), *parts[1:]])
