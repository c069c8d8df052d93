"""One arm being driven: what is known of it, folded into what it needs now."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import JsonValue

from grownn_hpo.dispatch import Died, Ending, Job, Lost, OutOfMemory, Raised, Returned, Stalled
from grownn_hpo.dispatch.driver_job import job_is_there
from grownn_hpo.driver.arms import OpenArm
from grownn_hpo.driver.losses import Losses
from grownn_hpo.environment import changes, environment
from grownn_hpo.envs import modules
from grownn_hpo.errors import GrowNNError, InputError, Stopped
from grownn_hpo.search.ladder import Ladder, Plan, needed_segments, observations_for, plan
from grownn_hpo.search.suggest import Basis, Observation
from grownn_hpo.spec import Arm, legs_of
from grownn_hpo.store.arm import (
    Bracket,
    Configuration,
    begin_environment,
    configurations_of,
    read_environment,
    set_aside_damaged_brackets,
    sweep_temporaries,
    write_bracket,
)
from grownn_hpo.store.attempts import Failure, commit_result, committed, record_failure, retract
from grownn_hpo.store.boundary import boundary_reached
from grownn_hpo.store.known import known_of
from grownn_hpo.store.lease import JobIsThere, Lease
from grownn_hpo.store.ledger import Entry, LedgerFile, claim, entry_of, late_disagreements
from grownn_hpo.store.storage import STORAGE_ERRORS, failure
from grownn_hpo.store.terms import arm_sha256, terms_of
from grownn_hpo.trial import Segment, SegmentResult, Status, outcomes_of

ENTRY = "grownn_hpo.segment:attempt"
# What an attempt would otherwise import each time. torch._dynamo comes with the first optimizer.
PRELOAD = ("torch", "torch._dynamo", "safetensors.torch", "grownn_hpo.segment")


def preload(arms: Sequence[Arm]) -> tuple[str, ...]:
    """The modules that workers import once, before attempts are forked."""
    envs = dict.fromkeys(arm.env_of(rung) for arm in arms for rung in range(1, len(arm.rungs) + 1))
    return tuple(dict.fromkeys((*PRELOAD, *(module for env in envs for module in modules(env)))))


class ArmRun:
    """An arm between `with` and its end: the lease is held, the ledger's database is open.

    Everything here is folded from the ledger and the stored brackets: starting, resuming and extending are the same.
    """

    def __init__(
        self, opened: OpenArm, take_over: bool = False, job_is_there: JobIsThere | None = job_is_there
    ) -> None:
        self.arm, self.folder = opened.arm, opened.folder
        self.name = opened.folder.root.absolute().name  # not the arm's, which all evaluations of one arm bear
        self.accept_environment = opened.accept_environment
        self.ladder = Ladder.of(opened.arm)
        self._lease = Lease(opened.folder.lease_file, take_over, job_is_there)
        self._losses = Losses(opened.arm.boundary_env_steps)
        self._rates: dict[int, list[float]] = {}
        self._unrecorded: list[Entry] = []
        self._accepted: tuple[str, ...] = ()
        self._compared: set[Path] = set()

    def __enter__(self) -> ArmRun:
        try:
            self._lease.__enter__()
            try:
                self._open()
            except BaseException as error:
                self._lease.__exit__(type(error), error, error.__traceback__)
                raise
        except OSError as error:
            if error.errno not in STORAGE_ERRORS:
                raise
            raise Stopped(failure(error)) from error
        return self

    def _open(self) -> None:
        sweep_temporaries(self.folder)
        self.damaged = set_aside_damaged_brackets(self.folder, self.arm)
        known = known_of(self.folder, self.arm)
        self.brackets, self.ledger, self.outcomes = known.brackets, known.ledger, known.outcomes
        if self.folder.is_evaluation and not self.brackets:
            raise InputError(
                f"{self.folder.brackets}: the incumbent's configuration, which is all that it held, is damaged or gone;"
                " type the same `grownn evaluate` again, which writes it anew from the incumbent's file"
            )
        self._terms = terms_of(self.arm, self.configurations)
        self._file = LedgerFile(self.folder.ledger_file)
        self._file.hold(self.ledger.entries)
        self._accept_changes()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()
        self._lease.__exit__(kind, value, tb)

    @property
    def configurations(self) -> dict[int, Configuration]:
        """Every configuration suggested so far, by number."""
        return configurations_of(self.brackets, self.ladder.configurations[0])

    def plan(self) -> Plan:
        """What the arm needs now."""
        return plan(self.ladder, {n: len(b.configurations) for n, b in self.brackets.items()}, self.outcomes)

    def needed(self, now: Plan) -> tuple[Segment, ...]:
        """The segments to be computed now, the most urgent first."""
        return needed_segments(now.needed, self.arm.seeds, self.ledger.entries.keys())

    def basis(self, bracket: int) -> Basis:
        """What a bracket's configurations are suggested from: the arm and the outcomes of earlier brackets alone."""
        configurations, ladder = self.configurations, self.ladder
        first = ladder.first_config(bracket)
        return Basis(
            space=self.arm.space,
            study_seed=self.arm.seed,
            bracket=bracket,
            first_config=first,
            count=ladder.configurations[0],
            initial_design=self.arm.search.initial_design,
            known=[configurations[config] for config in sorted(configurations) if config < first],
            observations=[
                Observation(trial.config, trial.rung, configurations[trial.config], outcome.status, outcome.cost)
                for trial, outcome in observations_for(ladder, bracket, self.outcomes)
            ],
            rungs_env_steps=[rung.env_steps for rung in self.arm.rungs],
            surrogate=self.arm.search.surrogate,
            begin_with_default=self.arm.search.begin_with_default,
        )

    def store_bracket(self, bracket: int, configurations: Sequence[Configuration], suggested_from: str) -> str:
        """Keep what was suggested, verbatim, before anything is trained with it; returns a line that tells it.

        Where this bracket's file was lost, and its segments have results, those of these configurations count again.
        """
        stored = Bracket(bracket, tuple(configurations), suggested_from, arm_sha256(self.arm))
        write_bracket(self.folder, stored)
        self.brackets[bracket] = stored
        self._terms = terms_of(self.arm, self.configurations)
        told = f"bracket {bracket}: {len(configurations)} configurations suggested"
        waiting = sum(self.ladder.bracket_of(segment.config) == bracket for segment in self.ledger.waiting)
        if waiting:
            found = claim(self.folder, self.ledger, self._terms)
            self.outcomes.update(outcomes_of({e.result.segment: e.result for e in found}, self.arm.seeds))
            self._unrecorded += found
            told += f"; {len(found)} results of theirs were there already"
            if len(found) < waiting:
                told += f", {waiting - len(found)} others do not count"
        return told

    def late_disagreements(self) -> list[str]:
        """How attempts that came late differ from those that count, a line each, and each of them once."""
        lines = late_disagreements(self.folder, self.ledger, self._terms, self._compared)
        self.ledger.disagreements += [line for line in lines if line not in self.ledger.disagreements]
        return lines

    def job(self, segment: Segment) -> Job:
        """What a worker is given to compute `segment`."""
        key = {"config": segment.config, "rung": segment.rung, "seed": segment.seed}
        payload = {
            "arm": self.arm.model_dump_json(),
            "configuration": self.configurations[segment.config],
            "segment": key,
            "folder": str(self.folder.root.absolute()),
        }
        return Job(
            key=self.key(segment),
            entry=ENTRY,
            payload=json.dumps(payload),
            priority=(-segment.rung, segment.config, segment.seed),
            memory_gib=self.arm.limits.memory_gib,
            stalled_seconds=self.arm.limits.stalled_seconds,
            useful_seconds=self._useful_seconds(segment),
        )

    def _accept_changes(self) -> None:
        now = environment()
        changed = changes(read_environment(self.folder), now)
        if self.accept_environment and changed:
            self.begin_environment(now, None)
            count = len(self.ledger.entries)
            self._accepted = (f"goes on in another environment ({'; '.join(changed)}); {count} segments are kept",)

    def begin_environment(self, now: dict[str, JsonValue], workers: dict[str, JsonValue] | None) -> None:
        """Record that from here on segments are computed with these versions and CPUs, as was accepted."""
        counting = (f"{segment}/{entry.attempt}" for segment, entry in self.ledger.entries.items())
        begin_environment(self.folder, now, workers, counting)

    @property
    def begun_with(self) -> tuple[str, ...]:
        """What a person should know about how this began, a line each: a lease taken, an environment accepted."""
        taken = (f"took the lease of {self._lease.taken_from}",) if self._lease.taken_from else ()
        return taken + self._accepted

    @property
    def token(self) -> str:
        """The token by which a worker shows that it sees this arm's folder."""
        return self._lease.token

    def _reached(self, segment: Segment) -> int:
        """The env steps of its rung that a segment has behind it at the boundary where its next attempt begins."""
        if self.arm.boundary_env_steps is None:
            return 0
        reached = boundary_reached(self.folder, segment, self._terms[segment.config])
        return 0 if reached is None else reached - self.arm.env_steps_before(segment.rung)

    def _useful_seconds(self, segment: Segment) -> float:
        """How long the next attempt at a segment will take to the next boundary or its end; 0 while nobody can say."""
        rates = self._rates.get(segment.rung)
        if not rates:
            return 0.0
        reached = self._reached(segment)
        ends = itertools.accumulate(legs_of(self.arm, segment.rung, self.configurations[segment.config]))
        return statistics.median(rates) * (next(end for end in ends if end > reached) - reached)

    def key(self, segment: Segment) -> str:
        return f"{self.name}/{segment}"

    def settle(self, segment: Segment, ending: Ending) -> str:
        """Take in how an attempt at `segment` ended; returns a line that tells it. `record` makes it durable."""
        if len(self.folder.attempts(segment)) > 1:
            self.ledger.repeated.add(segment)
        match ending:
            case Returned(value):
                return self._settle_verdict(segment, json.loads(value))
            case Lost(reason, had_all_time):
                reached = self._reached(segment)
                self._losses.count(segment, reached, reason, had_all_time)
                place = f" from its boundary at {reached} env steps" if reached else ""
                return f"{segment} lost ({reason}); it is tried again{place}"
            case Raised(kind, message, traceback):
                return self._fail(segment, f"{kind}: {message}", traceback)
            case Died():
                return self._fail(segment, ending.cause, ending.output_tail)
            case Stalled(seconds, output_tail):
                return self._fail(segment, f"no progress for {seconds:.0f} s, the limit", output_tail)
            case OutOfMemory(detail):
                return self._fail(segment, "out of memory", detail)

    def record(self) -> None:
        """Write what was settled to the ledger's database; the commits it speaks of are durable already."""
        if self._unrecorded:
            self._file.record(self._unrecorded)
            self._unrecorded.clear()

    def _settle_verdict(self, segment: Segment, value: dict[str, Any]) -> str:
        match value["verdict"]:
            case "committed":
                found = committed(self.folder, segment, self._terms[segment.config])
                if found is None:
                    raise GrowNNError(
                        f"{self.folder.segment(segment)}: was reported committed, and holds no valid result"
                    )
                measured = found.commit.measured
                if measured is not None and measured.env_steps:
                    seconds = measured.training_seconds + measured.evaluation_seconds
                    self._rates.setdefault(segment.rung, []).append(seconds / measured.env_steps)
                return self._take(entry_of(found))
            case "parent lost":
                parent = segment.parent
                assert parent is not None
                found = committed(self.folder, parent, self._terms[parent.config])
                if found is not None:
                    retract(found)
                self.ledger.entries.pop(parent, None)
                self.outcomes.pop(parent.trial, None)
                self._file.forget(parent)
                return f"{parent}: its checkpoint is damaged or gone; the segment is computed again"
            case "storage failed":
                if not value["passing"]:
                    raise Stopped(value["detail"])
                self._losses.hiccup(segment, value["detail"])
                return f"{segment} lost ({value['detail']}); it is tried again"
            case other:
                raise GrowNNError(f"{segment}: an attempt returned {other!r}, which no driver knows")

    def _fail(self, segment: Segment, cause: str, detail: str) -> str:
        failure = Failure(segment, cause, detail)
        attempt = record_failure(self.folder, failure)
        failures = self.ledger.failures.setdefault(segment, [])
        failures.append(failure)
        allowed = self.arm.limits.attempts
        if len(failures) < allowed:
            return f"{segment} failed ({cause}), attempt {len(failures)} of {allowed}; it is tried again"
        parent = None if segment.parent is None else self.ledger.entries[segment.parent].result.checkpoint_sha256
        crashed = SegmentResult(
            segment=segment,
            status=Status.CRASHED,
            mean_return=None,
            success_rate=None,
            env_steps=self.arm.env_steps_before(segment.rung),
            depth=self.arm.rungs[segment.rung - 1].depth,
            growth_difference=None,
            parent_sha256=parent,
            checkpoint_sha256=None,
            detail=cause,
        )
        commit_result(attempt, crashed, None, self._terms[segment.config])
        found = committed(self.folder, segment, self._terms[segment.config])
        assert found is not None
        return self._take(entry_of(found))

    def _take(self, entry: Entry) -> str:
        result = entry.result
        trial = result.segment.trial
        self.ledger.entries[result.segment] = entry
        siblings = {
            s: self.ledger.entries[s].result
            for s in (Segment(trial.config, trial.rung, seed) for seed in self.arm.seeds)
            if s in self.ledger.entries
        }
        self.outcomes.update(outcomes_of(siblings, self.arm.seeds))
        self._unrecorded.append(entry)
        return told(result)


def told(result: SegmentResult) -> str:
    """A result in a line."""
    if result.status is not Status.COMPLETED:
        return f"{result.segment} {result.status} ({result.detail})"
    success = "" if result.success_rate is None else f", success {result.success_rate:.0%}"
    grown = "" if result.growth_difference is None else f", grown to depth {result.depth}"
    return f"{result.segment} completed: mean return {result.mean_return:.3f}{success}{grown}"
