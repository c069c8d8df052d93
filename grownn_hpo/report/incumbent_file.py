"""An incumbent as one self-contained YAML file: enough to train it again, and to know what it promised."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from grownn_hpo.search.ladder import incumbent
from pydantic import JsonValue, ValidationError

from grownn_hpo.errors import Fault, GrowNNError, InputError
from grownn_hpo.spec import Arm, PPOSettings, document
from grownn_hpo.spec.study import arm_document, resolve
from grownn_hpo.store.arm import Configuration, configurations_of, read_arm, read_brackets, read_environment
from grownn_hpo.store.ledger import read_ledger
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment, outcomes_of


@dataclass(frozen=True, slots=True)
class Incumbent:
    """A configuration of an arm, and the mean return that the search saw of it at `rung`."""

    arm: Arm
    config: int
    rung: int
    configuration: Configuration
    mean_return: float


def export_incumbent(folder: ArmFolder) -> str:
    """The arm's incumbent as YAML; GrowNNError while no trial has completed."""
    arm, ledger = read_arm(folder), read_ledger(folder)
    trial = incumbent(outcomes_of(ledger.results, arm.seeds))
    if trial is None:
        raise GrowNNError(f"{folder.root}: no trial has completed yet, so there is no incumbent to export")
    configuration = configurations_of(read_brackets(folder), arm.rungs[0].configurations)[trial.config]
    results = [ledger.entries[Segment(trial.config, trial.rung, seed)].result for seed in arm.seeds]
    returns = [cast("float", result.mean_return) for result in results]
    checkpoints: list[JsonValue] = [
        {
            "seed": seed,
            "rung": rung,
            "sha256": ledger.entries[Segment(trial.config, rung, seed)].result.checkpoint_sha256,
        }
        for seed in arm.seeds
        for rung in range(1, trial.rung + 1)
    ]
    content: dict[str, JsonValue] = {
        "format": 1,
        "config": trial.config,
        "rung": trial.rung,
        "configuration": configuration,
        "promised": {
            "mean_return": sum(returns) / len(returns),
            "seeds": {str(r.segment.seed): r.mean_return for r in results},
            "success": {str(r.segment.seed): r.success_rate for r in results},
            "env_steps": results[0].env_steps,
        },
        "checkpoints": checkpoints,
        "environment": read_environment(folder),
        "study": document.parse(arm_document(arm), str(folder.study_file)),
    }
    head = f"# The incumbent of {arm.study}/{arm.name}. To train it on fresh seeds: grownn evaluate THIS_FILE\n"
    return head + document.render(content)


def read_incumbent(path: Path) -> Incumbent:
    """The incumbent in a file that `export_incumbent` wrote; InputError for anything else."""
    content = document.read(path)
    file = str(path)
    study = content.get("study")
    if content.get("format") != 1 or not isinstance(study, dict):
        raise InputError(f"{file}: is no exported incumbent (it lacks `format: 1` or `study`); make one: grownn export")
    arms = resolve(study, f"{file}: study")
    if len(arms) != 1:
        raise InputError(f"{file}: study.arms: an incumbent belongs to one arm, this file names {len(arms)}")
    arm = arms[0]
    config, rung = content.get("config"), content.get("rung")
    if type(config) is not int or config < 1:
        raise InputError(Fault(file, "config", config, "must be a configuration's number, at least 1"))
    if type(rung) is not int or not 1 <= rung <= len(arm.rungs):
        raise InputError(Fault(file, "rung", rung, f"must be one of the arm's rungs, 1 to {len(arm.rungs)}"))
    configuration = content.get("configuration")
    if not isinstance(configuration, dict):
        raise InputError(Fault(file, "configuration", configuration, "must be a mapping of hyperparameters to values"))
    try:
        PPOSettings.model_validate_json(json.dumps(arm.ppo.model_dump() | configuration))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, ("configuration", *first["loc"])))
        raise InputError(Fault(file, key, first["input"], first["msg"])) from None
    promised = content.get("promised")
    promise = promised.get("mean_return") if isinstance(promised, dict) else None
    if not isinstance(promise, (int, float)) or isinstance(promise, bool):
        raise InputError(Fault(file, "promised.mean_return", promise, "must be a number"))
    return Incumbent(arm, config, rung, configuration, float(promise))
