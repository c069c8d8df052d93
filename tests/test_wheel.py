"""The installed wheel works outside the repository, with its studies and search spaces."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path


def test_a_wheel_runs_a_bundled_study_elsewhere(tmp_path: Path) -> None:
    repository = Path(__file__).resolve().parents[1]
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*build, str(repository)], check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    # The folder comes first on the path, before the repository that the test environment links to.
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from grownn_hpo.cli import main; main()"

    def grownn(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, str(installed), *args],
            cwd=elsewhere,
            env=os.environ | {"COLUMNS": "160"},
            capture_output=True,
            text=True,
            timeout=120,
        )

    listed = grownn("studies")
    assert listed.returncode == 0, listed.stderr
    assert "room-random-10x10" in listed.stdout
    assert "16,384 + 12,288 + 12,288, depth 1 to 3" in listed.stdout
    small = ("--set", "arms.*.rungs.*.env_steps=1024", "--set", "arms.*.search.trials=1", "--workers", "0")
    ran = grownn("run", "cartpole", "--arm", "static-3", *small)
    assert ran.returncode == 0, ran.stderr
    assert len(grownn("table", "results/cartpole").stdout.splitlines()) == 1 + 2
    report = grownn("report", "results/cartpole")
    assert report.returncode == 0, report.stderr
