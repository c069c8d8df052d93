"""The search space: reading it, checking it against PPO, and carrying configurations in and out of plain values.

A space is a plain mapping in ConfigSpace's own serialisation. ConfigSpace keeps its hyperparameters in an order of its
own, parents before children and otherwise by name; "the space's order" is that one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue, ValidationError

from grownn_hpo.errors import Fault, InputError
from grownn_hpo.search.form import form_faults
from grownn_hpo.spec import PPOSettings

if TYPE_CHECKING:  # importing ConfigSpace takes a second
    from ConfigSpace import Configuration, ConfigurationSpace

Plain = dict[str, JsonValue]  # one configuration: active hyperparameters alone, in the space's order

# More configurations than any study tries: a finite space beyond this is treated like an endless one.
COUNTABLE = 10_000


def read_space(mapping: Mapping[str, Any], file: str) -> ConfigurationSpace:
    """The space that `mapping` describes; `file` is where it came from, for messages.

    Raises InputError, naming the key at fault, for anything that ConfigSpace or SMAC's forest cannot take.
    """
    if faults := form_faults(mapping, file):
        raise InputError(faults)
    try:
        space = _decode(mapping)
    except Exception as error:  # ConfigSpace raises whatever Python raised inside it
        raise InputError(_blame(mapping, file, error)) from error
    for name in space.conditional_hyperparameters:
        kind = type(space[name]).__name__
        if kind.startswith(("Normal", "Beta")):
            rule = "SMAC's forest takes no normal or beta distribution under a condition: use a uniform one"
            raise InputError(Fault(file, _key(mapping, name), name, rule))
    return space


def check_space(mapping: Mapping[str, Any], ppo: PPOSettings, rollout: int, file: str) -> None:
    """Check that every configuration of the space is one that PPO can be told.

    `ppo` holds what is not searched, `rollout` is its `n_steps` times the number of environments. Raises InputError
    with one fault for each value that PPO would refuse.
    """
    space = read_space(mapping, file)
    faults = [fault for name in space for fault in _value_faults(mapping, space, name, file)]
    if not faults and not {"n_steps", "batch_size"}.isdisjoint(space):
        faults = list(_batch_faults(mapping, space, ppo, rollout, file))
    if faults:
        raise InputError(faults)


def to_plain(configuration: Configuration) -> Plain:
    """A configuration as Python values that survive JSON and YAML; inactive hyperparameters are absent."""
    import numpy as np

    return {k: v.item() if isinstance(v, np.generic) else v for k, v in dict(configuration).items()}


def from_plain(space: ConfigurationSpace, plain: Mapping[str, JsonValue]) -> Configuration:
    """The configuration that `to_plain` made `plain` from: equal to it, with the same hash.

    Raises ValueError when the space has no such configuration.
    """
    from ConfigSpace import Configuration

    # By way of the vector, since a configuration hashes its values' text, and `5` is not `np.int64(5)`.
    return Configuration(space, vector=Configuration(space, values=dict(plain)).get_array())


def all_configurations(space: ConfigurationSpace) -> tuple[Configuration, ...] | None:
    """Every configuration of a finite space, in a stable order; None for one that is not finite, or not `COUNTABLE`."""
    from ConfigSpace.types import NotSet

    values: list[dict[str, Any]] = [dict.fromkeys(space, NotSet)]
    for name in space:
        choices = _choices(space[name])
        if choices is None or len(values) * len(choices) > COUNTABLE:
            return None
        values = [
            {**chosen, name: choice}
            for chosen in values
            for choice in (choices if is_active(space, name, chosen) else (NotSet,))
        ]
    return tuple(_allowed(space, values))


def is_active(space: ConfigurationSpace, name: str, chosen: Mapping[str, Any]) -> bool:
    """Whether hyperparameter `name` is active under the values `chosen` for those before it (`NotSet`: inactive)."""
    return all(condition.satisfied_by_value(chosen) for condition in space.parent_conditions_of[name])


def _allowed(space: ConfigurationSpace, values: Sequence[Mapping[str, Any]]) -> Iterator[Configuration]:
    """The configurations with these values (`NotSet`: inactive), less the forbidden ones."""
    from ConfigSpace.exceptions import ForbiddenValueError
    from ConfigSpace.types import NotSet

    for chosen in values:
        try:
            yield from_plain(space, {name: value for name, value in chosen.items() if value is not NotSet})
        except ForbiddenValueError:
            continue


def _choices(hyperparameter: Any) -> Sequence[Any] | None:
    """The values that a hyperparameter can take; None when they are not finitely many."""
    from ConfigSpace import CategoricalHyperparameter, Constant, OrdinalHyperparameter
    from ConfigSpace.hyperparameters import IntegerHyperparameter

    match hyperparameter:
        case Constant():
            return (hyperparameter.value,)
        case OrdinalHyperparameter():
            return tuple(hyperparameter.sequence)
        case CategoricalHyperparameter():
            pairs = zip(hyperparameter.choices, hyperparameter.probabilities, strict=True)
            return tuple(choice for choice, probability in pairs if probability > 0)
        case IntegerHyperparameter():
            return range(hyperparameter.lower, hyperparameter.upper + 1)
        case _:
            return None


def _decode(mapping: Mapping[str, Any]) -> ConfigurationSpace:
    from ConfigSpace import ConfigurationSpace

    return ConfigurationSpace.from_serialized_dict(copy.deepcopy(dict(mapping)))  # it empties what it reads


def _blame(mapping: Mapping[str, Any], file: str, error: Exception) -> Fault:
    """The first entry with which the space can no longer be read, and ConfigSpace's reason."""
    so_far: dict[str, Any] = {}
    for section in ("hyperparameters", "conditions", "forbiddens"):
        for i, entry in enumerate(mapping.get(section) or ()):
            so_far.setdefault(section, []).append(entry)
            try:
                _decode(so_far)
            except Exception as reason:  # as above; what comes last is the culprit
                return Fault(file, f"{section}[{i}]", entry, f"ConfigSpace refuses it: {_reason(reason)}")
    return Fault(file, "", dict(mapping), f"ConfigSpace refuses it: {_reason(error)}")


