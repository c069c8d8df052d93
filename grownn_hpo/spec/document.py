"""YAML in and out, without YAML's pitfalls.

YAML 1.2 by ruamel's safe, pure reader: `1e-4` is a number, `no` is text, a key that stands twice and tags that build
objects are refused.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from grownn_hpo.errors import Fault, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import JsonValue


def _yaml() -> Any:
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # keys keep the order they were given in
    yaml.width = 120
    return yaml


def parse(text: str, file: str) -> JsonValue:
    """The plain value of a YAML text; InputError where it is not YAML, or holds what JSON could not."""
    try:
        value = _yaml().load(text)
    except DuplicateKeyError as error:
        place = "" if error.problem_mark is None else f" (line {error.problem_mark.line + 1})"
        raise InputError(f"{file}: a key may stand only once{place}: {error.problem}") from None
    except YAMLError as error:
        raise InputError(f"{file}: not readable as YAML 1.2: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise InputError(f"{file}: nested too deeply to be read") from None
    return _plain(value, file, "")


def read(path: Path) -> dict[str, JsonValue]:
    """The mapping in the YAML file at `path`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    value = parse(text, str(path))
    if not isinstance(value, dict):
        raise InputError(Fault(str(path), "", value, "must hold a mapping of keys to values"))
    return value


def render(value: JsonValue) -> str:
    """`value` as YAML; `parse` gives it back equal."""
    stream = io.StringIO()
    _yaml().dump(value, stream)
    return stream.getvalue()


def _plain(value: object, file: str, key: str) -> JsonValue:
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise InputError(Fault(file, f"{key}.{name}".lstrip("."), name, "a key must be text: put it in quotes"))
        return {name: _plain(item, file, f"{key}.{name}".lstrip(".")) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, file, f"{key}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(Fault(file, key, value, "must be a finite number"))
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InputError(
        Fault(file, key, str(value), f"is read as a {type(value).__name__}; put it in quotes to mean text")
    )
