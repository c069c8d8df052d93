"""The commands that show a study, or tidy it; none of them trains."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from grownn_hpo.cli.live import REFRESH_SECONDS, status_view
from grownn_hpo.cli.output import refuse_output
from grownn_hpo.errors import InputError
from grownn_hpo.report import labelled, write_report
from grownn_hpo.report.incumbent_file import export_incumbent
from grownn_hpo.report.read import arms_at, incumbent_of, one_arm, read_evaluations, read_record, spent_segments
from grownn_hpo.report.status import ArmStatus, read_status
from grownn_hpo.search.ladder import Ladder
from grownn_hpo.spec.study import bundled_studies, load_study
from grownn_hpo.store.cleaning import checkpoints_of, delete_checkpoints
from grownn_hpo.store.commit import write_file
from grownn_hpo.store.lease import Lease


def status(path: Path, watch: bool, as_json: bool) -> None:
    """Show where the arms at `path` stand, once or until all are complete."""
    folders = arms_at(path)

    def read() -> list[ArmStatus]:
        return [read_status(folder) for folder in folders]

    statuses = read()
    if as_json:
        while True:
            print(json.dumps([asdict(each) for each in statuses]), flush=True)
            if not watch or all(each.complete for each in statuses):
                return
            time.sleep(REFRESH_SECONDS)
            statuses = read()
    console = Console(stderr=True, highlight=False, markup=False)
    if watch:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while not all(each.complete for each in statuses):
                live.update(Group(*map(status_view, statuses)), refresh=True)
                time.sleep(REFRESH_SECONDS)
                statuses = read()
    console.print(Group(*map(status_view, statuses)))


def export(path: Path, output: Path | None, seed: int | None) -> None:
    """Write the incumbent of the arm at `path`."""
    if seed is not None:
        raise InputError(f"--seed {seed}: an incumbent is exported with all its seeds; --seed goes with --policy FILE")
    text = export_incumbent(one_arm(path))
    if output is None:
        sys.stdout.write(text)
        return
    refuse_output(output, "leave -o out to write to stdout")
    write_file(output, text.encode())
    print(f"wrote {output}; next: grownn evaluate {output}", file=sys.stderr)


def report(paths: Sequence[Path], output: Path | None) -> None:
    """Write the page about the arms at `paths`."""
    folders = [folder for path in paths for folder in arms_at(path)]
    records = [read_record(folder) for folder in folders]
    labels = labelled(records)
    leaders = {label: incumbent_of(record) for label, record in labels.items()}
    found = zip(labels, map(read_evaluations, folders), strict=True)
    evaluations = {label: known[-1] for label, known in found if known}
    target = output if output is not None else paths[0] / "report"
    if output is None and (target.is_symlink() or (target.exists() and not target.is_dir())):
        raise InputError(f"{target}: is a link or a file; remove it, or name a folder with -o")
    page = write_report(records, leaders, target, evaluations)
    print(page)


def clean(path: Path, dry_run: bool) -> None:
    """Delete the checkpoints at `path` that nothing can start from any more."""
    for folder in arms_at(path):
        with Lease(folder.lease_file):  # a driver at work is about to start segments from some of these
            spent = checkpoints_of(folder, spent_segments(folder))
            if not dry_run:
                delete_checkpoints(spent)
        size = sum(checkpoint.bytes for checkpoint in spent) / 2**20
        verb = "would delete" if dry_run else "deleted"
        print(f"{folder.root}: {verb} {len(spent)} checkpoints, {size:.1f} MiB", file=sys.stderr)


def studies() -> None:
    """List what is bundled."""
    listing = Table(box=None, pad_edge=False, header_style="dim")
    for name, right in (
        ("study", 0),
        ("arm", 0),
        ("task", 0),
        ("rungs", 0),
        ("trials", 1),
        ("seeds", 1),
        ("env steps", 1),
    ):
        listing.add_column(name, justify="right" if right else "left")
    for name in bundled_studies():
        for arm in load_study(name).arms:
            ladder = Ladder.of(arm)
            slots = [
                sum(ladder.slots(bracket, rung) for bracket in range(1, ladder.brackets + 1))
                for rung in range(1, ladder.rungs + 1)
            ]
            env_steps = sum(n * rung.env_steps for n, rung in zip(slots, arm.rungs, strict=True)) * len(arm.seeds)
            first, last = arm.rungs[0], arm.rungs[-1]
            grown = f"{len(arm.rungs)} x {first.env_steps:,}, depth {first.depth}"
            rungs = grown if first.depth == last.depth else f"{grown} to {last.depth}"
            listing.add_row(
                name, arm.name, arm.task.env, rungs, str(arm.search.trials), str(len(arm.seeds)), f"{env_steps:,}"
            )
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(listing)
