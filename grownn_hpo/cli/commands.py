"""The commands and their options. Data goes to stdout, everything for people to stderr."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Hyperparameter search for deep RL agents whose networks grow while they train.",
    epilog="Exit codes: 0 complete, 2 the input is at fault, 3 stopped early (grownn resume goes on), 1 anything else.",
)


class Form(StrEnum):
    """The forms of a table."""

    csv = "csv"
    json = "json"


class MirrorTarget(StrEnum):
    """What a study can be mirrored to."""

    optuna = "optuna"
    smac = "smac"
    tensorboard = "tensorboard"
    csv = "csv"
    parquet = "parquet"
    wandb = "wandb"


Workers = Annotated[
    Optional[int],  # noqa: UP045 (typer reads this at run time)
    typer.Option(
        min=0, max=10_000, help="Processes that train at a time; 0: one, without Dask.", show_default="one per core"
    ),
]
Cluster = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="A cluster profile, instead of --workers: where segments are trained.", dir_okay=False),
]
Results = Annotated[Path, typer.Option(help="The folder that holds the studies' folders.", file_okay=False)]
ArmPath = Annotated[
    Path, typer.Argument(metavar="PATH", help="A study's folder, or one arm's: results/<study>[/<arm>].")
]
Seed = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="The agent of this seed.", show_default="the best at its last evaluation"),
]
AcceptEnvironment = Annotated[
    bool, typer.Option("--accept-environment", help="Go on although library versions or the CPU's kind changed.")
]
TakeOver = Annotated[
    bool, typer.Option("--take-over", help="Take the lease of a driver on another host that is surely gone.")
]


@app.command()
def run(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A bundled study's name, or a study file's path.")],
    arm: Annotated[Optional[list[str]], typer.Option(help="Only this arm; may be repeated.")] = None,  # noqa: UP045
    workers: Workers = None,
    cluster: Cluster = None,
    results: Results = Path("results"),
    set_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. search.trials=20; may be repeated."),
    ] = None,
) -> None:
    """Run a study, or go on with it where it stands."""
    from grownn_hpo.cli import driving
    from grownn_hpo.driver.arms import choose_arms, open_path, open_study
    from grownn_hpo.spec.study import load_study

    site = driving.site_of(workers, cluster)
    loaded = load_study(study, set_ or [])
    chosen = choose_arms(loaded, arm or [])
    site.check(chosen, loaded.file, results / loaded.name)
    opened = open_study(loaded, chosen, results, site.slots, site.has_gpus)
    for each in opened:  # what was there already must stand in the environment it was begun in
        open_path(each.folder.root)
    driving.drive_arms(opened, site, results / loaded.name)


@app.command()
def resume(
    path: ArmPath,
    workers: Workers = None,
    cluster: Cluster = None,
    accept_environment: AcceptEnvironment = False,
    take_over: TakeOver = False,
) -> None:
    """Go on with a study or one arm, from its own recorded study file."""
    from grownn_hpo.cli import driving
    from grownn_hpo.driver.arms import open_path

    driving.drive_arms(open_path(path, accept_environment), driving.site_of(workers, cluster), path, take_over)


@app.command()
def extend(
    path: ArmPath,
    trials: Annotated[int, typer.Option(help="The new budget, in trials.", min=1)],
    workers: Workers = None,
    cluster: Cluster = None,
) -> None:
    """Raise an arm's budget and go on; what was computed stays."""
    from grownn_hpo.cli import driving
    from grownn_hpo.driver.arms import extend_arms, open_path

    site, opened = driving.site_of(workers, cluster), open_path(path)
    site.check([each.arm for each in opened], str(path), opened[0].folder.root.parent)
    driving.drive_arms(extend_arms(opened, trials), site, path)


@app.command()
def submit(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A bundled study's name, or a study file's path.")],
    cluster: Annotated[Path, typer.Option(help="The profile of the Slurm cluster to run on.", dir_okay=False)],
    arm: Annotated[Optional[list[str]], typer.Option(help="Only this arm; may be repeated.")] = None,  # noqa: UP045
    results: Results = Path("results"),
    set_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. search.trials=20; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the job script, to stdout.")] = False,
) -> None:
    """Run a study from a Slurm job of its own, which requeues itself at walltime until the study is complete."""
    from grownn_hpo.cli import submitting

    submitting.submit(study, cluster, arm or [], results, set_ or [], dry_run)


