"""The package from Python, and every line of `docs/python.md`."""

from __future__ import annotations

import csv
import io
import re
import shutil
from pathlib import Path

import pytest
from needed import needed
from small_studies import ROOMS_CONFIGURATION, rooms_arm

import grownn_hpo as gh
from grownn_hpo.cli.policies import export
from grownn_hpo.environment import environment
from grownn_hpo.report.table import table
from grownn_hpo.store.arm import create_arm
from grownn_hpo.store.attempts import committed
from grownn_hpo.store.curve import read_curve
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Segment

DOCS = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.fixture
def half_way(rooms: ArmFolder, tmp_path: Path) -> ArmFolder:
    """Seed 1 has not finished the last rung, and the study has an arm that has not begun."""
    copy = ArmFolder(Path(shutil.copytree(rooms.root, tmp_path / "demo" / "grown-3")))
    shutil.rmtree(copy.segment(Segment(1, 3, 1)))
    create_arm(ArmFolder(tmp_path / "demo" / "later"), rooms_arm().model_copy(update={"name": "later"}), environment())
    return copy


@pytest.mark.filterwarnings("error")
def test_the_documentation_runs(
    rooms: ArmFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needed("pandas", "notebooks")
    needed("onnxruntime", "onnx")
    monkeypatch.chdir(rooms.root.parents[2])
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    export(rooms.root, Path("policy.onnx"), None, None, Path("results"))  # as the documentation's command does
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(DOCS), "exec"), names)
    said = capsys.readouterr().out
    assert "Study('demo', arms: grown-3)" in said
    assert "idempotent" in said


def test_the_ledger_is_the_table(rooms: ArmFolder) -> None:
    needed("pandas", "notebooks")
    ledger = gh.load(rooms.root).arm("grown-3").ledger()
    rows = list(csv.DictReader(io.StringIO(table(rooms, "csv"))))
    assert list(ledger.columns) == list(rows[0])
    assert len(ledger) == len(rows) == 6
    assert list(ledger["mean_return"]) == [float(row["mean_return"]) for row in rows]
    assert list(ledger["checkpoint_sha256"]) == [row["checkpoint_sha256"] for row in rows]


def test_curves_are_the_segments_own(rooms: ArmFolder) -> None:
    needed("pandas", "notebooks")
    curves = gh.load(rooms.root.parent).arm("grown-3").curves()
    assert len(curves) == 2 * 3 * 2
    found = committed(rooms, Segment(1, 2, 1))
    assert found is not None
    part = curves[(curves["rung"] == 2) & (curves["seed"] == 1)]
    assert list(part["env_steps"]) == [point.env_steps for point in read_curve(found.folder)]
    assert list(part["mean_return"]) == [point.mean_return for point in read_curve(found.folder)]
    assert set(part["depth"]) == {2}
    assert curves["success_rate"].dtype == "float64"


def test_a_study_half_way(half_way: ArmFolder) -> None:
    needed("pandas", "notebooks")
    study = gh.load(str(half_way.root.parent))
    assert list(study.arms) == ["grown-3", "later"]
    arm, later = study.arm("grown-3"), study.arm("later")
    best = arm.incumbent
    assert best is not None
    assert (best.config, best.rung, sorted(best.returns)) == (1, 2, [0, 1])
    assert arm.agent(1, 0).segment == Segment(1, 3, 0)
    assert arm.agent(1, 1).segment == Segment(1, 2, 1)
    configurations = arm.configurations()
    assert configurations.loc[1, "rung"] == 2
    assert configurations.loc[1, "mean_return"] == best.mean_return
    assert configurations.loc[1, "learning_rate"] == ROOMS_CONFIGURATION["learning_rate"]
    assert later.incumbent is None
    assert len(later.ledger()) == len(later.curves()) == len(later.configurations()) == 0
    assert list(later.ledger().columns) == list(arm.ledger().columns)
    whole = study.ledger()
    assert list(whole["arm"]) == ["grown-3"] * 5
    assert whole["mean_return"].dtype == "float64"
    with pytest.raises(gh.InputError, match="no configuration of this arm; there is none yet"):
        later.agent(1, 0)


def test_what_is_not_there_is_said(rooms: ArmFolder, tmp_path: Path) -> None:
    with pytest.raises(gh.InputError, match="holds no study; expected a folder like"):
        gh.load(tmp_path)
    with pytest.raises(gh.InputError, match="no arm 'grown3': did you mean 'grown-3'"):
        gh.load(rooms.root.parent).arm("grown3")
    with pytest.raises(AttributeError, match="lod"):
        _ = gh.lod  # type: ignore[attr-defined]
