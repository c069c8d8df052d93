"""The form of a search space's file: which keys each kind of entry has, and which names they may refer to.

ConfigSpace reports a misspelt key as a constructor's TypeError and an unknown parent as a bare KeyError. What can be
said without it is said here, all faults at once, each with its key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from math import isfinite
from typing import Any

from grownn_hpo.errors import Fault

RANGE = ("lower", "upper")
HYPERPARAMETERS: dict[str, tuple[str, ...]] = {
    "uniform_float": RANGE,
    "uniform_int": RANGE,
    "normal_float": ("mu", "sigma", *RANGE),
    "normal_int": ("mu", "sigma", *RANGE),
    "beta_float": ("alpha", "beta", *RANGE),
    "beta_int": ("alpha", "beta", *RANGE),
    "categorical": ("choices",),
    "ordinal": ("sequence",),
    "constant": ("value",),
}
CONDITIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("EQ", "NEQ", "LT", "GT"), ("child", "parent", "value")),
    "IN": ("child", "parent", "values"),
    **dict.fromkeys(("AND", "OR"), ("conditions",)),
}
FORBIDDENS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("EQUALS", "CLAUSE_LT", "CLAUSE_LE", "CLAUSE_GT", "CLAUSE_GE"), ("name", "value")),
    "IN": ("name", "values"),
    **dict.fromkeys(("AND", "OR"), ("clauses",)),
    **dict.fromkeys((f"RELATION_{op}" for op in ("LT", "LE", "EQ", "GT", "GE")), ("left", "right")),
}
SECTIONS = ("hyperparameters", "conditions", "forbiddens")
TOP = (*SECTIONS, "name", "python_module_version", "format_version")
NUMBERS = (*RANGE, "mu", "sigma", "alpha", "beta")
VALUES = ("choices", "sequence", "values")
LISTS = (*VALUES, "conditions", "clauses")
REFERENCES = ("child", "parent", "left", "right")  # and `name`, in a forbidden clause


def form_faults(mapping: Mapping[str, Any], file: str) -> list[Fault]:
    """Everything wrong with the form of a space; empty when ConfigSpace may be asked what it thinks of the values."""
    faults = [*_unknown(mapping, TOP, "", file)]
    for section in SECTIONS:
        if not isinstance(mapping.get(section) or [], list | tuple):
            faults.append(Fault(file, section, mapping[section], "must be a list"))
    if not faults and not mapping.get("hyperparameters"):
        rule = "must name at least one hyperparameter; to train a single configuration, name constants"
        faults.append(Fault(file, "hyperparameters", mapping.get("hyperparameters"), rule))
    if faults:
        return faults
    names: list[str] = []
    for i, entry in enumerate(mapping["hyperparameters"]):
        key = f"hyperparameters[{i}]"
        faults += _entry(entry, HYPERPARAMETERS, key, file)
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if not isinstance(name, str) or not name:
            faults.append(Fault(file, f"{key}.name", name, "every hyperparameter needs a name"))
        elif name in names:
            faults.append(Fault(file, f"{key}.name", name, "a hyperparameter may be described only once"))
        else:
            names.append(name)
    for section, types, inner in (("conditions", CONDITIONS, "conditions"), ("forbiddens", FORBIDDENS, "clauses")):
        for i, entry in enumerate(mapping.get(section) or ()):
            faults += _clause(entry, types, inner, names, f"{section}[{i}]", file)
    return faults


def _clause(
    entry: Any, types: Mapping[str, tuple[str, ...]], inner: str, names: Collection[str], key: str, file: str
) -> Iterator[Fault]:
    """The faults of a condition or a forbidden clause, and of those inside it."""
    wrong = list(_entry(entry, types, key, file))
    yield from wrong
    if wrong:
        return
    for word in (*REFERENCES, *(("name",) if types is FORBIDDENS else ())):
        if word in entry and entry[word] not in names:
            rule = f"names no hyperparameter of this space{_hint(entry[word], names)}"
            yield Fault(file, f"{key}.{word}", entry[word], rule)
    for i, part in enumerate(entry.get(inner, ())):
        yield from _clause(part, types, inner, names, f"{key}.{inner}[{i}]", file)


def _entry(entry: Any, types: Mapping[str, tuple[str, ...]], key: str, file: str) -> Iterator[Fault]:
    """The faults of one entry's keys and of the shape of their values."""
    if not isinstance(entry, Mapping):
        yield Fault(file, key, entry, "must be a mapping with a type")
        return
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in types:
        yield Fault(file, f"{key}.type", kind, f"must be one of {', '.join(types)}{_hint(kind, types)}")
        return
    required = types[kind]
    optional = _optional(kind) if types is HYPERPARAMETERS else ("child",) if "conditions" in required else ()
    yield from _unknown(entry, ("type", *required, *optional), f"{key}.", file)
    for word in required:
        if word not in entry:
            yield Fault(file, f"{key}.{word}", None, f"a {kind} needs this key")
    for word, value in entry.items():
        if word in NUMBERS or (word == "default_value" and RANGE[0] in required):
            yield from _number(
                value, f"{key}.{word}", whole=kind.endswith("_int") and word not in NUMBERS[2:], file=file
            )
        elif word in LISTS and not (isinstance(value, list | tuple) and value):
            yield Fault(file, f"{key}.{word}", value, "must be a list with at least one entry")
        elif word == "value":
            yield from _single(value, f"{key}.{word}", file)
        elif word in VALUES:
            for i, item in enumerate(value):
                yield from _single(item, f"{key}.{word}[{i}]", file)
        elif word == "log" and not isinstance(value, bool):
            yield Fault(file, f"{key}.{word}", value, "must be true or false")


def _optional(kind: str) -> tuple[str, ...]:
    """The keys that a hyperparameter may have besides those that its type needs."""
    more = {"constant": (), "ordinal": ("default_value",), "categorical": ("default_value", "weights")}
    return ("name", "meta", *more.get(kind, ("default_value", "log")))


def _single(value: object, key: str, file: str) -> Iterator[Fault]:
    if not isinstance(value, int | float | str):
        yield Fault(file, key, value, "must be a number, text, true or false")


def _number(value: object, key: str, *, whole: bool, file: str) -> Iterator[Fault]:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        yield Fault(file, key, value, "must be a finite number, without quotes")
    elif whole and value != int(value):
        yield Fault(file, key, value, "must be a whole number")


def _unknown(entry: Mapping[str, Any], keys: Collection[str], prefix: str, file: str) -> Iterator[Fault]:
    for word, value in entry.items():
        if word not in keys:
            yield Fault(file, f"{prefix}{word}", value, f"unknown key{_hint(word, keys)}")


def _hint(word: object, known: Collection[str]) -> str:
    close = get_close_matches(str(word), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
