"""`--cluster`: a profile in place of `--workers`, and what is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from program import Grownn

from grownn_hpo.store.paths import ArmFolder

LOCAL = "kind: local\nworkers: 1\n"
SLURM = "kind: slurm\n"
NOWHERE = {"PATH": "/nowhere"}  # no `sbatch` there


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_local_profile_gives_the_same_table(grownn: Grownn, tiny: Path, tmp_path: Path, first_bracket: str) -> None:
    (tmp_path / "local.yaml").write_text(LOCAL)
    done = grownn("run", tiny, "--cluster", "local.yaml", "--set", "search.trials=6")
    assert done.returncode == 0, done.stderr
    assert grownn("table", "results/tiny").stdout == first_bracket


def test_what_cannot_be_trained_here_is_refused_before_it_is_begun_or_changed(
    grownn: Grownn, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "slurm.yaml").write_text(SLURM)
    assert grownn("export", "results/tiny", "-o", "best.yaml").returncode == 0
    before = contents(tmp_path)
    for command in (
        ("extend", "results/tiny", "--trials", 15),
        ("evaluate", "best.yaml", "--seeds", "100-101"),
        ("resume", "results/tiny"),
    ):
        refused = grownn(*command, "--cluster", "slurm.yaml", **NOWHERE)
        assert refused.returncode == 2, refused.stderr
        assert "slurm.yaml: kind = 'slurm': there is no `sbatch` here: run this on a login node" in refused.stderr
        assert contents(tmp_path) == before
        assert not ArmFolder(finished / "grown-3").evaluations.exists()


BAD = {
    "a file that is not there": (("--cluster", "none.yaml"), "none.yaml: there is no such file"),
    "a folder": (("--cluster", "."), "is a directory"),
    "workers as well": (
        ("--cluster", "local.yaml", "--workers", 2),
        "--workers 2 --cluster local.yaml: the profile says how many; leave --workers out",
    ),
    "another kind": (("--cluster", "kind.yaml"), "kind.yaml: kind = 'pbs': must be one of slurm, local"),
    "no kind": (("--cluster", "empty.yaml"), "empty.yaml"),
    "an unknown key": (("--cluster", "key.yaml"), "key.yaml: partitoin = 'main': "),
    "no YAML": (("--cluster", "yaml.yaml"), "yaml.yaml"),
    "fewer workers than one": (("--cluster", "none_at_all.yaml"), "none_at_all.yaml: workers = 0: must be at least 1"),
    "no Slurm here": (("--cluster", "slurm.yaml"), "slurm.yaml: kind = 'slurm': there is no `sbatch` here"),
}
FILES = {
    "local.yaml": LOCAL,
    "slurm.yaml": SLURM,
    "kind.yaml": "kind: pbs\n",
    "empty.yaml": "",
    "key.yaml": f"{SLURM}partitoin: main\n",
    "yaml.yaml": "kind: [slurm\n",
    "none_at_all.yaml": "kind: local\nworkers: 0\n",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_profile_is_refused_before_anything_is_written(
    grownn: Grownn, tiny: Path, tmp_path: Path, name: str
) -> None:
    for file, text in FILES.items():
        (tmp_path / file).write_text(text)
    options, told = BAD[name]
    done = grownn("run", tiny, *options, **NOWHERE)
    assert done.returncode == 2, done.stderr
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {tiny.name, *FILES}
