"""Cluster profiles: those that come with the program, what is refused and how, and that no value leaves its place."""

# ruff: noqa: E501  (the rows of the table below are read as rows)

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spec_samples import plain

from grownn_hpo.dispatch.driver_job import driver_script
from grownn_hpo.errors import InputError
from grownn_hpo.spec.cluster import (
    Allocation,
    ClusterProfile,
    Jobs,
    LocalProfile,
    SlurmProfile,
    load_profile,
    seconds_of,
)
from grownn_hpo.spec.document import render

BUNDLED = Path(__file__).parents[2] / "cluster"

Load = Callable[[dict[str, Any]], ClusterProfile]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """The profile that a mapping makes, through a file called site.yaml."""
    folder = tmp_path_factory.mktemp("profiles")

    def from_file(raw: dict[str, Any]) -> ClusterProfile:
        path = folder / "site.yaml"
        path.write_text(render(raw))
        return load_profile(path)

    return from_file


def test_bundled_profiles_are_the_defaults_but_for_what_they_are_about() -> None:
    assert {path.name for path in BUNDLED.glob("*.yaml")} == {"local.yaml", "slurm.yaml", "slurm-gpu.yaml"}
    assert load_profile(BUNDLED / "local.yaml") == LocalProfile(kind="local")
    plain_slurm = load_profile(BUNDLED / "slurm.yaml")
    assert plain_slurm == SlurmProfile(kind="slurm")
    gpu = load_profile(BUNDLED / "slurm-gpu.yaml")
    assert isinstance(gpu, SlurmProfile)
    assert (gpu.gpus, gpu.segments, gpu.slots) == (1, 4, 16)
    assert gpu.driver == SlurmProfile(kind="slurm").driver  # the driver needs no GPU