def _reason(error: BaseException) -> str:
    """An exception's message with those of its causes, on one line."""
    text = " ".join((str(error) or type(error).__name__).split())
    return f"{text}: {_reason(error.__cause__)}" if error.__cause__ else text


def _key(mapping: Mapping[str, Any], name: str) -> str:
    """Where in the file hyperparameter `name` is described."""
    return next(f"hyperparameters[{i}]" for i, entry in enumerate(mapping["hyperparameters"]) if entry["name"] == name)


def _value_faults(mapping: Mapping[str, Any], space: ConfigurationSpace, name: str, file: str) -> Iterator[Fault]:
    """What of one hyperparameter PPO would refuse."""
    from ConfigSpace.hyperparameters import FloatHyperparameter

    key, hyperparameter = _key(mapping, name), space[name]
    field = PPOSettings.model_fields.get(name)
    if field is None:
        close = get_close_matches(name, PPOSettings.model_fields, n=1)
        hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(PPOSettings.model_fields)}"
        yield Fault(file, f"{key}.name", name, f"a space naming a hyperparameter that PPO has not; {hint}")
        return
    if isinstance(hyperparameter, FloatHyperparameter) and field.annotation is not float:
        kind = "whole numbers: use an integer type" if field.annotation is int else "true or false: use a categorical"
        yield Fault(file, key, name, f"{name} takes {kind}")
        return
    for where, value in _told(hyperparameter):
        try:
            PPOSettings.model_validate({name: value})
        except ValidationError as error:
            yield Fault(file, f"{key}.{where}", value, f"PPO refuses this {name}: {error.errors()[0]['msg'].lower()}")


def _told(hyperparameter: Any) -> Iterator[tuple[str, Any]]:
    """Values that stand for all that PPO can be told, each with its place in the entry.

    The bounds stand for a range, since every rule of PPO's is an interval.
    """
    from ConfigSpace import CategoricalHyperparameter, Constant, OrdinalHyperparameter

    match hyperparameter:
        case Constant():
            yield "value", hyperparameter.value
        case CategoricalHyperparameter():
            yield from ((f"choices[{i}]", choice) for i, choice in enumerate(hyperparameter.choices))
        case OrdinalHyperparameter():
            yield from ((f"sequence[{i}]", choice) for i, choice in enumerate(hyperparameter.sequence))
        case _:
            yield "lower", hyperparameter.lower
            yield "upper", hyperparameter.upper


def _batch_faults(
    mapping: Mapping[str, Any], space: ConfigurationSpace, ppo: PPOSettings, rollout: int, file: str
) -> Iterator[Fault]:
    """Whether the largest minibatch fits the smallest rollout; forbidden combinations are not looked into."""
    envs = rollout // ppo.n_steps
    steps = [value for _, value in _told(space["n_steps"])] if "n_steps" in space else [ppo.n_steps]
    sizes = [value for _, value in _told(space["batch_size"])] if "batch_size" in space else [ppo.batch_size]
    if max(sizes) > min(steps) * envs:
        name, shown = ("batch_size", max(sizes)) if "batch_size" in space else ("n_steps", min(steps))
        rule = (
            f"a minibatch cannot be larger than a rollout, n_steps x task.envs:"
            f" {max(sizes)} is more than {min(steps)} x {envs} = {min(steps) * envs}"
        )
        yield Fault(file, f"{_key(mapping, name)} ({name})", shown, rule)
