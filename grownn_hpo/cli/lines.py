"""Where arms stand in a line, and what has changed, for a log; the view for a terminal says it in the same words."""

from __future__ import annotations

import time

from grownn_hpo.report import wording
from grownn_hpo.report.status import ArmStatus, Leader


def label(status: ArmStatus) -> str:
    """The arm's name; of a final evaluation, which bears its arm's, the folder's beside it."""
    name = f"{status.study}/{status.arm}"
    return f"{name} {status.folder.rsplit('/', 1)[-1]}" if status.evaluation else name


def status_line(status: ArmStatus) -> str:
    """An arm's status in a line."""
    parts = [f"{label(status)}: {status.trials_known}/{status.trials} trials", *state(status, time.time())]
    if status.incumbent is not None:
        parts.append(led_by(status.incumbent))
    if status.failures:
        parts.append(wording.count(len(status.failures), "failure"))
    if status.disagreements:
        parts.append(wording.count(len(status.disagreements), "disagreement"))
    return ", ".join(parts)


def led_by(leader: Leader) -> str:
    """The incumbent in a few words."""
    success = "" if leader.success_rate is None else f", success {wording.percent(leader.success_rate)}"
    mean_return = wording.number(leader.mean_return)
    return f"incumbent c{leader.config:04d} (rung {leader.rung}): mean return {mean_return}{success}"


def environments_told(status: ArmStatus) -> str:
    """How many segments were computed in which environment, a line each, and how to see which."""
    *earlier, present = status.environments
    lines = [f"environment {e.number}: {e.segments} segments; {'; '.join(e.changes) or 'as now'}" for e in earlier]
    lines.append(f"environment {present.number}, the present one: {present.segments} segments")
    return "\n".join([*lines, "which row is of which: grownn table PATH --environments"])


def news(before: ArmStatus | None, now: ArmStatus) -> list[str]:
    """What has changed since `before`, a line each; where an arm stands, if nothing was seen of it before."""
    if before is None:
        return [status_line(now)]
    lines = [f"{label(now)}: failed: {f.segment}: {f.cause}" for f in now.failures if f not in before.failures]
    lines += [f"{label(now)}: WARNING {told}" for told in now.disagreements if told not in before.disagreements]
    if now.lost_attempts > before.lost_attempts or now.late_results > before.late_results:
        lines.append(f"{label(now)}: {again(now)}")
    first, second = ((s.trials_known, s.trials, s.complete, s.driven_by, s.incumbent) for s in (before, now))
    if first != second:
        lines.append(status_line(now))
    return lines


def state(status: ArmStatus, now: float) -> list[str]:
    """Whether it runs, and if so how much longer from `now`, seconds since 1970."""
    if status.complete:
        return ["complete"]
    if not status.driven_by:
        return ["not running"]
    parts = [f"{len(status.running)} running"]
    if status.seconds_left is not None:
        left = wording.duration(status.seconds_left)
        parts.append(f"about {left} left ({wording.clock(now + status.seconds_left, now)})")
    return parts


def again(status: ArmStatus) -> str:
    """What was computed more than once, in a few words; empty where nothing was."""
    parts = []
    if status.lost_attempts:
        parts.append(f"{wording.count(status.lost_attempts, 'attempt')} lost and made again")
    if status.late_results:
        differ = f", {len(status.disagreements)} of them another" if status.disagreements else ", the same as counts"
        parts.append(f"{wording.count(status.late_results, 'late result')}{differ}")
    return "; ".join(parts)