def test_every_field_is_set_and_explained_where_it_stands() -> None:
    lines = (BUNDLED / "slurm.yaml").read_text().splitlines()
    top = {match[1]: i for i, line in enumerate(lines) if (match := re.match(r"([a-z_]+):", line))}
    assert set(top) == set(SlurmProfile.model_fields)
    for name, i in top.items():
        above = i > 0 and lines[i - 1].startswith("#")
        assert name == "kind" or above or "  # " in lines[i] or lines[i - 1].startswith("before:"), lines[i]
    inside = {match[1] for line in lines if (match := re.match(r"  ([a-z_]+):", line))}
    assert inside == set(Allocation.model_fields)
    assert all(name in lines[top["jobs"]] for name in Jobs.model_fields)
    gpu = (BUNDLED / "slurm-gpu.yaml").read_text()
    assert {m[1] for m in re.finditer(r"^([a-z_]+):", gpu, re.MULTILINE)} == set(SlurmProfile.model_fields)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:01:00", 60), ("1:00:00", 3600), ("2-00:00:00", 172_800), ("100:00:00", 360_000), ("1-02:03:04", 93_784)],
)
def test_walltimes(load: Load, text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds
    profile = load({"kind": "slurm", "walltime": text, "driver": {"walltime": text}})
    assert isinstance(profile, SlurmProfile)
    assert (profile.walltime_seconds, profile.driver.walltime_seconds) == (seconds, seconds)


WORD = "must be one word of letters, digits and _.,:@+-"
LINE = "must be one line of text, not empty and without control characters"
FOLDER = "must be an absolute path; $VARIABLE or ${VARIABLE} may stand in it"
PROGRAM = "must be a program's absolute path, without ~ and $, or the name of one"
TIME = "must be a time as Slurm writes it, [days-]hours:minutes:seconds"
UNKNOWN = "is not a key of a cluster profile; "
OURS = "is not for a profile: this program sets it, or relies on its absence; leave it out"
# fmt: off
BAD: list[tuple[str, object, str, str, str]] = [
    # path in the mapping, value, key as told, value as told, rule
    ("kind", "pbs", "kind", "'pbs'", "must be one of slurm, local"),
    ("kind", None, "kind", "None", "must be one of slurm, local"),
    ("kind", ["slurm"], "kind", "['slurm']", "must be one of slurm, local"),
    # keys
    ("partion", "x", "partion", "'x'", f"{UNKNOWN}did you mean 'partition'?"),
    ("workers", 3, "workers", "3", f"{UNKNOWN}"),
    ("jobs/atleast", 3, "jobs.atleast", "3", f"{UNKNOWN}did you mean 'at_least'? known here: at_least, at_most"),
    ("driver/gpus", 1, "driver.gpus", "1", f"{UNKNOWN}known here: partition, account, walltime, cores, memory_gib, directives"),
    ("driver/kind", "slurm", "driver.kind", "'slurm'", UNKNOWN),
    # types
    ("partition", 5, "partition", "5", "must be text"),
    ("cores", "4", "cores", "'4'", "must be an integer, without quotes or a unit"),
    ("cores", 1.5, "cores", "1.5", "must be an integer"),
    ("cores", None, "cores", "None", "must be an integer"),
    ("memory_gib", "4G", "memory_gib", "'4G'", "must be a number, without quotes or a unit"),
    ("gpus", True, "gpus", "True", "must be an integer"),
    ("jobs", 10, "jobs", "10", "must be a mapping of keys to values"),
    ("jobs/at_most", None, "jobs.at_most", "None", "must be an integer"),
    ("driver", None, "driver", "None", "must be a mapping of keys to values"),
    ("driver", "01:00:00", "driver", "'01:00:00'", "must be a mapping of keys to values"),
    ("before", "module load python", "before", "'module load python'", "must be a list, as in"),
    ("before", [5], "before[0]", "5", "must be text"),
    ("directives", "--qos=x", "directives", "'--qos=x'", "must be a list, as in"),
    ("walltime", 30, "walltime", "30", TIME),
    # ranges
    ("cores", 0, "cores", "0", "must be at least 1"),
    ("memory_gib", 0, "memory_gib", "0", "must be greater than 0"),
    ("memory_gib", -1.5, "memory_gib", "-1.5", "must be greater than 0"),
    ("gpus", -1, "gpus", "-1", "must be at least 0"),
    ("segments", 0, "segments", "0", "must be at least 1"),
    ("jobs/at_least", 0, "jobs.at_least", "0", "must be at least 1"),
    ("driver/cores", 0, "driver.cores", "0", "must be at least 1"),
    # times
    *(("walltime", text, "walltime", repr(text), TIME) for text in
        ("4h", "30", "4:00", "00:00:00", "0-00:00:00", "01:60:00", "01:00:60", "-1:00:00", "1-2", "01:00:00\n", "UNLIMITED", "")),
    ("driver/walltime", "1 day", "driver.walltime", "'1 day'", TIME),
    # words of a script
    *(("partition", text, "partition", repr(text), WORD) for text in
        ("", "a b", "-x", "a;b", "a\nb", "$(id)", "`id`", "a'b", 'a"b', "a#b", "a/b", "a%j", "ä", "a\n")),
    ("account", "--qos=high", "account", "'--qos=high'", WORD),
    ("interface", "ib0 ib1", "interface", "'ib0 ib1'", WORD),
    ("driver/partition", "long;", "driver.partition", "'long;'", WORD),
    ("partition", "x" * 201, "partition", "'xxx", "must have at most 200 characters"),
    ("before", ["module load x\nrm -r y"], "before[0]", r"'module load x\nrm -r y'", LINE),
    ("before", ["ok", ""], "before[1]", "''", LINE),
    *(("python", text, "python", repr(text), PROGRAM) for text in
        ("", "~/venv/bin/python", "$HOME/venv/bin/python", "/home/$USER/python", "venv/bin/python", "./python", "/shared/venv/bin/", "python -u", "-m", "/a\nb")),
    *(("scratch", text, "scratch", repr(text)[:60], FOLDER) for text in
        ("", "scratch", "~/scratch", '/a"b', "/a`id`", "/$(id)", "$(id)", "/a\\", "/a$", "/${", "/${A", "${A", "/${A:-$(id)}", "/$((1))", "/a\nb", "/$'a'", "/$1")),
    # directives
    ("directives", ["#SBATCH --qos=x"], "directives[0]", "'#SBATCH --qos=x'", "must be an option of sbatch"),
    ("directives", ["--constraint=x", "qos=x"], "directives[1]", "'qos=x'", "must be an option of sbatch"),
    ("directives", [" "], "directives[0]", "' '", "must be an option of sbatch"),
    ("directives", ["-Jevil"], "directives[0]", "'-Jevil'", "must be an option of sbatch"),
    ("directives", ["--comment='x"], "directives[0]", '"--comment=\'x"', "has a quote that nothing ends"),
    ("directives", ["--comment=x\n#SBATCH --qos=x"], "directives[0]", r"'--comment=x\n#SBATCH --qos=x'", LINE),
    ("directives", ["--partition=x"], "directives[0]", "'--partition=x'", "is what `partition` is for: set that"),
    ("directives", ["-p x"], "directives[0]", "'-p x'", "is what `partition` is for"),
    ("directives", ["--mem-per-cpu=4G"], "directives[0]", "'--mem-per-cpu=4G'", "is what `memory_gib` is for"),
    ("directives", ["--gres=gpu:2"], "directives[0]", "'--gres=gpu:2'", "is what `gpus` is for"),
    ("directives", ["--time-min=1"], "directives[0]", "'--time-min=1'", "is what `walltime` is for"),
    ("directives", ["--output=x"], "directives[0]", "'--output=x'", OURS),
    ("directives", ["--requeue"], "directives[0]", "'--requeue'", OURS),
    ("directives", ["-W"], "directives[0]", "'-W'", OURS),
    ("directives", ["--sign=B:TERM@1"], "directives[0]", "'--sign=B:TERM@1'", "sbatch may take --sign for --signal: write the option's name in full"),
    ("directives", ["--constraint=x --output=y"], "directives[0]", "'--constraint=x --output=y'", "must be one option: write another as another item"),
    ("directives", ["-C x -o y"], "directives[0]", "'-C x -o y'", "must be one option"),
    ("directives", ["--exclusive -o"], "directives[0]", "'--exclusive -o'", "must be one option"),
    ("driver/directives", ["--signal=x"], "driver.directives[0]", "'--signal=x'", OURS),
    # across keys
    ("segments", 2, "cores", "1", "each of a job's 2 segments trains on a core of its own: must be at least that many"),
    ("jobs", {"at_least": 5, "at_most": 2}, "jobs.at_least", "5", "must be at most jobs.at_most, 2"),
    ("jobs", {"at_least": 11}, "jobs.at_least", "11", "must be at most jobs.at_most, 10"),
    ("gpus", 2, "segments", "1", "must be a multiple of gpus (2), so that the segments of a job share its GPUs evenly"),
]
# fmt: on


@pytest.mark.parametrize(("path", "value", "key", "told", "rule"), BAD)
def test_bad_values(load: Load, path: str, value: object, key: str, told: str, rule: str) -> None:
    raw: dict[str, Any] = {"kind": "slurm"}
    *parents, last = path.split("/")
    node = raw
    for part in parents:
        node = node.setdefault(part, {})
    node[last] = value
    with pytest.raises(InputError) as refused:
        load(raw)
    assert refused.value.exit_code == 2
    (line,) = [str(fault) for fault in refused.value.faults]
    assert f"/site.yaml: {key} = {told}" in line
    assert rule in line


def test_local_profiles(load: Load) -> None:
    for raw, told in (({"workers": 0}, "workers = 0: must be at least 1"), ({"cores": 2}, "known here: kind, workers")):
        with pytest.raises(InputError, match=told):
            load({"kind": "local", **raw})
    assert load({"kind": "local", "workers": 3}) == LocalProfile(kind="local", workers=3)


def test_every_fault_is_told_at_once(load: Load) -> None:
    with pytest.raises(InputError) as refused:
        load({"kind": "slurm", "cores": 0, "extra": 1, "jobs": {"at_least": 0}, "driver": {"walltime": "x"}})
    assert {fault.key for fault in refused.value.faults} == {"cores", "extra", "jobs.at_least", "driver.walltime"}


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        load_profile(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- kind: slurm")
    with pytest.raises(InputError, match="must hold a mapping"):
        load_profile(tmp_path / "list.yaml")


@pytest.mark.parametrize(
    "directive",
    [
        *("--constraint=icelake", "-C icelake", '--constraint="a|b"', "--qos high", "--comment='two words'"),
        *("--exclusive", "--export=NONE", "--nodelist=n[1-2]", "--gres-flags=disable-binding", "--wait-all-nodes=1"),
    ],
)
def test_good_directives(load: Load, directive: str) -> None:
    profile = load({"kind": "slurm", "directives": [directive], "driver": {"directives": [directive]}})
    assert isinstance(profile, SlurmProfile)
    assert profile.directives == profile.driver.directives == (directive,)


def outcome(load: Load, raw: dict[str, Any]) -> ClusterProfile | InputError:
    """The profile, or the input error; any other error is a defect and comes through."""
    try:
        return load(raw)
    except InputError as error:
        return error


odd = plain | st.sampled_from(["slurm", "local", "01:00:00", "a\nb", "--qos=x", [], {}, [[]], {"at_least": []}, 2**62])
keys = st.sampled_from([*SlurmProfile.model_fields, *Jobs.model_fields, "workers", "", "driver.cores", "0"])


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(keys, odd | st.dictionaries(keys, odd, max_size=3), max_size=5), st.sampled_from(["slurm", "local"])
)
def test_no_profile_gives_anything_but_a_profile_or_an_input_error(load: Load, raw: dict[str, Any], kind: str) -> None:
    found = outcome(load, {"kind": kind} | raw)
    assert isinstance(found, SlurmProfile | LocalProfile) or "site.yaml" in str(found)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_no_text_gives_anything_but_a_profile_or_an_input_error(load: Load, text: str) -> None:
    for key, value in {
        **dict.fromkeys(("partition", "account", "interface", "python", "scratch", "walltime"), text),
        "before": [text],
        "directives": [f"--comment={text}"],
        "driver": {"directives": [text]},
    }.items():
        found = outcome(load, {"kind": "slurm", key: value})
        assert isinstance(found, SlurmProfile) or f"site.yaml: {key}" in str(found)


shellish = st.text(
    st.sampled_from('ab/$"\'`\\(){};&|<>#!*?~%= -\n\t{A}_$"') | st.characters(codec="utf-8"), max_size=12
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["partition", "account", "directive", "python"]), shellish)
def test_no_value_leaves_its_place_in_the_drivers_script(load: Load, field: str, text: str) -> None:
    """One word of the command, or one #SBATCH line: then neither a shell nor Slurm takes it for more."""
    text = f"/{text}" if field == "python" else f"--comment={text}" if field == "directive" else text
    driver: dict[str, Any] = {"directives": [text]} if field == "directive" else {field: text}
    profile = outcome(load, {"kind": "slurm", **({"python": text} if field == "python" else {"driver": driver})})
    if not isinstance(profile, SlurmProfile):
        return
    command = [profile.python or "python", "-m", "grownn_hpo"]
    script = driver_script(profile, "name", Path("/results/study"), Path("/home"), command)
    least = driver_script(SlurmProfile(kind="slurm"), "name", Path("/results/study"), Path("/home"), ["python"])
    line = (
        f"{shlex.join(command)} &"
        if field == "python"
        else f"#SBATCH {'' if field == 'directive' else f'--{field}='}{text}"
    )
    assert script.split("\n").count(line) == 1
    assert len(script.split("\n")) == len(least.split("\n")) + (field != "python")
    if field == "python":
        assert shlex.split(line.removesuffix(" &")) == command


@settings(max_examples=60, deadline=None)
@given(shellish)
def test_scratch_cannot_end_its_quotes(load: Load, text: str) -> None:
    profile = outcome(load, {"kind": "slurm", "scratch": f"/{text}"})
    if not isinstance(profile, SlurmProfile):
        return
    done = subprocess.run(
        ["bash", "-c", f'scratch="{profile.scratch}"\nprintf "%s" "$scratch"'],
        env={"A": "variable", "_": ""},
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    assert done.stdout.startswith(b"/")
    if "$" not in text:
        assert done.stdout == f"/{text}".encode()
