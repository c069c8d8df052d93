"""The commands that show a study, or tidy it; none of them trains."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from grownn_hpo.cli.output import refuse_output, write_output
from grownn_hpo.errors import InputError
from grownn_hpo.report import labelled, write_report
from grownn_hpo.report.incumbent_file import export_incumbent
from grownn_hpo.report.mirror import Target, write_mirror
from grownn_hpo.report.read import (
    arms_at,
    incumbent_of,
    one_arm,
    read_evaluations,
    read_fresh_runs,
    read_record,
    spent_segments,
)
from grownn_hpo.search.ladder import Ladder
from grownn_hpo.spec.study import bundled_studies, load_study
from grownn_hpo.store.cleaning import checkpoints_of, delete_checkpoints
from grownn_hpo.store.lease import Lease


def export(path: Path, output: Path | None, seed: int | None) -> None:
    """Write the incumbent of the arm at `path`."""
    if seed is not None:
        raise InputError(f"--seed {seed}: an incumbent is exported with all its seeds; --seed goes with --policy FILE")
    if output is not None:
        refuse_output(output, "leave -o out to write to stdout")
    text = export_incumbent(one_arm(path))
    if output is None:
        sys.stdout.write(text)
        return
    write_output(output, text)
    print(f"next: grownn evaluate {output}", file=sys.stderr)


def report(paths: Sequence[Path], output: Path | None) -> None:
    """Write the page about the arms at `paths`."""
    folders = [folder for path in paths for folder in arms_at(path)]
    records = [read_record(folder) for folder in folders]
    labels = labelled(records)
    leaders = {label: incumbent_of(record) for label, record in labels.items()}
    by_label = dict(zip(labels, folders, strict=True))
    evaluations = {}
    for label, leader in leaders.items():
        own = [e for e in read_evaluations(by_label[label]) if leader is not None and e.config == leader.config]
        if own:  # the page speaks of the incumbent; others were evaluated by --top, or led before
            evaluations[label] = own[-1]
    runs = {label: read_fresh_runs(by_label[label], evaluation) for label, evaluation in evaluations.items()}
    fresh = {label: record for label, record in runs.items() if record is not None}
    target = output if output is not None else paths[0] / "report"
    if output is None and (target.is_symlink() or (target.exists() and not target.is_dir())):
        raise InputError(f"{target}: is a link or a file; remove it, or name a folder with -o")
    page = write_report(records, leaders, target, evaluations, fresh, processes=len(os.sched_getaffinity(0)))
    print(page)


def mirror(path: Path, target: Target, output: Path | None) -> None:
    """Write the arms at `path` in the form of another program."""
    folders = arms_at(path)
    written = write_mirror(folders, target, output if output is not None else path / "mirror" / target.value)
    print(written.folder)
    print(f"open it: {written.open_with}", file=sys.stderr)


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
            lengths = [rung.env_steps for rung in arm.rungs]
            equal = f"{len(lengths)} x {lengths[0]:,}"
            trained = equal if len(set(lengths)) == 1 else " + ".join(f"{length:,}" for length in lengths)
            grown = f"{trained}, depth {first.depth}"
            rungs = grown if first.depth == last.depth else f"{grown} to {last.depth}"
            listing.add_row(
                name, arm.name, arm.task.env, rungs, str(arm.search.trials), str(len(arm.seeds)), f"{env_steps:,}"
            )
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(listing)
