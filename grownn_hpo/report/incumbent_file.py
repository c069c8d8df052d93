"""An incumbent as one self-contained YAML file: enough to train it again, and to know what it promised."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TypeGuard

from pydantic import JsonValue, ValidationError

from grownn_hpo.errors import Fault, GrowNNError, InputError
from grownn_hpo.report.evaluation import Promise
from grownn_hpo.report.incumbent import Standing, leaderboard, standings
from grownn_hpo.report.record import ArmRecord
from grownn_hpo.search.ladder import incumbent
from grownn_hpo.search.space import from_plain, read_space
from grownn_hpo.spec import Arm, PPOSettings, document
from grownn_hpo.spec.explain import unknown_key, worded
from grownn_hpo.spec.study import arm_document, resolve
from grownn_hpo.spec.values import LARGEST
from grownn_hpo.store.arm import Configuration, read_environment
from grownn_hpo.store.known import read_known
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment, Trial

FORMAT = 1
KEYS = ("format", "config", "rung", "configuration", "promised", "checkpoints", "environment", "study")


@dataclass(frozen=True, slots=True)
class Incumbent:
    """A configuration of an arm, the highest rung that the search trained it on, and what was promised of it.

    `checkpoints` are the SHA-256 that the file names, by the segments that wrote them.
    """

    arm: Arm
    config: int
    rung: int
    configuration: Configuration
    promise: Promise
    checkpoints: Mapping[Segment, str] = field(default_factory=dict)

    @property
    def seen(self) -> frozenset[int]:
        """The seeds by which it was chosen: a final evaluation needs others."""
        return frozenset((*self.arm.seeds, *self.promise.seeds))


def leading(folder: ArmFolder, count: int) -> tuple[Incumbent, ...]:
    """The arm's `count` best configurations, best first, or as many as have completed the highest rung that any has.

    GrowNNError while no trial has completed.
    """
    known = read_known(folder)
    board = leaderboard(ArmRecord(known.arm, results=tuple(known.ledger.results.values())))
    if not board:
        raise GrowNNError(f"{folder.root}: no trial has completed yet, so there is no incumbent")
    return tuple(
        Incumbent(
            known.arm,
            standing.trial.config,
            standing.trial.rung,
            known.configurations[standing.trial.config],
            _promise_of(known.arm, standing),
        )
        for standing in board[:count]
    )


def _promise_of(arm: Arm, standing: Standing) -> Promise:
    steps = arm.env_steps_before(standing.trial.rung + 1)
    returns = standing.returns
    return Promise(fmean(returns), standing.success_rate, tuple(sorted(arm.seeds)), returns, steps)


def export_incumbent(folder: ArmFolder, config: int | None = None, promise: Promise | None = None) -> str:
    """The arm's incumbent as YAML, or its configuration number `config`, at the highest rung that any has completed.

    `promise` stands in for the search's own, where the configuration was chosen by other seeds. GrowNNError while no
    trial has completed, or where a result of its lineage is damaged.
    """
    known = read_known(folder)
    arm, ledger = known.arm, known.ledger
    done = standings(ArmRecord(arm, results=tuple(ledger.results.values())))
    trial = incumbent(known.outcomes)
    if trial is None:
        raise GrowNNError(f"{folder.root}: no trial has completed yet, so there is no incumbent to export")
    if config is not None:
        trial = Trial(config, trial.rung)
        if trial not in done:
            raise GrowNNError(f"{folder.root}: configuration {config} has not completed rung {trial.rung}")
    lineage = [Segment(trial.config, rung, seed) for seed in arm.seeds for rung in range(1, trial.rung + 1)]
    if lost := [str(segment) for segment in lineage if segment not in ledger.entries]:
        raise InputError(
            f"{folder.root}: of the incumbent, configuration {trial.config}, the results of {', '.join(lost)} are"
            f" damaged or gone; to have them computed again: grownn resume {folder.root}"
        )
    checkpoints: list[JsonValue] = [
        {"seed": each.seed, "rung": each.rung, "sha256": ledger.entries[each].result.checkpoint_sha256}
        for each in lineage
    ]
    promised = promise or _promise_of(arm, done[trial])
    content: dict[str, JsonValue] = {
        "format": FORMAT,
        "config": trial.config,
        "rung": trial.rung,
        "configuration": known.configurations[trial.config],
        "promised": {
            "mean_return": promised.mean_return,
            "success_rate": promised.success_rate,
            "seeds": list(promised.seeds),
            "returns": list(promised.returns),
            "env_steps": promised.env_steps,
        },
        "checkpoints": checkpoints,
        "environment": read_environment(folder),
        "study": document.parse(arm_document(arm), str(folder.study_file)),
    }
    what = "The incumbent" if config is None else f"Configuration {config}"
    head = f"# {what} of {arm.study}/{arm.name}. To train it on fresh seeds: grownn evaluate THIS_FILE\n"
    return head + document.render(content)


def read_incumbent(path: Path) -> Incumbent:
    """The incumbent in a file that `export_incumbent` wrote; InputError for anything else."""
    content = document.read(path, document.RECORDED)
    file = str(path)
    study, form = content.get("study"), content.get("format")
    if "format" not in content or not isinstance(study, dict):
        raise InputError(f"{file}: is no exported incumbent (it lacks `format: 1` or `study`); make one: grownn export")
    if type(form) is not int or form != FORMAT:
        rule = f"must be {FORMAT}: another version of this program wrote it; export the incumbent again with this one"
        raise InputError(Fault(file, "format", form, rule))
    if unknown := [key for key in content if key not in KEYS]:
        raise InputError([unknown_key(file, key, content[key], KEYS, "an exported incumbent") for key in unknown])
    arms = resolve(study, f"{file}: study")
    if len(arms) != 1:
        raise InputError(f"{file}: study.arms: an incumbent belongs to one arm, this file names {len(arms)}")
    arm = arms[0]
    config, rung = content.get("config"), content.get("rung")
    if type(config) is not int or not 1 <= config <= LARGEST:
        raise InputError(Fault(file, "config", config, "must be a configuration's number, at least 1"))
    if type(rung) is not int or not 1 <= rung <= len(arm.rungs):
        raise InputError(Fault(file, "rung", rung, f"must be one of the arm's rungs, 1 to {len(arm.rungs)}"))
    configuration = content.get("configuration")
    if not isinstance(configuration, dict):
        raise InputError(Fault(file, "configuration", configuration, "must be a mapping of hyperparameters to values"))
    _refuse_foreign(configuration, arm, file)
    promise = _promise(content.get("promised"), arm, file)
    return Incumbent(arm, config, rung, configuration, promise, _checkpoints(content.get("checkpoints"), config))


def _refuse_foreign(configuration: Configuration, arm: Arm, file: str) -> None:
    """InputError where the arm's search could not have suggested the configuration, or PPO could not be told it."""
    space = read_space(arm.space, f"{file}: study.space")
    try:
        from_plain(space, configuration)
    except Exception as error:  # ConfigSpace raises whatever Python raised inside it
        rule = f"is no configuration of the file's own search space: {' '.join(str(error).split())}"
        raise InputError(Fault(file, "configuration", configuration, f"{rule}; export it again")) from None
    try:
        PPOSettings.model_validate_json(json.dumps(arm.ppo.model_dump() | configuration))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, ("configuration", *first["loc"])))
        raise InputError(Fault(file, key, first["input"], worded(first["msg"]))) from None


