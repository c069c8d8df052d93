"""`grownn submit`: every check that `run` makes, here; then the driver as a Slurm job of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from grownn_hpo.dispatch.driver_job import driver_script, job_is_there, job_name, log_file, submit_script
from grownn_hpo.dispatch.squeue import QueueSilent, queued
from grownn_hpo.driver.arms import choose_arms, find_study
from grownn_hpo.driver.site import Site
from grownn_hpo.errors import Fault, GrowNNError, InputError
from grownn_hpo.spec.cluster import SlurmProfile, load_profile
from grownn_hpo.spec.study import bundled_studies, load_study
from grownn_hpo.store.lease import Lease


def submit(
    source: str, cluster: Path, names: Sequence[str], results: Path, overrides: Sequence[str], dry_run: bool
) -> None:
    """Submit the driver of a study, or only print its job's script. Raises InputError, and has then written nothing."""
    profile = load_profile(cluster)
    if not isinstance(profile, SlurmProfile):
        rule = "must be slurm for `grownn submit`; on this machine: grownn run"
        raise InputError(Fault(str(cluster), "kind", profile.kind, rule))
    study = load_study(source, overrides)
    arms = choose_arms(study, names)
    if not dry_run:  # a script can be looked at where there is no Slurm
        # Its interface the driver needs where it will run, not here.
        site = Site(profile.slots, profile=profile.model_copy(update={"interface": None}), file=str(cluster))
        site.check(arms, study.file, results / study.name)
    opened = find_study(study, arms, results, profile.slots, profile.gpus > 0)
    folder = results.absolute() / study.name
    name = job_name(study.name, folder)
    command = [profile.python or sys.executable, "-P", "-m", "grownn_hpo", "run"]
    command += [source if source in bundled_studies() else str(Path(source).absolute())]
    command += ["--cluster", str(cluster.absolute()), "--results", str(results.absolute())]
    command += [word for arm in names for word in ("--arm", arm)]
    command += [word for override in overrides for word in ("--set", override)]
    script = driver_script(profile, name, folder, Path.cwd(), command)
    if dry_run:
        sys.stdout.write(script)
        return
    try:
        already = queued(name)
    except QueueSilent as error:
        raise GrowNNError(f"Slurm does not answer: {error}") from None
    for job_id, job in already.items():
        raise InputError(
            f"{folder}: has its driver in Slurm already, job {job_id} ({job.state}), which writes to"
            f" {log_file(folder, job_id)}; to submit another, end that one: scancel {job_id}"
        )
    for each in opened:
        if each.folder.study_file.exists():
            # Nobody may drive now. What a dead driver of this host left is cleared: the job's host could not know.
            with Lease(each.folder.lease_file, job_is_there=job_is_there):
                pass
    made = _make_private(log_file(folder, "").parent)
    try:
        job_id = submit_script(script)
    except InputError as error:
        for path in made:
            path.rmdir()
        raise InputError(f"{cluster}: Slurm refuses the job that this profile's `driver` asks for:\n{error}") from None
    print(job_id)
    told = {
        "submitted": f"Slurm job {job_id}, {name}",
        "its log": log_file(folder, job_id),
        "watch it": f"squeue -j {job_id}; once it has started: grownn status {folder} --watch",
        "stop it": f"scancel {job_id}; what is computed stays, and the same command submits it again",
    }
    for what, text in told.items():
        print(f"{what:10} {text}", file=sys.stderr)


def _make_private(folder: Path) -> list[Path]:
    """Create a folder, and those above it that are not there, for this user alone; those created, innermost first."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(new):
        path.mkdir(mode=0o700, exist_ok=True)
    return new
