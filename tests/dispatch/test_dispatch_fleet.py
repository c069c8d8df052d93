"""What is made of Slurm's queue: reading it, and which worker jobs to ask for and to give up."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grownn_hpo.dispatch.fleet import IDLE_SECONDS, SILENT_SECONDS, Orders, Why, WorkerJob, orders
from grownn_hpo.dispatch.squeue import Queued, QueueSilent, read_queue

PENDING = Queued("1", "PENDING", 3600.0, "", "Resources")
RUNNING = Queued("1", "RUNNING", 3600.0, "n1", "None")
ENDING = Queued("1", "COMPLETING", 3600.0, "n1", "None")

ASKED = WorkerJob("asked", known=False, seen=None, workers=0, busy=0, idle_seconds=0.0, useless=False)
QUEUED = replace(ASKED, name="queued", known=True, seen=PENDING)
STARTING = replace(QUEUED, name="starting", seen=RUNNING)
AT_WORK = replace(STARTING, name="at work", workers=1, busy=1)
IDLE = replace(AT_WORK, name="idle", busy=0, idle_seconds=IDLE_SECONDS)
RESTING = replace(IDLE, name="resting", idle_seconds=IDLE_SECONDS - 1)
USELESS = replace(RESTING, name="useless", useless=True)
QUIET = replace(STARTING, name="quiet", silent_seconds=SILENT_SECONDS - 1)
SILENT = replace(STARTING, name="silent", silent_seconds=SILENT_SECONDS)
GONE = replace(AT_WORK, name="gone", seen=None)
DYING = replace(AT_WORK, name="dying", seen=ENDING)
KINDS = [ASKED, QUEUED, STARTING, AT_WORK, IDLE, RESTING, USELESS, QUIET, SILENT, GONE, DYING]


class TestOrders:
    @pytest.mark.parametrize(
        ("segments", "per_job", "ask_for"), [(0, 1, 1), (1, 1, 1), (3, 1, 3), (99, 1, 5), (3, 2, 2), (4, 4, 1)]
    )
    def test_as_many_jobs_as_segments_need_between_the_least_and_the_most(
        self, segments: int, per_job: int, ask_for: int
    ) -> None:
        assert orders([], segments, per_job, 1, 5) == Orders({}, ask_for)

    @pytest.mark.parametrize("there", [ASKED, QUEUED, STARTING, AT_WORK, IDLE])
    def test_a_job_that_is_there_or_to_come_is_not_asked_for_twice(self, there: WorkerJob) -> None:
        assert orders([there], 1, 1, 1, 5) == Orders({}, 0)

    @pytest.mark.parametrize("ended", [GONE, DYING, replace(QUEUED, name="cancelled", seen=None)])
    def test_a_job_that_ended_is_replaced_whatever_dask_thinks_of_its_workers(self, ended: WorkerJob) -> None:
        assert orders([ended], 1, 1, 1, 5) == Orders({ended.name: Why.ENDED}, 1)
        assert orders([ended, AT_WORK], 1, 1, 1, 5) == Orders({ended.name: Why.ENDED}, 0)

    def test_a_job_in_whose_time_nothing_fits_is_replaced(self) -> None:
        assert orders([USELESS], 1, 1, 1, 5) == Orders({"useless": Why.TOO_LATE}, 1)
        half = replace(USELESS, name="half", workers=2, busy=1)
        assert orders([half], 2, 2, 1, 5) == Orders({}, 0)

    def test_a_job_whose_workers_are_not_heard_of_is_replaced_in_the_end(self) -> None:
        assert orders([SILENT], 1, 1, 1, 5) == Orders({"silent": Why.SILENT}, 1)
        assert orders([QUIET], 1, 1, 1, 5) == Orders({}, 0)
        heard = replace(AT_WORK, silent_seconds=SILENT_SECONDS)
        assert orders([heard], 1, 1, 1, 5) == Orders({}, 0)

    def test_the_queue_is_left_first_then_those_go_that_were_idle_longest(self) -> None:
        longer = replace(IDLE, name="longer", idle_seconds=IDLE_SECONDS + 1)
        later = replace(QUEUED, name="later")
        jobs = [QUEUED, IDLE, longer, later, AT_WORK]
        for needed, given_up in ((4, ["later"]), (3, ["later", "queued"]), (2, ["later", "queued", "longer"])):
            assert orders(jobs, needed, 1, 1, 5) == Orders(dict.fromkeys(given_up, Why.SURPLUS), 0)
        assert orders(jobs, 0, 1, 5, 9).give_up == {}

    @pytest.mark.parametrize("kept", [ASKED, STARTING, AT_WORK, RESTING])
    def test_what_is_about_to_work_or_not_known_yet_is_no_surplus(self, kept: WorkerJob) -> None:
        assert orders([replace(AT_WORK, name="first"), kept], 1, 1, 1, 5) == Orders({}, 0)

    @given(
        st.lists(st.sampled_from(KINDS), max_size=12),
        st.integers(0, 30),
        st.integers(1, 4),
        st.integers(1, 4),
        st.integers(0, 8),
    )
    def test_the_fleet_comes_to_its_size_without_touching_work(
        self, kinds: list[WorkerJob], segments: int, per_job: int, at_least: int, more: int
    ) -> None:
        jobs = [replace(kind, name=f"{kind.name}-{i}") for i, kind in enumerate(kinds)]
        at_most = at_least + more
        what = orders(jobs, segments, per_job, at_least, at_most)
        left = [job for job in jobs if job.name not in what.give_up]
        target = max(at_least, min(at_most, math.ceil(segments / per_job)))
        assert not any(job.busy and not job.ended for job in jobs if job.name in what.give_up)
        assert what.ask_for == max(0, target - len(left))
        assert not any(job.ended for job in left)
        if Why.SURPLUS in what.give_up.values():
            assert len(left) >= target
        after = [*left, *(replace(ASKED, name=f"new-{i}") for i in range(what.ask_for))]
        assert orders(after, segments, per_job, at_least, at_most) == Orders({}, 0)  # nothing goes to and fro


class TestQueue:
    def test_jobs_as_squeue_prints_them(self) -> None:
        printed = (
            "101|RUNNING|1-02:03:04|n1|None\n"
            "102|PENDING|4:00:00||(Resources)\n"
            "103|RUNNING|9:58|n[1-2]|a|b\n"
            "104|COMPLETING|0:00|n2|TimeLimit\n"
        )
        assert read_queue(printed) == {
            "101": Queued("101", "RUNNING", 93784.0, "n1", "None"),
            "102": Queued("102", "PENDING", 14400.0, "", "(Resources)"),
            "103": Queued("103", "RUNNING", 598.0, "n[1-2]", "a|b"),
            "104": Queued("104", "COMPLETING", 0.0, "n2", "TimeLimit"),
        }
        assert read_queue("") == {}

    @pytest.mark.parametrize(
        ("left", "seconds"),
        [("UNLIMITED", math.inf), ("NOT_SET", math.inf), ("INVALID", 0.0), ("59", 59.0), ("365-00:00:00", 31536000.0)],
    )
    def test_the_time_left(self, left: str, seconds: float) -> None:
        assert read_queue(f"1|RUNNING|{left}|n1|None")["1"].seconds_left == seconds

    @given(st.integers(0, 366), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
    def test_the_time_left_in_each_of_its_forms(self, days: int, hours: int, minutes: int, seconds: int) -> None:
        text = f"{minutes}:{seconds:02}"
        if days or hours:
            text = f"{hours}:{minutes:02}:{seconds:02}"
        if days:
            text = f"{days}-{hours:02}:{minutes:02}:{seconds:02}"
        expected = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        assert read_queue(f"1|RUNNING|{text}|n1|None")["1"].seconds_left == expected

    @pytest.mark.parametrize(
        ("state", "waiting", "running"),
        [
            ("PENDING", True, False),
            ("CONFIGURING", True, False),
            ("REQUEUED", True, False),
            ("RUNNING", False, True),
            ("SUSPENDED", False, True),
            *((state, False, False) for state in ("COMPLETING", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")),
        ],
    )
    def test_a_job_waits_or_runs_or_is_ending(self, state: str, waiting: bool, running: bool) -> None:
        job = Queued("1", state, 1.0, "", "")
        assert (job.waiting, job.running) == (waiting, running)

    @pytest.mark.parametrize("printed", ["slurm_load_jobs error", "1|RUNNING|1:00", "1|RUNNING|1:00|n1|None\n\n"])
    def test_what_is_no_answer_says_nothing_of_any_job(self, printed: str) -> None:
        with pytest.raises(QueueSilent, match="which is not"):
            read_queue(printed)
