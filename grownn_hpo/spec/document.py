"""YAML in and out, without YAML's pitfalls.

YAML 1.2 by ruamel's safe, pure reader: `1e-4` is a number, `no` is text, a key that stands twice and tags that build
objects are refused. So is what a study file cannot need and other parts of the program would choke on: files of
megabytes, deep nesting (an alias inside itself has no end), aliases and merged keys that unfold into millions of
values, integers past 64 bits.
"""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import YAMLError, YAMLWarning

from grownn_hpo.errors import Fault, InputError
from grownn_hpo.files import PASSING, read_regular

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import JsonValue


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a document may hold: bytes, values with its aliases written out, mappings and lists in one another."""

    bytes: int
    values: int
    depth: int


GIVEN = Bounds(2**18, 100_000, 32)
"""What people write. The reader takes about ten seconds for the largest."""
RECORDED = Bounds(2**20, 300_000, 40)
"""What this program wrote: a study with its search space inside, and defaults and aliases written out."""
LARGEST_INTEGER = 2**63 - 1
# Beside its own errors, ruamel's reader lets through what its scanner and scalars trip over: `!!int x`, 2001-13-45.
_UNREADABLE = (
    YAMLError,
    YAMLWarning,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)


class _Composer(Composer):
    """Ends where a document is nested past any bound: its scanner takes time with the square of the depth."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        if self._depth > RECORDED.depth + 2:
            raise RecursionError
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Constructor(SafeConstructor):
    """Ends before merged keys (`<<: [*a, *a]`, over and over) have grown past any memory."""

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)  # at most as many times as a list is long beyond the bound
        if len(node.value) > RECORDED.values:
            raise ValueError(f"its merged keys come to more than {RECORDED.values:,}")


def _yaml() -> Any:
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Composer, yaml.Constructor = _Composer, _Constructor
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # keys keep the order they were given in
    yaml.width = 120
    yaml.allow_unicode = False  # the emitter leaves U+0085 bare, which the reader takes for a line end
    return yaml


def parse(text: str, file: str, bounds: Bounds = GIVEN) -> JsonValue:
    """The plain value of a YAML text; InputError where it is not YAML, or holds what JSON could not, or too much."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", YAMLWarning)  # one anchor given to two things, for example
            value = _yaml().load(text)
    except DuplicateKeyError as error:
        place = "" if error.problem_mark is None else f" (line {error.problem_mark.line + 1})"
        raise InputError(f"{file}: a key may stand only once{place}: {error.problem}") from None
    except _UNREADABLE as error:
        raise InputError(f"{file}: not readable as YAML 1.2: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise InputError(f"{file}: nested too deeply to be read") from None
    return _Plain(file, bounds).value(value, "", 0)


def read(path: Path, bounds: Bounds = GIVEN, *, links: bool = True) -> dict[str, JsonValue]:
    """The mapping in the YAML file at `path`; `links`: a symbolic link may lead to it.

    Raises InputError where there is none, OSError where the storage fails for now.
    """
    try:
        text = read_regular(path, bounds.bytes, links=links).decode()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        if error.errno in PASSING:
            raise
        raise InputError(f"{path}: cannot be read: {error.strerror}; put a YAML file in its place") from None
    except ValueError as error:  # not UTF-8, or a name that can be none
        raise InputError(f"{path}: cannot be read: {error}") from None
    value = parse(text, str(path), bounds)
    if not isinstance(value, dict):
        what = "a list" if isinstance(value, list) else "text" if isinstance(value, str) else repr(value)
        raise InputError(f"{path}: holds {what}: must hold a mapping of keys to values")
    return value


def render(value: JsonValue) -> str:
    """`value` as YAML; `parse` gives it back equal."""
    stream = io.StringIO()
    _yaml().dump(value, stream)
    return stream.getvalue()


class _Plain:
    """Turns what the YAML reader built into what JSON can hold, in a tree of its own: nothing is shared by an alias."""

    def __init__(self, file: str, bounds: Bounds) -> None:
        self._file = file
        self._bounds = bounds
        self._values = 0

    def value(self, value: object, key: str, depth: int) -> JsonValue:
        self._values += 1
        most = self._bounds
        if depth > most.depth:
            raise InputError(f"{self._file}: {key[:60]!r}...: nested more than {most.depth} deep; write it flatter")
        if self._values > most.values:
            rule = f"holds more than {most.values:,} values, its aliases written out; use fewer"
            raise InputError(f"{self._file}: {rule}")
        if isinstance(value, dict):
            return {
                self._text(name, f"{key}.{name}".lstrip(".")): self.value(item, f"{key}.{name}".lstrip("."), depth + 1)
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self.value(item, f"{key}[{i}]", depth + 1) for i, item in enumerate(value)]
        if isinstance(value, str):
            return self._text(value, key)
        if isinstance(value, float) and not math.isfinite(value):
            raise self._fault(key, value, "must be a finite number")
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise self._fault(key, f"an integer of {value.bit_length()} bits", "must fit into 64 bits")
        if value is None or isinstance(value, (bool, int, float)):
            return value
        raise self._fault(key, str(value), f"is read as a {type(value).__name__}; put it in quotes to mean text")

    def _text(self, value: object, key: str) -> str:
        if not isinstance(value, str):
            raise self._fault(key, value, "a key must be text: put it in quotes")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise self._fault(key, value, "holds half of a surrogate pair, which is no character; take it out")
        return value

    def _fault(self, key: str, value: object, rule: str) -> InputError:
        return InputError(Fault(self._file, key, value, rule))