def _promise(promised: JsonValue, arm: Arm, file: str) -> Promise:
    values = promised if isinstance(promised, dict) else {}
    mean, rate = values.get("mean_return"), values.get("success_rate")
    if not _is_number(mean):
        raise InputError(Fault(file, "promised.mean_return", mean, "must be a number"))
    if rate is not None and (not _is_number(rate) or not 0 <= rate <= 1):
        raise InputError(Fault(file, "promised.success_rate", rate, "must be a number from 0 to 1, or null"))
    seeds = _listed(values.get("seeds", list(arm.seeds)))
    if not seeds or not all(type(seed) is int and 0 <= seed <= LARGEST for seed in seeds):
        raise InputError(Fault(file, "promised.seeds", values.get("seeds"), "must list seeds, whole numbers from 0"))
    if len(set(map(str, seeds))) != len(seeds):
        raise InputError(Fault(file, "promised.seeds", values.get("seeds"), "a seed may stand here only once"))
    told = _listed(values.get("returns", []))  # exports of earlier versions have none
    returns = () if told is None else tuple(float(value) for value in told if _is_number(value))
    average = sum(value / len(returns) for value in returns)  # no sum that could overflow
    kept = told == [] or (told is not None and len(told) == len(seeds) == len(returns))
    if not kept or (returns and not math.isclose(average, mean, rel_tol=1e-9, abs_tol=1e-9)):
        rule = "must list each seed's return, and promised.mean_return must be their mean"
        raise InputError(Fault(file, "promised.returns", values.get("returns"), rule))
    ends = [arm.env_steps_before(rung + 1) for rung in range(1, len(arm.rungs) + 1)]
    steps = values.get("env_steps")
    if steps is not None and (type(steps) is not int or steps not in ends):
        rule = f"must be what an agent has trained at the end of a rung: {', '.join(map(str, ends))}"
        raise InputError(Fault(file, "promised.env_steps", steps, rule))
    numbers = tuple(seed for seed in seeds if type(seed) is int)
    return Promise(float(mean), None if rate is None else float(rate), numbers, returns, steps)


def _listed(value: JsonValue) -> list[JsonValue] | None:
    return value if isinstance(value, list) else None


def _is_number(value: JsonValue) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _checkpoints(listed: JsonValue, config: int) -> dict[Segment, str]:
    """The hashes by segment; an entry that is none is left out: training afresh needs no checkpoint."""
    found = {}
    for each in listed if isinstance(listed, list) else ():
        match each:
            case {"seed": int(seed), "rung": int(rung), "sha256": str(sha256)}:
                found[Segment(config, rung, seed)] = sha256
    return found
