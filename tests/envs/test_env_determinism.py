from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from env_digest import digest

import grownn_hpo
from grownn_hpo.envs import random_policy

HERE = Path(__file__).parent
ROOT = Path(grownn_hpo.__file__).parents[1]
TASKS = [("CartPole-v1", 200), ("Ant-v4", 600), ("MiniHack-Room-Random-5x5-v0", 400)]


def run(code: list[str], **variables: str) -> str:
    """What a fresh process prints; any warning in it is an error."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"} | variables
    command = [sys.executable, "-W", "error", *code]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=HERE)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout.strip()


@pytest.mark.parametrize(("env", "steps"), TASKS)
def test_same_seed_same_everything(env: str, steps: int) -> None:
    here = digest(env, steps)
    random_policy(env, {}, 3, seed=99)
    assert digest(env, steps) == here
    assert digest(env, steps, seed=8) != here
    program = [str(HERE / "env_digest.py"), env, str(steps)]
    assert [run(program, PYTHONHASHSEED=seed) for seed in ("1", "2")] == [here, here]


# Shifts the clock of a process, NetHack's too, which asks the C library.
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += atol(getenv("CLOCK_SHIFT"));
    return status;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}
"""
LOOSE = "import sys, grownn_hpo.envs.minihack as m; m._OURS['fix_moon_phase'] = False; from env_digest import digest; "


@pytest.mark.skipif(shutil.which("cc") is None or sys.platform != "linux", reason="shifting NetHack's clock needs cc")
def test_the_calendar_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "clock.c").write_text(CLOCK)
    library = str(tmp_path / "clock.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, str(tmp_path / "clock.c"), "-ldl"], check=True)

    def on(day: datetime.date, program: str) -> str:
        noon = datetime.datetime(day.year, day.month, day.day, 12, tzinfo=datetime.UTC).timestamp()
        shift = str(int(noon - time.time()))
        return run(["-c", program], LD_PRELOAD=library, CLOCK_SHIFT=shift, TZ="UTC")

    friday_13th, plain_tuesday = datetime.date(2026, 11, 13), datetime.date(2026, 11, 17)
    show = "print(digest('MiniHack-Room-Ultimate-15x15-v0', 2500))"
    fixed = "from env_digest import digest; " + show
    assert on(friday_13th, fixed) == on(plain_tuesday, fixed)
    # Else this would not show anything: left to itself, the game is unlucky on that day.
    assert on(friday_13th, LOOSE + show) != on(plain_tuesday, LOOSE + show)
