"""An incumbent as one self-contained YAML file: enough to train it again, and to know what it promised."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from pydantic import JsonValue, ValidationError

from grownn_hpo.errors import Fault, GrowNNError, InputError
from grownn_hpo.report.evaluation import Promise
from grownn_hpo.search.ladder import incumbent
from grownn_hpo.search.space import from_plain, read_space
from grownn_hpo.spec import Arm, PPOSettings, document
from grownn_hpo.spec.explain import unknown_key, worded
from grownn_hpo.spec.study import arm_document, resolve
from grownn_hpo.spec.values import LARGEST
from grownn_hpo.store.arm import Configuration, read_environment
from grownn_hpo.store.known import read_known
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment

FORMAT = 1
KEYS = ("format", "config", "rung", "configuration", "promised", "checkpoints", "environment", "study")


@dataclass(frozen=True, slots=True)
class Incumbent:
    """A configuration of an arm, and what the search saw of it at `rung`.

    `checkpoints` are the SHA-256 that the file names, by the segments that wrote them.
    """

    arm: Arm
    config: int
    rung: int
    configuration: Configuration
    promise: Promise
    checkpoints: Mapping[Segment, str] = field(default_factory=dict)


def export_incumbent(folder: ArmFolder) -> str:
    """The arm's incumbent as YAML; GrowNNError while no trial has completed, or a result of its lineage is damaged."""
    known = read_known(folder)
    arm, ledger = known.arm, known.ledger
    trial = incumbent(known.outcomes)
    if trial is None:
        raise GrowNNError(f"{folder.root}: no trial has completed yet, so there is no incumbent to export")
    lineage = [Segment(trial.config, rung, seed) for seed in arm.seeds for rung in range(1, trial.rung + 1)]
    if lost := [str(segment) for segment in lineage if segment not in ledger.entries]:
        raise InputError(
            f"{folder.root}: of the incumbent, configuration {trial.config}, the results of {', '.join(lost)} are"
            f" damaged or gone; to have them computed again: grownn resume {folder.root}"
        )
    results = [ledger.entries[Segment(trial.config, trial.rung, seed)].result for seed in arm.seeds]
    returns = [result.mean_return for result in results if result.mean_return is not None]
    rates = [result.success_rate for result in results if result.success_rate is not None]
    checkpoints: list[JsonValue] = [
        {"seed": each.seed, "rung": each.rung, "sha256": ledger.entries[each].result.checkpoint_sha256}
        for each in lineage
    ]
    content: dict[str, JsonValue] = {
        "format": FORMAT,
        "config": trial.config,
        "rung": trial.rung,
        "configuration": known.configurations[trial.config],
        "promised": {
            "mean_return": fmean(returns),
            "success_rate": fmean(rates) if rates else None,
            "seeds": list(arm.seeds),
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
    if not isinstance(mean, (int, float)) or isinstance(mean, bool):
        raise InputError(Fault(file, "promised.mean_return", mean, "must be a number"))
    if rate is not None and (not isinstance(rate, (int, float)) or isinstance(rate, bool) or not 0 <= rate <= 1):
        raise InputError(Fault(file, "promised.success_rate", rate, "must be a number from 0 to 1, or null"))
    return Promise(float(mean), None if rate is None else float(rate), arm.seeds)


def _checkpoints(listed: JsonValue, config: int) -> dict[Segment, str]:
    """The hashes by segment; an entry that is none is left out: training afresh needs no checkpoint."""
    found = {}
    for each in listed if isinstance(listed, list) else ():
        match each:
            case {"seed": int(seed), "rung": int(rung), "sha256": str(sha256)}:
                found[Segment(config, rung, seed)] = sha256
    return found
