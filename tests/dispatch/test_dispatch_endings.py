"""The values of the seam, and the decision what an attempt came to."""

from __future__ import annotations

import math
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grownn_hpo.dispatch import Died, Ending, Job, Lost, OutOfMemory, Raised, Returned, Stalled, open_dispatcher
from grownn_hpo.dispatch.dispatcher import Desk
from grownn_hpo.dispatch.endings import ending_from_json, ending_to_json
from grownn_hpo.dispatch.launcher import ending_of
from grownn_hpo.errors import GrowNNError

texts = st.text(st.characters(exclude_categories=()))  # lone surrogates too: file names and messages have them
seconds = st.floats(0, exclude_min=True, allow_nan=False)
endings = st.one_of(
    st.builds(Returned, texts),
    st.builds(Raised, texts, texts, texts, texts),
    st.builds(Died, st.integers(-64, 255), texts),
    st.builds(Stalled, seconds, texts),
    st.builds(OutOfMemory, texts),
    st.builds(Lost, texts),
)
jobs = st.builds(
    Job,
    key=texts,
    entry=st.just("package.module:function"),
    payload=texts,
    priority=st.lists(st.integers()).map(tuple),
    memory_gib=st.none() | seconds,
    stalled_seconds=seconds,
)


@given(endings)
def test_an_ending_survives_the_journey(ending: Ending) -> None:
    text = ending_to_json(ending)
    assert ending_from_json(text) == ending
    assert "\n" not in text
    assert text.isascii()


@given(jobs)
def test_a_job_survives_the_journey(job: Job) -> None:
    assert Job.from_json(job.to_json()) == job
    assert "\n" not in job.to_json()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "{}", '{"ending": "Returned"}', '{"ending": "Job"}', '{"ending": "Lost", "reason": 1, "x": 2}'],
)
def test_other_text_is_no_ending(text: str) -> None:
    with pytest.raises(ValueError, match="is not an ending"):
        ending_from_json(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"entry": "module.function"}, "entry = 'module.function': must be"),
        ({"entry": "module:"}, "entry = 'module:': must be"),
        ({"memory_gib": 0.0}, "memory_gib = 0.0: must be above 0"),
        ({"memory_gib": math.nan}, "memory_gib = nan: must be above 0"),
        ({"stalled_seconds": 0.0}, "stalled_seconds = 0.0: must be above 0"),
        ({"stalled_seconds": math.nan}, "stalled_seconds = nan: must be above 0"),
    ],
)
def test_a_job_cannot_exist_invalid(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Job(**{"key": "key", "entry": "module:function", "payload": "", **values})  # type: ignore[arg-type]


stalled, too_large = Stalled(2.0), OutOfMemory("held 2 GiB")


@pytest.mark.parametrize(
    ("status", "answer", "ended_for", "oom_kill", "ending"),
    [
        (0, Returned("1"), None, False, Returned("1")),
        (-signal.SIGKILL, Returned("1"), None, True, Returned("1")),
        (0, Raised("E", "m", "t"), None, False, Raised("E", "m", "t", "tail")),
        (-signal.SIGKILL, None, stalled, True, Stalled(2.0, "tail")),
        (-signal.SIGKILL, None, too_large, False, too_large),
        (-signal.SIGKILL, None, None, True, OutOfMemory("the kernel killed it for want of memory")),
        (-signal.SIGKILL, None, None, False, Lost("the attempt was ended by SIGKILL from outside")),
        (-signal.SIGTERM, None, None, True, Lost("the attempt was ended by SIGTERM from outside")),
        (-signal.SIGSEGV, None, None, True, Died(-signal.SIGSEGV, "tail")),
        (0, None, None, False, Died(0, "tail")),
    ],
)
def test_what_an_attempt_came_to(
    status: int, answer: Ending | None, ended_for: Stalled | OutOfMemory | None, oom_kill: bool, ending: Ending
) -> None:
    assert ending_of(status, answer, ended_for, oom_kill, "tail") == ending


def test_no_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="workers = 0: must be at least 1"):
        open_dispatcher(0, inline=False)


class Broken(Desk):
    """A dispatcher whose thread could not go on."""

    def _accept(self, job: Job) -> None:
        self._fail(OSError("out of everything"))

    def _shut(self) -> None:
        pass


def test_a_dispatcher_that_failed_says_so_instead_of_waiting_for_ever() -> None:
    with Broken() as dispatcher:
        dispatcher.submit(Job("key", "module:function", ""))
        with pytest.raises(GrowNNError, match="out of everything"):
            dispatcher.wait(60)
