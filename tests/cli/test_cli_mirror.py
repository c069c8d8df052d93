"""`grownn mirror` on a study that was really run."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import extras
import pytest
from program import Grownn, command, surroundings
from shared import made_once, run_tiny

from grownn_hpo.cli import showing
from grownn_hpo.cli.commands import MirrorTarget
from grownn_hpo.errors import InputError
from grownn_hpo.report.mirror import Target, write_mirror
from grownn_hpo.store.commit import file_sha256
from grownn_hpo.store.paths import arm_folders

ONE_SEED = ("--set", "seeds=[0]", "--set", "search.trials=6")


@pytest.fixture(scope="module")
def one_seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small study: one bracket, three lineages, of which one reaches the last rung."""
    return made_once(tmp_path_factory, "one-seed", lambda folder: run_tiny(folder, *ONE_SEED))


@pytest.fixture
def study(one_seed: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(one_seed / "results/tiny", tmp_path / "results/tiny"))


def digests(study: Path) -> dict[str, str]:
    """The study's own files."""
    files = (path for path in study.rglob("*") if path.is_file() and "mirror" not in path.parts)
    return {str(path.relative_to(study)): file_sha256(path) for path in files}


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_a_mirror_lies_in_the_study_and_leaves_its_files_alone(grownn: Grownn, study: Path) -> None:
    before = digests(study)
    done = grownn("mirror", study, "--to", "csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{study / 'mirror/csv'}\n"
    assert f"pandas.read_csv('{study / 'mirror/csv/points.csv'}')" in done.stderr
    assert digests(study) == before
    ledger = list(csv.DictReader(io.StringIO(grownn("table", study).stdout)))
    mirrored = rows(study / "mirror/csv/segments.csv")
    assert [{name: row[name] for name in ledger[0]} for row in mirrored] == ledger
    points = rows(study / "mirror/csv/points.csv")
    assert len(points) == 6 * 2
    assert [p["env_steps"] for p in points if p["config"] == mirrored[-1]["config"]][-1] == mirrored[-1]["env_steps"]


def test_a_study_stopped_half_way_has_mirrors_too(study: Path) -> None:
    last = sorted((study / "grown-3/segments").glob("*/s0/r3"))
    assert len(last) == 1
    shutil.rmtree(last[0])
    for target in (Target.csv, Target.smac):
        written = write_mirror(arm_folders(study / "grown-3"), target, study / target.value)
        assert written.folder == study / target.value
    assert len(rows(study / "csv/segments.csv")) == 5
    history = json.loads((study / "smac/grown-3/runhistory.json").read_text())
    assert history["stats"] == {"submitted": 6, "finished": 5, "running": 1}


@pytest.mark.parametrize(("target", "extra"), [("optuna", "mirror"), ("tensorboard", "mirror"), ("wandb", "wandb")])
def test_a_missing_package_is_named_before_anything_is_written(
    study: Path, monkeypatch: pytest.MonkeyPatch, target: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, target, None)  # as if it were not installed
    before = sorted(study.rglob("*"))
    with pytest.raises(
        InputError, match=rf"--to {target}: needs {target}.*pip install 'grownn-hpo\[{extra}\]'"
    ) as told:
        showing.mirror(study, Target(target), None)
    assert told.value.exit_code == 2
    assert sorted(study.rglob("*")) == before


def test_a_study_is_never_replaced_by_its_mirror(study: Path) -> None:
    before = digests(study)
    for place in (study, study / "grown-3" / "segments"):
        with pytest.raises(InputError, match=f"-o {place}: is no mirror"):
            showing.mirror(study, Target.csv, place)
    assert digests(study) == before


def test_the_command_offers_what_there_is() -> None:
    assert [target.value for target in MirrorTarget] == [target.value for target in Target]


WRITTEN = """
import json, sys
from wandb.proto.wandb_internal_pb2 import Record
from wandb.sdk.internal.datastore import DataStore
for path in sys.argv[1:]:
    store = DataStore()
    store.open_for_scan(path)
    run, rows = {}, []
    while (data := store.scan_data()) is not None:
        record = Record.FromString(data)
        if record.WhichOneof("record_type") == "run":
            config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            run = {"name": record.run.display_name, "group": record.run.run_group, "project": record.run.project}
            run["config"] = config
        if record.WhichOneof("record_type") == "history":
            pairs = ((item.key or item.nested_key[0], json.loads(item.value_json)) for item in record.history.item)
            rows.append({key: value for key, value in pairs if not key.startswith("_")})
    print(json.dumps(run | {"rows": rows}))
"""


@contextmanager
def watched() -> Iterator[tuple[str, list[object]]]:
    """An address, and who connected to it: stands in for everything that lies beyond this machine."""
    callers: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    connection, caller = server.accept()
                except TimeoutError:
                    continue
                callers.append(caller)
                connection.close()

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", callers
        finally:
            over.set()
            listener.join()


def test_wandb_runs_are_written_without_a_network(study: Path, tmp_path: Path) -> None:
    extras.needs("wandb", "wandb")
    home = tmp_path / "home"
    home.mkdir()
    with watched() as (address, callers):
        names = ("http_proxy", "https_proxy", "all_proxy")
        network = {
            "WANDB_BASE_URL": address,
            **dict.fromkeys((*names, *map(str.upper, names)), address),
            "no_proxy": "",
        }
        done = subprocess.run(
            command("mirror", study, "--to", "wandb"),
            env=surroundings(HOME=str(home), **network),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert callers == []
    assert list(home.iterdir()) == []
    files = sorted((study / "mirror/wandb/wandb").glob("offline-run-*/run-*.wandb"))
    assert f"wandb sync {study / 'mirror/wandb/wandb'}/offline-run-*" in done.stderr
    read = subprocess.run(
        [sys.executable, "-c", WRITTEN, *map(str, files)],
        env=os.environ | {"WANDB_ERROR_REPORTING": "false"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert read.returncode == 0, read.stderr
    runs = {run["name"]: run for run in map(json.loads, read.stdout.splitlines())}
    assert set(runs) == {f"grown-3/c{config:04d}/s0" for config in (1, 2, 3)}
    ledger = rows(write_mirror(arm_folders(study), Target.csv, tmp_path / "csv").folder / "segments.csv")
    top = next(row for row in ledger if row["rung"] == "3")
    run = runs[f"grown-3/c{int(top['config']):04d}/s0"]
    assert (run["project"], run["group"]) == ("tiny", f"grown-3/c{int(top['config']):04d}")
    assert run["config"]["learning_rate"] == float(top["learning_rate"])
    returns = {row["global_step"]: row["eval/episodic_return"] for row in run["rows"] if "eval/episodic_return" in row}
    own = [row for row in ledger if row["config"] == top["config"]]
    assert {int(row["env_steps"]): float(row["mean_return"]) for row in own}.items() <= returns.items()
    assert {"charts/SPS", "charts/depth"} <= set().union(*run["rows"])
