"""`grownn submit`, and Slurm's programs as it calls them; a real Slurm runs the job in tests/slurm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from program import Grownn

from grownn_hpo.dispatch.driver_job import job_is_there, job_name, log_file, submit_script
from grownn_hpo.errors import GrowNNError

# Slurm's own programs, as they answer; the real ones are in tests/slurm.
REFUSING = "cat > /dev/null; echo 'sbatch: error: invalid partition specified: nope' >&2; exit 1"
TAKING = "cat > {folder}/script; env > {folder}/env; echo '77;alpha'"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts programs called as Slurm's are in front of PATH, with these bodies."""
    folder = tmp_path / "slurm programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def put(**bodies: str) -> None:
        for name, body in bodies.items():
            path = folder / name
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)

    return put


def test_asking_where_slurm_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(GrowNNError, match=r"not found: .* machine that Slurm jobs can be sent from") as failed:
        submit_script("#!/bin/sh\n")
    assert failed.value.exit_code == 1
    assert job_is_there("1", "alpha") is None


@pytest.mark.parametrize(
    ("answer", "there"),
    [
        ("echo RUNNING", True),
        ("echo COMPLETING", True),
        ("exit 0", False),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", False),
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", None),
    ],
)
def test_whether_a_job_is_there(slurm: Callable[..., None], answer: str, there: bool | None) -> None:
    slurm(squeue=answer, scontrol="echo 'ClusterName             = alpha'")
    assert job_is_there("42", "alpha") is there
    assert job_is_there("42", "beta") is None  # its 42 is another job
    assert job_is_there("42", None) is None
    assert job_is_there("42; rm", "alpha") is None


PROFILE = "kind: slurm\npython: /shared/python\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(PROFILE)
    return path


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_dry_run_prints_the_script_and_writes_nothing(grownn: Grownn, tiny: Path, site: Path, tmp_path: Path) -> None:
    before = written(tmp_path)
    done = grownn("submit", "tiny.yaml", "--cluster", "site.yaml", "--arm", "grown-3", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    command = f"/shared/python -P -m grownn_hpo run {tiny} --cluster {site} --results {tmp_path}/results --arm grown-3"
    assert f"\n{command} &\n" in done.stdout
    assert f"#SBATCH --output={tmp_path}/results/tiny/slurm/driver-%j.log\n" in done.stdout
    assert written(tmp_path) == before
    bundled = grownn("submit", "demo", "--cluster", "site.yaml", "--set", "search.trials=3", "--dry-run")
    assert " run demo --cluster " in bundled.stdout
    assert " --set search.trials=3 &\n" in bundled.stdout


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("no-such", "--cluster", "site.yaml"), "neither a file nor a bundled study"),
        (("tiny.yaml", "--cluster", "none.yaml"), "none.yaml: there is no such file"),
        (("tiny.yaml", "--cluster", "local.yaml"), "kind = 'local': must be slurm for `grownn submit`"),
        (("tiny.yaml", "--cluster", "site.yaml", "--arm", "x"), "has no such arm"),
        (("tiny.yaml", "--cluster", "site.yaml", "--set", "seed=-1"), "seed = -1: must be at least 0"),
        (("tiny.yaml", "--cluster", "site.yaml", "--set", "task.env=No-v0"), "No-v0"),
        (("tiny.yaml", "--cluster", "site.yaml", "--results", "tiny.yaml/x"), "is not a folder that can be written to"),
    ],
)
def test_bad_input_is_refused_before_anything_is_submitted(
    grownn: Grownn, tiny: Path, tmp_path: Path, slurm: Callable[..., None], arguments: tuple[str, ...], told: str
) -> None:
    slurm(sbatch=TAKING.format(folder=tmp_path), squeue="exit 0", scancel="exit 0")
    (tmp_path / "local.yaml").write_text("kind: local\n")
    before = written(tmp_path)
    done = grownn("submit", *arguments)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert written(tmp_path) == before


@pytest.mark.usefixtures("tiny", "site")
def test_submitting(grownn: Grownn, tmp_path: Path, slurm: Callable[..., None]) -> None:
    slurm(sbatch=TAKING.format(folder=tmp_path), squeue="exit 0", scancel="exit 0")
    outer = {"SLURM_JOB_ID": "5", "SBATCH_ACCOUNT": "x", "SLURM_CONF": "/etc/mine.conf"}
    dry = grownn("submit", "tiny.yaml", "--cluster", "site.yaml", "--dry-run")
    done = grownn("submit", "tiny.yaml", "--cluster", "site.yaml", **outer)
    assert (done.returncode, done.stdout) == (0, "77\n"), done.stderr
    folder = tmp_path / "results" / "tiny"
    for told in (f"{log_file(folder, '77')}\n", "squeue -j 77", f"grownn status {folder} --watch", "scancel 77"):
        assert told in done.stderr
    assert (tmp_path / "script").read_text() == dry.stdout
    environment = (tmp_path / "env").read_text()
    assert "SLURM_CONF=/etc/mine.conf" in environment
    assert "SLURM_JOB_ID" not in environment
    assert "SBATCH_ACCOUNT" not in environment
    assert written(tmp_path / "results") == {"tiny", "tiny/slurm"}  # the arms' folders are the job's to make
    assert [(folder / name).stat().st_mode & 0o777 for name in (".", "slurm")] == [0o700, 0o700]


@pytest.mark.usefixtures("tiny", "site")
def test_a_second_driver_is_not_submitted(grownn: Grownn, tmp_path: Path, slurm: Callable[..., None]) -> None:
    name = job_name("tiny", tmp_path / "results" / "tiny")
    slurm(
        sbatch=TAKING.format(folder=tmp_path),
        scancel="exit 0",
        squeue=f'case "$*" in *--name={name}*) echo "76|PENDING|1:00||None";; esac',
    )
    done = grownn("submit", "tiny.yaml", "--cluster", "site.yaml")
    assert done.returncode == 2
    assert "job 76 (PENDING)" in done.stderr
    assert "scancel 76" in done.stderr
    assert written(tmp_path) & {"script", "results"} == set()
    elsewhere = grownn("submit", "tiny.yaml", "--cluster", "site.yaml", "--results", "others")
    assert elsewhere.returncode == 0


@pytest.mark.usefixtures("tiny", "site")
def test_a_queue_that_does_not_answer(grownn: Grownn, tmp_path: Path, slurm: Callable[..., None]) -> None:
    slurm(
        sbatch=TAKING.format(folder=tmp_path),
        scancel="exit 0",
        squeue="echo 'Unable to contact controller' >&2; exit 1",
    )
    before = written(tmp_path)
    done = grownn("submit", "tiny.yaml", "--cluster", "site.yaml")
    assert done.returncode == 1
    assert "Slurm does not answer: squeue: Unable to contact controller" in done.stderr
    assert written(tmp_path) == before


@pytest.mark.usefixtures("tiny", "site")
def test_what_slurm_refuses_is_told_in_its_words_and_leaves_nothing(
    grownn: Grownn, tmp_path: Path, slurm: Callable[..., None]
) -> None:
    slurm(sbatch=REFUSING, squeue="exit 0", scancel="exit 0")
    before = written(tmp_path)
    done = grownn("submit", "tiny.yaml", "--cluster", "site.yaml")
    assert done.returncode == 2
    assert "site.yaml: Slurm refuses the job" in done.stderr
    assert "sbatch: error: invalid partition specified: nope" in done.stderr
    assert written(tmp_path) == before
