"""A worker's job: its script as text, and what bash makes of it. A real Slurm runs it in tests/slurm."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from grownn_hpo.dispatch.worker_job import DEATH_SECONDS, worker_script
from grownn_hpo.spec.cluster import Jobs, SlurmProfile, load_profile

GOLDEN = Path(__file__).parent / "golden"
CLUSTER = Path(__file__).parents[2] / "cluster"
LOGS = Path("/home/ada/results/demo/slurm")
PYTHON = "/shared/venv/bin/python"

MOST = SlurmProfile(
    kind="slurm",
    partition="main",
    account="proj:sub",
    walltime="2-00:00:00",
    cores=8,
    memory_gib=6.3,
    gpus=2,
    directives=("--constraint=icelake", "--qos=normal"),
    segments=4,
    jobs=Jobs(at_least=2, at_most=20),
    interface="ib0",
    before=("module load python/3.11", 'export GREETING="it\'s $USER"'),
    scratch="/scratch/$SLURM_JOB_ID/of ada",
    python="/shared/it's a venv/bin/python",
)


def bundled(name: str) -> SlurmProfile:
    """A profile as it is bundled, but for the interpreter, which would be this machine's."""
    profile = load_profile(CLUSTER / f"{name}.yaml")
    assert isinstance(profile, SlurmProfile)
    return profile.model_copy(update={"python": PYTHON})


SCRIPTS = {
    "worker_slurm.sh": lambda: worker_script(bundled("slurm"), "demo-12345678", LOGS),
    "worker_slurm_gpu.sh": lambda: worker_script(bundled("slurm-gpu"), "demo-12345678", LOGS),
    "worker_most.sh": lambda: worker_script(MOST, "a.b-12345678", Path("/home/ada/my 100% results/%j/demo/slurm")),
}


@pytest.mark.parametrize("golden", SCRIPTS)
def test_the_script_as_text(golden: str) -> None:
    text = SCRIPTS[golden]()
    assert text == (GOLDEN / golden).read_text()
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_interpreter_is_the_drivers_own_unless_the_profile_names_one() -> None:
    text = worker_script(SlurmProfile(kind="slurm"), "n", LOGS)
    assert f"\n{shlex.quote(sys.executable)} -P -m grownn_hpo.dispatch.node " in text


def test_under_bash_the_worker_gets_its_words_and_its_folder(tmp_path: Path) -> None:
    python = tmp_path / 'it\'s "a" venv' / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$TMPDIR" "$(umask)" "$GREETING" "$@"\n')
    python.chmod(0o755)
    profile = MOST.model_copy(
        update={
            "python": str(python),
            "scratch": f"{tmp_path}/$SLURM_JOB_ID/of ada",
            "before": ('export GREETING="it\'s $WHO"',),
        }
    )
    done = subprocess.run(
        ["bash", "-c", worker_script(profile, "n", LOGS)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "SLURM_JOB_ID": "42", "WHO": "ada"},
    )
    scratch, umask, greeting, *words = done.stdout.splitlines()
    assert (scratch, umask, greeting) == (f"{tmp_path}/42/of ada", "0077", "it's ada")
    assert (tmp_path / "42" / "of ada").stat().st_mode & 0o777 == 0o700
    assert words[:4] == ["-P", "-m", "grownn_hpo.dispatch.node", "tls://DRIVER:PORT"]
    told = dict(itertools.pairwise(words))
    assert told["--local-directory"] == scratch
    assert told["--nworkers"] == "4"
    assert told["--nthreads"] == "1"
    assert told["--death-timeout"] == str(DEATH_SECONDS)
    assert told["--interface"] == "ib0"
    assert told["--protocol"] == "tls://"
    assert "--no-dashboard" in words
    assert done.stderr == ""


THEIRS = """\
jobqueue:
  {section}:
    cores: 96
    memory: 1TB
    processes: 12
    python: /usr/bin/python2
    interface: eth7
    queue: theirs
    account: theirs
    walltime: "00:01:00"
    log-directory: /theirs
    local-directory: /theirs
    death-timeout: 1
    name: theirs
    worker-command: theirs.worker
    shebang: "#!/bin/theirs"
    job-extra-directives: ["--qos=theirs"]
    job-script-prologue: ["echo theirs"]
    job-directives-skip: ["--mem"]
    worker-extra-args: ["--lifetime", "1h"]
    extra: ["--theirs"]
    shared-temp-directory: /theirs
"""


@pytest.mark.parametrize("section", ["slurm", "grownn"])
@pytest.mark.parametrize("where", ["DASK_CONFIG", "HOME"])
def test_what_is_configured_for_dask_jobqueue_is_for_others(tmp_path: Path, section: str, where: str) -> None:
    folder = tmp_path if where == "DASK_CONFIG" else tmp_path / ".config" / "dask"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobqueue.yaml").write_text(THEIRS.format(section=section))
    program = f"""
import sys
from pathlib import Path
import dask
from grownn_hpo.dispatch.worker_job import worker_script
from grownn_hpo.spec.cluster import load_profile
assert dask.config.get("jobqueue.{section}.queue") == "theirs", "the configuration is not read at all"
profile = load_profile(Path(sys.argv[1])).model_copy(update={{"python": sys.argv[2]}})
sys.stdout.write(worker_script(profile, "demo-12345678", Path(sys.argv[3])))
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DASK_")}
    done = subprocess.run(
        [sys.executable, "-c", program, CLUSTER / "slurm.yaml", PYTHON, LOGS],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {where: str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (GOLDEN / "worker_slurm.sh").read_text()
