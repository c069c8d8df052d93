"""An arm's folder as a whole: opened again as the same arm, its brackets as they were stored."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from grownn_hpo.errors import InputError
from grownn_hpo.spec.study import bundled_studies, load_study
from grownn_hpo.store.arm import (
    Bracket,
    configurations_of,
    create_arm,
    created_arm,
    read_arm,
    read_brackets,
    read_environment,
    read_workers,
    record_arm,
    record_workers,
    set_aside_damaged_brackets,
    sweep_temporaries,
    write_bracket,
)
from grownn_hpo.store.paths import TEMPORARY, ArmFolder
from grownn_hpo.store.terms import arm_sha256

ARM = load_study("ant").arms[0]
FULL = Bracket(1, ({"learning_rate": 1e-4, "activation": "relu", "flag": True}, {"learning_rate": 0.1}), "f" * 64)
REST = Bracket(2, ({"learning_rate": 5e-324, "n_epochs": 7},), "e" * 64)


@pytest.mark.parametrize("study", bundled_studies())
def test_an_arm_is_opened_again_as_the_same(tmp_path: Path, study: str) -> None:
    for arm in load_study(study).arms:
        folder = ArmFolder(tmp_path / arm.study / arm.name)
        create_arm(folder, arm, {"python": "3.11.7"})
        assert read_arm(folder) == arm
        assert read_environment(folder) == {"python": "3.11.7"}


NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user needs root")
def test_a_new_studys_folder_is_for_its_user_alone() -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        top.chmod(0o755)  # so that another user gets as far as the study's folder
        (top / "results").mkdir()
        (top / "results").chmod(0o755)
        folder = ArmFolder(top / "results" / "ant" / "grown-4")
        create_arm(folder, load_study("ant").arms[0], {})
        record_workers(folder, {"cpu_capability": "AVX2", "gpu": None})

        def as_nobody(*command: object) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [str(word) for word in command],
                capture_output=True,
                text=True,
                check=False,
                user=NOBODY,
                group=NOBODY,
                extra_groups=[],
                cwd="/",
            )

        assert as_nobody("ls", top / "results").stdout == "ant\n"
        for command in (
            ("ls", top / "results" / "ant"),
            ("cat", folder.study_file),
            ("cat", folder.environment_file),
            ("touch", folder.root / "intruder"),
        ):
            refused = as_nobody(*command)
            assert refused.returncode != 0
            assert "Permission denied" in refused.stderr
            assert refused.stdout == ""


def test_what_workers_compute_with_is_kept_beside_the_environment(folder: ArmFolder) -> None:
    arm = load_study("ant").arms[0]
    create_arm(folder, arm, {"python": "3.11.7"})
    assert read_workers(folder) is None
    for machine in ({"cpu_capability": "AVX2", "gpu": None}, {"cpu_capability": "AVX512", "gpu": "NVIDIA A100"}):
        record_workers(folder, dict(machine))
        assert read_workers(folder) == machine
        assert read_environment(folder) == {"python": "3.11.7"}
        assert created_arm(folder) == arm


def test_a_study_file_edited_into_nonsense_is_the_inputs_fault(folder: ArmFolder) -> None:
    study = load_study("ant")
    create_arm(folder, study.arms[0], {})
    text = folder.study_file.read_text()
    folder.study_file.write_text(text.replace("grown-4", "a/b"))
    with pytest.raises(InputError, match=r"study\.yaml: arms = 'a/b'"):
        read_arm(folder)
    folder.study_file.write_text((Path(study.file)).read_text())
    with pytest.raises(InputError, match="holds one arm, this one has 8"):
        read_arm(folder)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff"])
def test_a_lost_environment_is_empty(folder: ArmFolder, content: bytes | None) -> None:
    folder.root.mkdir(parents=True)
    if content is not None:
        folder.environment_file.write_bytes(content)
    assert read_environment(folder) == {}


def test_brackets_read_back_as_they_were_stored(folder: ArmFolder) -> None:
    assert read_brackets(folder, ARM) == {}
    for bracket in (REST, FULL):
        write_bracket(folder, bracket)
    (folder.brackets / f"0003.json.ab{TEMPORARY}").write_text("{")
    found = read_brackets(folder, ARM)
    assert found == {1: FULL, 2: REST}
    assert repr(found[1]) == repr(FULL)  # True is not 1
    assert configurations_of(found, 2) == {
        1: FULL.configurations[0],
        2: FULL.configurations[1],
        3: REST.configurations[0],
    }


def test_no_changed_byte_of_a_bracket_changes_a_configuration(folder: ArmFolder) -> None:
    write_bracket(folder, FULL)
    path = folder.bracket_file(1)
    whole = path.read_bytes()
    for i in range(len(whole)):
        for damaged in (whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :], whole[:i]):
            path.write_bytes(damaged)
            with pytest.raises(InputError, match=r"0001\.json: damaged: .*have it suggested again: grownn resume"):
                read_brackets(folder, ARM)


def test_a_bracket_under_anothers_name_is_refused(folder: ArmFolder) -> None:
    write_bracket(folder, FULL)
    folder.bracket_file(1).rename(folder.bracket_file(4))
    with pytest.raises(InputError, match=r"0004\.json: damaged: it holds bracket 1"):
        read_brackets(folder, ARM)


def test_a_damaged_bracket_is_set_aside_and_the_others_are_read(folder: ArmFolder) -> None:
    for bracket in (FULL, REST):
        write_bracket(folder, bracket)
    assert set_aside_damaged_brackets(folder, ARM) == ()
    whole = folder.bracket_file(1).read_bytes()
    folder.bracket_file(1).write_bytes(whole[:-1])
    aside = folder.brackets / "0001.json.damaged"
    assert set_aside_damaged_brackets(folder, ARM) == (aside,)
    assert aside.read_bytes() == whole[:-1]
    assert read_brackets(folder, ARM) == {2: REST}


def test_a_bracket_of_another_arm_is_set_aside_where_others_are_of_this_one(folder: ArmFolder) -> None:
    own, foreign = replace(FULL, arm_sha256=arm_sha256(ARM)), replace(REST, arm_sha256="0" * 64)
    write_bracket(folder, own)
    write_bracket(folder, foreign)
    with pytest.raises(InputError, match=r"0002\.json: damaged: it belongs to another arm.*grownn resume"):
        read_brackets(folder, ARM)
    assert set_aside_damaged_brackets(folder, ARM) == (folder.brackets / "0002.json.damaged",)
    assert read_brackets(folder, ARM) == {1: own}


def test_where_all_brackets_are_another_arms_none_is_set_aside(folder: ArmFolder) -> None:
    write_bracket(folder, replace(FULL, arm_sha256="0" * 64))
    folder.bracket_file(2).write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"0001\.json: it belongs to another arm.*put back the study file"):
        set_aside_damaged_brackets(folder, ARM)
    assert sorted(path.name for path in folder.brackets.iterdir()) == ["0001.json", "0002.json"]


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_stands_in_a_brackets_place_is_set_aside(folder: ArmFolder, kind: str) -> None:
    path = folder.bracket_file(1)
    path.parent.mkdir(parents=True)
    path.symlink_to("/nowhere") if kind == "link" else path.mkdir()
    with pytest.raises(InputError, match=f"0001.json: damaged: is a .*{kind}"):
        read_brackets(folder, ARM)
    assert set_aside_damaged_brackets(folder, ARM) == (folder.brackets / "0001.json.damaged",)
    assert read_brackets(folder, ARM) == {}


def test_sweeping_removes_temporaries_alone(folder: ArmFolder) -> None:
    create_arm(folder, load_study("ant").arms[0], {})
    write_bracket(folder, FULL)
    kept = set(folder.root.rglob("*"))
    for parent in (folder.root, folder.brackets):
        (parent / f"study.yaml.0123abcd{TEMPORARY}").touch()
    sweep_temporaries(folder)
    assert set(folder.root.rglob("*")) == kept


def test_the_arm_as_created_is_kept_apart_from_the_environment(folder: ArmFolder) -> None:
    arm = load_study("ant").arms[0]
    create_arm(folder, arm, {"python": "3.11.7"})
    record_arm(folder, arm.model_copy(update={"seed": arm.seed + 1}))
    assert created_arm(folder) == arm
    assert read_arm(folder).seed == arm.seed + 1
    for content in ('{"python": "3.11.7"}', '{"arm": 5}', "{", "[]"):
        folder.environment_file.write_text(content)
        assert created_arm(folder) is None
