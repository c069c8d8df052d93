"""SIGKILL of the driver's whole process tree at random instants, each followed by `grownn resume`."""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from program import Grownn, command, surroundings


def kill_tree(process: subprocess.Popen[bytes], generator: random.Random) -> None:
    """SIGKILL every process of the tree, in a random order."""
    parent = psutil.Process(process.pid)
    tree = [parent, *parent.children(recursive=True)]
    generator.shuffle(tree)
    for member in tree:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def killed_and_resumed(folder: Path, study: Path, kills: int, seed: int) -> int:
    """Runs the study with `kills` kills, then to its end; how many kills hit a driver that was still at work."""
    generator = random.Random(seed)
    hit = 0
    for turn in range(kills + 1):
        args = (
            ("run", study) if not (folder / "results/tiny/grown-3/study.yaml").exists() else ("resume", "results/tiny")
        )
        workers = generator.choice((0, 1, 2))
        process = subprocess.Popen(
            command(*args, "--workers", workers),
            cwd=folder,
            env=surroundings(PYTHONHASHSEED=str(turn)),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if turn == kills:
            assert process.wait(timeout=240) == 0
            break
        # Most of a turn is start-up; results come at about the fifth second.
        time.sleep(generator.uniform(0.5, 9.0))
        if process.poll() is None:
            hit += 1
            kill_tree(process, generator)
        else:
            assert process.returncode == 0
            break
    return hit


def attempts_left(folder: Path) -> int:
    return sum(1 for _ in folder.glob("results/tiny/grown-3/segments/*/*/*/a*"))


def check(folder: Path, grownn: Grownn, study: Path, undisturbed: str, kills: int, seed: int) -> None:
    hit = killed_and_resumed(folder, study, kills, seed)
    assert hit > 0
    assert grownn("table", "results/tiny").stdout == undisturbed
    wasted = attempts_left(folder) - len(undisturbed.splitlines()) + 1
    print(f"{hit} kills hit a driver at work; 0 lost, 0 double, table identical; {wasted} attempts begun in vain")


def test_a_few_kills(grownn: Grownn, tiny: Path, tmp_path: Path, undisturbed: str) -> None:
    check(tmp_path, grownn, tiny, undisturbed, kills=3, seed=1)


@pytest.mark.slow
def test_many_kills(grownn: Grownn, tiny: Path, tmp_path: Path, undisturbed: str) -> None:
    """Study after study until so many kills have hit; each study's ledger must be the undisturbed one."""
    wanted = int(os.environ.get("KILLS", "20"))
    hit = studies = 0
    while hit < wanted:
        folder = tmp_path / f"study-{studies}"
        folder.mkdir()
        hit += killed_and_resumed(folder, tiny, kills=8, seed=100 + studies)
        studies += 1
        assert grownn("table", folder / "results/tiny").stdout == undisturbed
    print(f"{hit} kills over {studies} studies: every table identical to the undisturbed one")
