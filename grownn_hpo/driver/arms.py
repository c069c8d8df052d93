"""Before anything runs: every check that can be made without training, then an arm's folder, new or as it was left."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from grownn_hpo.environment import changes, environment
from grownn_hpo.errors import Fault, InputError
from grownn_hpo.report.incumbent_file import Incumbent
from grownn_hpo.spec import Arm, Characters, Search
from grownn_hpo.spec.explain import worded
from grownn_hpo.spec.study import Study, differences
from grownn_hpo.store.arm import (
    Bracket,
    create_arm,
    created_arm,
    read_arm,
    read_brackets,
    read_environment,
    record_arm,
    set_aside_damaged_brackets,
    write_bracket,
)
from grownn_hpo.store.commit import make_folder
from grownn_hpo.store.lease import Lease
from grownn_hpo.store.ledger import read_ledger
from grownn_hpo.store.paths import TEMPORARY, ArmFolder, arm_folders
from grownn_hpo.store.terms import arm_sha256, terms_sha256


@dataclass(frozen=True, slots=True)
class OpenArm:
    """An arm with the folder it lives in."""

    arm: Arm
    folder: ArmFolder
    accept_environment: bool = False


def choose_arms(study: Study, names: Sequence[str]) -> tuple[Arm, ...]:
    """The study's arms called `names` (all if none are), in the study file's order."""
    known = [arm.name for arm in study.arms]
    for name in names:
        if name not in known:
            raise InputError(f"--arm {name}: {study.file} has no such arm; it has {', '.join(known)}")
    return tuple(arm for arm in study.arms if not names or arm.name in names)


def check_arms(study: Study, arms: Sequence[Arm]) -> None:
    """Refuse what cannot run: the search space, the environments, networks that do not fit them. Writes nothing."""
    from grownn_hpo.envs import describe
    from grownn_hpo.search.space import check_space

    for arm in arms:
        check_space(arm.space, arm.ppo, arm.ppo.n_steps * arm.task.envs, study.file)
    seen = {}
    for arm in arms:
        spaces = {}
        for rung in range(1, len(arm.rungs) + 1):
            env = arm.env_of(rung)
            if env not in seen:
                try:
                    seen[env] = describe(env, arm.task.kwargs)
                except InputError as error:  # the room of environments does not know which file named this one
                    raise InputError([replace(fault, file=study.file) for fault in error.faults]) from None
            spaces[env] = seen[env]
        (first, expected), *others = spaces.items()
        for env, got in others:
            if got != expected:
                rule = f"every rung's environment must have the spaces of {first}, {expected}; this one has {got}"
                raise InputError(Fault(study.file, f"arms.{arm.name}.rungs", env, rule))
        is_map = isinstance(expected.observation, Characters)
        if arm.network.kind == "minihack-cnn" and not is_map:
            rule = f"reads MiniHack's map of characters, and {first} has none: use mlp"
            raise InputError(Fault(study.file, "network.kind", arm.network.kind, rule))
        if arm.network.kind == "mlp" and is_map:
            rule = f"reads vectors, and {first} shows a map of characters: use minihack-cnn"
            raise InputError(Fault(study.file, "network.kind", arm.network.kind, rule))


def open_study(study: Study, arms: Sequence[Arm], results: Path, slots: int, gpus: bool = False) -> tuple[OpenArm, ...]:
    """The folders of `arms` below `results`, created where they are new. All are checked before any is created."""
    opened = find_study(study, arms, results, slots, gpus)
    new = [each for each in opened if not each.folder.study_file.exists()]
    now = environment() if new else {}
    for each in new:
        create_arm(each.folder, each.arm, now)
    for each in opened:
        _record_limits(each)
    return opened


def find_study(study: Study, arms: Sequence[Arm], results: Path, slots: int, gpus: bool = False) -> tuple[OpenArm, ...]:
    """The arms and folders that `open_study` would open, after every check that it makes; creates and changes nothing.

    What the study leaves open, `auto`, is settled by how many slots there are, and whether they have GPUs; for an arm
    that is there already, by what was recorded.
    """
    opened = [OpenArm(arm, ArmFolder(results / study.name / arm.name)) for arm in arms]
    _refuse_place(results / study.name)
    for each in opened:
        if each.folder.study_file.exists():
            _refuse_difference(each, study.file)
        elif _holds_something_else(each.folder):
            raise InputError(f"{each.folder.root}: is there already and is no arm of a study; choose other --results")
    new = [each for each in opened if not each.folder.study_file.exists()]
    if new:
        check_arms(study, [each.arm for each in new])
        _refuse_unwritable(results)
    return tuple(
        OpenArm(_settled(each.arm, slots, gpus) if each in new else _with_limits(each), each.folder) for each in opened
    )


def open_path(path: Path, accept_environment: bool = False) -> tuple[OpenArm, ...]:
    """The arm at `path`, or the arms of the study at `path`, as recorded; InputError if there are none."""
    folders = arm_folders(path)
    if not folders:
        raise InputError(f"{path}: holds no study; expected a folder like results/<study> or results/<study>/<arm>")
    for folder in folders:
        folder.refuse_links()
        recorded = read_environment(folder)
        if not recorded and not accept_environment:
            raise InputError(
                f"{folder.environment_file}: is lost or damaged, and with it what the study was begun with: restore it,"
                f" or go on in the environment as it is now: grownn resume {folder.root} --accept-environment"
            )
        changed = changes(recorded, environment())
        if changed and not accept_environment:
            listed = "\n  ".join(changed)
            raise InputError(
                f"{folder.root}: was begun in another environment, in which equal segments may give other bits:\n"
                f"  {listed}\nGo back to that environment, or go on knowingly:"
                f" grownn resume {folder.root} --accept-environment"
            )
    return tuple(OpenArm(_recorded(folder), folder, accept_environment) for folder in folders)


def open_evaluations(incumbents: Sequence[Incumbent], seeds: Sequence[int], searched: ArmFolder) -> tuple[OpenArm, ...]:
    """The final evaluations of configurations of one arm, whose folder is `searched`: each an arm of its own, whose
    one bracket holds that configuration alone.

    So they are driven, killed and resumed like any other, and one that is there already goes on where it stands. All
    are checked before any is created. Raises InputError for a seed by which one of them was chosen.
    """
    for incumbent in incumbents:
        if seen := sorted(incumbent.seen.intersection(seeds)):
            first = max(*incumbent.seen, *seeds) + 1
            raise InputError(
                f"--seeds: the search has tuned on {seen}; a final evaluation needs seeds that it never saw, for"
                f" example --seeds {first}-{first + len(seeds) - 1}"
            )
    results = searched.root.parent.parent
    _refuse_place(searched.root.parent)
    searched.refuse_links()
    _refuse_unwritable(results)
    return tuple(_open_evaluation(incumbent, tuple(seeds), searched) for incumbent in incumbents)


def _open_evaluation(incumbent: Incumbent, seeds: tuple[int, ...], searched: ArmFolder) -> OpenArm:
    arm = incumbent.arm
    rungs = tuple(rung.model_copy(update={"configurations": 1}) for rung in arm.rungs)
    search = arm.search.model_copy(update={"trials": len(rungs), "lookahead": 1})
    derived = arm.model_copy(update={"seeds": seeds, "rungs": rungs, "search": search})
    # Whatever else the arm's record says, equal terms and seeds give the same results.
    identity = hashlib.sha256(f"{terms_sha256(derived, incumbent.configuration)} {seeds}".encode()).hexdigest()
    folder = ArmFolder(searched.evaluations / f"c{incumbent.config:04d}-{identity[:8]}")
    if not folder.study_file.exists():
        make_folder(folder.root, private=True)
        _write_incumbent(folder, derived, incumbent)
        create_arm(folder, derived, environment())
    recorded = _recorded(folder)
    set_aside_damaged_brackets(folder, recorded)
    if not read_brackets(folder, recorded):  # nobody could suggest it again
        _write_incumbent(folder, recorded, incumbent)
    return OpenArm(recorded, folder)


def _write_incumbent(folder: ArmFolder, arm: Arm, incumbent: Incumbent) -> None:
    suggested_from = f"incumbent c{incumbent.config:04d}"
    write_bracket(folder, Bracket(1, (incumbent.configuration,), suggested_from, arm_sha256(arm)))


def extend_arms(opened: Sequence[OpenArm], trials: int) -> tuple[OpenArm, ...]:
    """Raise the arms' budgets to `trials`, of all or of none; what was computed stays.

    Raises InputError where an arm has more already, or all have as many, or it is no budget. One that has exactly as
    many is left as it is, so that a call that was killed between two arms can be made again.
    """
    budgets = {each.folder.root: each.arm.search.trials for each in opened}
    if trials < max(budgets.values()) or {trials} == set(budgets.values()):
        most = max(budgets.values())
        which = ", ".join(str(root) for root, budget in budgets.items() if budget == most)
        each_alone = ". Nothing was changed; name one arm to extend it alone" if len(opened) > 1 else ""
        raise InputError(f"--trials {trials}: must be more than the {most} that {which} has already{each_alone}")
    extended = [_with_budget(each.arm, trials) for each in opened]
    with contextlib.ExitStack() as leases:  # a driver that is at work would not see the new budget
        for each in opened:
            leases.enter_context(Lease(each.folder.lease_file))
            read_ledger(each.folder)  # what it refuses, is refused before anything is written
        return tuple(_record_budgets(opened, extended))


def _with_budget(arm: Arm, trials: int) -> Arm:
    try:
        search = Search.model_validate({**arm.search.model_dump(), "trials": trials})
    except ValidationError as error:
        raise InputError(f"--trials {trials}: {worded(error.errors()[0]['msg'])}") from None
    return arm.model_copy(update={"search": search})


def _record_budgets(opened: Sequence[OpenArm], extended: Sequence[Arm]) -> Iterator[OpenArm]:
    """Record the arms as extended; where the storage fails at one, those before it get their budgets back."""
    for done, (each, arm) in enumerate(zip(opened, extended, strict=True)):
        try:
            if arm != each.arm:
                record_arm(each.folder, arm)
        except OSError:
            for before in opened[:done]:
                with contextlib.suppress(OSError):
                    record_arm(before.folder, before.arm)
            raise
        yield OpenArm(arm, each.folder, each.accept_environment)


def _refuse_place(folder: Path) -> None:
    """InputError where a study's folder cannot be a folder of ours: a link, which may lead anywhere, or a file."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        what = "a symbolic link, and may lead anywhere" if folder.is_symlink() else "no folder"
        raise InputError(f"{folder}: is {what}; put a folder in its place, or choose other --results")