@app.command()
def status(
    path: ArmPath,
    watch: Annotated[bool, typer.Option("--watch", help="Show it until the study is complete.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="As JSON, to stdout.")] = False,
) -> None:
    """Show where a study stands: rungs, running segments, failures, incumbent, time left.

    With --json, one list on stdout with an object for each arm; the keys and their meaning are those of
    grownn_hpo.report.status.ArmStatus. With --watch, such a line, or one in words where there is no terminal, whenever
    something has changed. Ctrl-C ends it, with exit code 0.
    """
    from grownn_hpo.cli import following

    following.status(path, watch, json_)


@app.command()
def table(
    path: ArmPath,
    form: Annotated[Form, typer.Option("--format", help="How to write it.")] = Form.csv,
    environments: Annotated[
        bool, typer.Option("--environments", help="Add a column: in which environment a row was computed, 1 the first.")
    ] = False,
) -> None:
    """Print an arm's ledger: one row per segment, the same bytes however it was computed."""
    from grownn_hpo.report.read import one_arm
    from grownn_hpo.report.table import table as ledger_table

    sys.stdout.write(ledger_table(one_arm(path), form.value, environments))


@app.command()
def export(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A study's folder, or one arm's; for --policy also an exported file.")
    ],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--output", help="The file to write, instead of stdout.", dir_okay=False),
    ] = None,
    policy: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Write its trained policy as .onnx or .pt2 instead.", dir_okay=False),
    ] = None,
    seed: Seed = None,
    results: Results = Path("results"),
) -> None:
    """Write an arm's incumbent as one self-contained YAML file; or its trained policy, to be used without grownn."""
    if policy is not None:
        from grownn_hpo.cli import policies

        policies.export(path, policy, output, seed, results)
        return
    from grownn_hpo.cli import showing

    showing.export(path, output, seed)


@app.command()
def evaluate(
    incumbent: Annotated[
        Path,
        typer.Argument(
            metavar="INCUMBENT", help="A file that `grownn export` wrote, or an arm's folder: results/<study>/<arm>."
        ),
    ],
    seeds: Annotated[str, typer.Option(help="Fresh seeds: 100-109, or 100,103,107.")] = "100-109",
    top: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=2, metavar="K", help="Rank the arm's K best configurations again by these seeds."),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--output", help="With --top: write the new first as an incumbent's file.", dir_okay=False),
    ] = None,
    workers: Workers = None,
    cluster: Cluster = None,
    results: Results = Path("results"),
    json_: Annotated[bool, typer.Option("--json", help="The result as JSON, to stdout.")] = False,
    form: Annotated[
        Optional[Form],  # noqa: UP045
        typer.Option("--format", help="The seeds' scores as a table, to stdout."),
    ] = None,
) -> None:
    """Retrain configurations on fresh seeds at full length, and say how they really do.

    Typed again after a kill, it goes on where it stood.
    """
    from grownn_hpo.cli import evaluating
    from grownn_hpo.cli.driving import site_of

    evaluating.evaluate(
        incumbent, seeds, site_of(workers, cluster), results, json_, None if form is None else form.value, top, output
    )


@app.command()
def watch(
    incumbent: Annotated[
        Path, typer.Argument(metavar="INCUMBENT", help="A file that `grownn export` wrote, or an arm's folder.")
    ],
    seed: Seed = None,
    episodes: Annotated[int, typer.Option(help="How many episodes of its last evaluation.", min=1)] = 1,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--output", metavar="FILE", help="A .gif or .mp4, instead of the terminal.", dir_okay=False),
    ] = None,
    results: Results = Path("results"),
) -> None:
    """See an incumbent's agent act: the very episodes that it was evaluated on, in the terminal or as a film."""
    from grownn_hpo.cli import watching

    watching.show(incumbent, seed, episodes, output, results)


@app.command()
def report(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Studies' or arms' folders.")],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--output", help="The folder to write.", show_default="PATH/report", file_okay=False),
    ] = None,
) -> None:
    """Write a static page with figures: learning curves, incumbents, rungs, failures."""
    from grownn_hpo.cli import showing

    showing.report(paths, output)


@app.command()
def mirror(
    path: ArmPath,
    to: Annotated[MirrorTarget, typer.Option("--to", help="The program, or the form, to mirror it to.")],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "-o", "--output", help="The folder to write.", show_default="PATH/mirror/<target>", file_okay=False
        ),
    ] = None,
) -> None:
    """Write a study in the form that another program opens; an earlier mirror in its place is replaced whole."""
    from grownn_hpo.cli import showing
    from grownn_hpo.report.mirror import Target

    showing.mirror(path, Target(to.value), output)


@app.command()
def clean(
    path: ArmPath,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
) -> None:
    """Delete checkpoints from which nothing can start any more; results and the incumbent's checkpoints stay."""
    from grownn_hpo.cli import showing

    showing.clean(path, dry_run)


@app.command()
def plan(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A bundled study's name, or a study file's path.")],
    arm: Annotated[Optional[list[str]], typer.Option(help="Only this arm; may be repeated.")] = None,  # noqa: UP045
    workers: Workers = None,
    cluster: Cluster = None,
    results: Results = Path("results"),
    set_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. search.trials=20; may be repeated."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what a run will cost: segments, env steps, hours, jobs, disk. Trains for seconds, writes nothing."""
    from grownn_hpo.cli import driving, planning

    planning.plan(study, set_ or [], arm or [], driving.site_of(workers, cluster), results, json_)


@app.command()
def studies() -> None:
    """List the bundled studies, their arms and what they cost."""
    from grownn_hpo.cli import showing

    showing.studies()


@app.command()
def doctor() -> None:
    """Check that everything a study needs works on this machine."""
    from grownn_hpo.cli import examining

    examining.doctor()