def _holds_something_else(folder: ArmFolder) -> bool:
    """Whether the folder holds more than a driver leaves that was killed while it created an arm."""
    names = {path.name for path in folder.root.iterdir()} if folder.root.is_dir() else set()
    own = {folder.environment_file.name, folder.evaluations.name}
    return folder.root.is_symlink() or not all(name in own or name.endswith(TEMPORARY) for name in names)


def _recorded(folder: ArmFolder) -> Arm:
    """The arm in a folder; InputError if its study file was edited into one that its results do not belong to."""
    arm, created = read_arm(folder), created_arm(folder)
    if created is not None:
        budget = created.search.model_copy(update={"trials": arm.search.trials})  # `extend` raises it
        if lines := differences(created.model_copy(update={"search": budget}), arm):
            listed = "\n  ".join(lines)
            raise InputError(
                f"{folder.study_file}: was edited after the study began:\n  {listed}\n"
                "Its results belong to what was recorded: put that back, or begin anew under another name"
            )
    return arm


def _refuse_difference(given: OpenArm, file: str) -> None:
    lines = differences(_recorded(given.folder), given.arm)
    if lines:
        listed = "\n  ".join(lines)
        root = given.folder.root
        raise InputError(
            f"{file}: differs from the study recorded in {root}:\n  {listed}\n"
            f"Go on with what is recorded: grownn resume {root}. More trials: grownn extend {root} --trials N."
            " Begin anew: another name, or another --results"
        )


def _with_limits(given: OpenArm) -> Arm:
    """The arm as recorded, but with the limits given now: they may change, for they change no result."""
    return _recorded(given.folder).model_copy(update={"limits": given.arm.limits})


def _record_limits(opened: OpenArm) -> None:
    if read_arm(opened.folder).limits != opened.arm.limits:
        with Lease(opened.folder.lease_file):
            record_arm(opened.folder, opened.arm)


def _refuse_unwritable(results: Path) -> None:
    existing = next(p for p in (results, *results.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"--results {results}: {existing} is not a folder that can be written to")


def _settled(arm: Arm, slots: int, gpus: bool) -> Arm:
    """The arm with every `auto` replaced, once and for all, since what replaces it changes the result.

    `lookahead` becomes the number of brackets whose first rungs fill the slots, `device` the GPU where there are any.
    """
    if arm.device == "auto":
        arm = arm.model_copy(update={"device": "cuda" if gpus else "cpu"})
    if arm.search.lookahead == "auto":
        lookahead = math.ceil(slots / (arm.rungs[0].configurations * len(arm.seeds)))
        arm = arm.model_copy(update={"search": arm.search.model_copy(update={"lookahead": max(1, lookahead)})})
    return arm
