"""Anything as a study file, search space, cluster profile or incumbent: a valid one's meaning, or a message and exit 2.

What is accepted must do what it says: a space gives configurations that PPO takes, a job script is made, an arm is
recorded and read again as the same.
"""

from __future__ import annotations

import copy
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from damage import STRANGE, changed_bytes, mutated
from fuzz_arm import SPACE, arm_of
from fuzz_program import Ended, bounded, run, snapshot
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from grownn_hpo.errors import InputError
from grownn_hpo.report.incumbent_file import read_incumbent
from grownn_hpo.search.ladder import Ladder, plan, rung_progress
from grownn_hpo.search.space import check_space, read_space, to_plain
from grownn_hpo.spec import configured, legs_of
from grownn_hpo.spec.cluster import SlurmProfile, load_profile
from grownn_hpo.spec.document import RECORDED, parse, render
from grownn_hpo.spec.study import arm_document, load_study, resolve

SHORT = settings(
    max_examples=100,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
LONG = settings(SHORT, max_examples=2000, derandomize=False)

STUDY: dict[str, Any] = {
    "name": "fuzzed",
    "seed": 0,
    "seeds": [0, 1],
    "device": "cpu",
    "boundary_env_steps": 256,
    "task": {"env": "CartPole-v1", "envs": 4, "kwargs": {}},
    "evaluation": {"episodes": 2, "rounds": 2},
    "space": SPACE,
    "ppo": {"n_steps": 32, "batch_size": 64},
    "network": {"kind": "mlp", "width": 16},
    "search": {"trials": 6, "lookahead": 1},
    "limits": {"attempts": 2, "stalled_seconds": 60},
    "arms": {
        "grown": {
            "rungs": [
                {"env_steps": 512, "depth": 1, "configurations": 3},
                {"env_steps": 512, "depth": 2, "configurations": 2},
            ]
        },
        "static": {"search": {"trials": 2}, "rungs": [{"env_steps": 1024, "depth": 2, "configurations": 1}]},
    },
}
PROFILE: dict[str, Any] = {
    "kind": "slurm",
    "partition": "batch",
    "walltime": "01:00:00",
    "cores": 2,
    "memory_gib": 4.0,
    "segments": 2,
    "jobs": {"at_least": 1, "at_most": 4},
    "before": ["module load python"],
    "directives": ["--constraint=icelake"],
    "scratch": "$TMPDIR/grownn",
    "driver": {"walltime": "1-00:00:00"},
}
RICH_SPACE: dict[str, Any] = {
    "hyperparameters": [
        *SPACE["hyperparameters"],
        {"name": "gamma", "type": "ordinal", "sequence": [0.9, 0.99, 0.999], "default_value": 0.99},
        {"name": "batch_size", "type": "constant", "value": 64},
        {"name": "n_steps", "type": "normal_int", "mu": 32, "sigma": 4, "lower": 32, "upper": 64},
        {"name": "ent_coef", "type": "beta_float", "alpha": 2.0, "beta": 3.0, "lower": 0.0, "upper": 0.1},
    ],
    "conditions": [{"type": "EQ", "child": "gamma", "parent": "normalize_advantage", "value": True}],
    "forbiddens": [{"type": "EQUALS", "name": "n_epochs", "value": 7}],
}
INCUMBENT: dict[str, Any] = {
    "format": 1,
    "config": 4,
    "rung": 2,
    "configuration": {"learning_rate": 0.001, "n_epochs": 2, "normalize_advantage": True},
    "promised": {"mean_return": 100.0, "success_rate": None, "seeds": [0, 1], "env_steps": 1024},
    "checkpoints": [{"seed": 0, "rung": 1, "sha256": "a" * 64}],
    "environment": {"python": "3.11.7"},
    "study": parse(arm_document(arm_of(0)), "study"),
}
BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(f"{y}: &{y} [{','.join(['*' + x] * 9)}]\n" for x, y in zip("abcdefgh", "bcdefghi", strict=True))  # fmt: skip  # noqa: E501
MERGED = "a: &a {k: 1, l: 2}\n" + "".join(f"{y}: &{y} {{<<: [{','.join(['*' + x] * 9)}]}}\n" for x, y in zip("abcdefghijkl", "bcdefghijklm", strict=True))  # fmt: skip  # noqa: E501
TEXTS = [
    BOMB,
    MERGED,
    "[" * 100_000,
    "a: &a [*a]",
    "a: !!python/object:os.system []",
    "\ufeffa: 1",
    "a: \x1b[2J",
    "? " * 9999,
]


def written(value: Any) -> str:
    """`value` as YAML, whatever it holds; NaN, integers of any size and keys that are no text included."""
    stream = io.StringIO()
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.allow_unicode = False
    yaml.dump(value, stream)
    return stream.getvalue()


@st.composite
def documents(draw: st.DrawFn, valid: Any) -> bytes:
    """A YAML file: a valid one mutated, one with changed bytes, or a trap."""
    match draw(st.integers(0, 9)):
        case 0:
            return draw(st.sampled_from(TEXTS)).encode()
        case 1 | 2:
            return draw(changed_bytes(written(valid).encode()))
        case _:
            return written(draw(mutated(valid))).encode()


@contextmanager
def folder_with(name: str, content: bytes) -> Iterator[Path]:
    """A folder to work in that holds one file; nothing else may appear there."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        os.chdir(folder)
        try:
            there = snapshot(Path(folder))
            yield path
            assert snapshot(Path(folder)) == there
        finally:
            os.chdir(before)


def accepted(read: Callable[[], Any], file: str) -> Any:
    """What `read` returns; None for an InputError that names the file. Any other error comes through."""
    with bounded():
        try:
            return read()
        except InputError as error:
            told = str(error)
    assert re.match(rf"{re.escape(file)}(:| = )", told), told
    return None


def refused_or_done(ended: Ended) -> Ended:
    assert ended.code in (0, 2), ended
    if ended.code:
        assert ended.err.startswith("grownn: "), ended.err
        assert all(c.isprintable() or c == "\n" for c in ended.err), ended.err
    return ended


def fuzz_study(content: bytes) -> None:
    with folder_with("study.yaml", content) as path:
        study = accepted(lambda: load_study(str(path)), str(path))
        if study is None:
            return
        with bounded():
            for arm in study.arms:
                assert resolve(parse(arm_document(arm), "f", RECORDED), "f") == (arm,)  # type: ignore[arg-type]
                if arm.search.lookahead != "auto":
                    ladder = Ladder.of(arm)
                    assert plan(ladder, {}, {}).suggest == 1
                    assert sum(row.slots for row in rung_progress(ladder, {}, {})) == arm.search.trials
                for rung in range(1, len(arm.rungs) + 1):
                    assert sum(legs_of(arm, rung, {})) == arm.rungs[rung - 1].env_steps


def fuzz_submit(content: bytes) -> None:
    """The whole way of a study file through a command that writes nothing."""
    with folder_with("study.yaml", content) as path, tempfile.TemporaryDirectory() as beside:
        profile = Path(beside) / "site.yaml"
        profile.write_text(render(PROFILE))
        refused_or_done(run("submit", path, "--cluster", profile, "--dry-run"))


def fuzz_space(value: Any) -> None:
    arm = arm_of(0)

    def checked() -> Any:
        mapping = parse(written(value), "f")
        if not isinstance(mapping, dict):
            return None
        check_space(mapping, arm.ppo, arm.ppo.n_steps * arm.task.envs, "f")
        return read_space(mapping, "f")

    space = accepted(checked, "f")
    if space is None:
        return
    with bounded():
        for configuration in space.sample_configuration(3) if len(space) else ():
            settings = configured(arm.ppo, to_plain(configuration))
            assert settings.batch_size <= settings.n_steps * arm.task.envs


def fuzz_profile(content: bytes) -> None:
    with folder_with("site.yaml", content) as path:
        profile = accepted(lambda: load_profile(path), str(path))
        if isinstance(profile, SlurmProfile):
            ended = refused_or_done(run("submit", "cartpole", "--cluster", path, "--dry-run"))
            assert ended.code or ended.out.startswith("#!")


def fuzz_incumbent(content: bytes) -> None:
    with folder_with("incumbent.yaml", content) as path:
        found = accepted(lambda: read_incumbent(path), str(path))
        if found is not None:
            assert 1 <= found.rung <= len(found.arm.rungs)
            settings = configured(found.arm.ppo, found.configuration)
            assert to_plain_names(found.arm.space) >= set(found.configuration)
            assert settings.n_epochs >= 1
        ended = refused_or_done(run("evaluate", path, "--seeds", "none"))
        assert ended.code == 2


def to_plain_names(space: Any) -> set[str]:
    return {entry["name"] for entry in space["hyperparameters"]}


@SHORT
@given(documents(STUDY))
@example(BOMB.encode())
@example(MERGED.encode())
@example(render({**STUDY, "space": "/etc/passwd"}).encode())
@example(render({**STUDY, "search": {"trials": 10**6, "lookahead": 1}}).encode())
def test_study_files(content: bytes) -> None:
    fuzz_study(content)


@settings(SHORT, max_examples=30)
@given(documents(STUDY))
def test_studies_through_a_command(content: bytes) -> None:
    fuzz_submit(content)


@SHORT
@example({**RICH_SPACE, "forbiddens": [{"type": "EQUALS", "name": "n_epochs", "value": [[7]]}]})
@given(st.one_of(mutated(SPACE), mutated(RICH_SPACE)))
def test_search_spaces(mapping: Any) -> None:
    fuzz_space(mapping)


@SHORT
@given(documents(PROFILE))
def test_cluster_profiles(content: bytes) -> None:
    fuzz_profile(content)


@settings(SHORT, max_examples=60)
@given(documents(INCUMBENT))
def test_incumbents(content: bytes) -> None:
    fuzz_incumbent(content)


@pytest.mark.parametrize("kind", sorted(STRANGE))
@pytest.mark.parametrize("what", ["study", "profile", "incumbent", "space"])
def test_anything_in_a_files_place(tmp_path: Path, what: str, kind: str) -> None:
    study = copy.deepcopy(STUDY) | ({"space": "space.yaml"} if what == "space" else {})
    files = {"study": study, "profile": PROFILE, "incumbent": INCUMBENT, "space": SPACE}
    for name, content in files.items():
        (tmp_path / f"{name}.yaml").write_text(render(content))
    (tmp_path / "outside").mkdir()
    STRANGE[kind](tmp_path / f"{what}.yaml", tmp_path / "outside")
    before = snapshot(tmp_path)
    if what == "incumbent":
        ended = run("evaluate", tmp_path / "incumbent.yaml", "--seeds", "none")
    else:
        results = tmp_path / "results"
        words = ("--cluster", tmp_path / "profile.yaml", "--results", results, "--dry-run")
        ended = run("submit", tmp_path / "study.yaml", *words)
    assert ended.code == (2 if kind != "link outside" or what == "incumbent" else 0), ended
    assert snapshot(tmp_path) == before


@pytest.mark.slow
@pytest.mark.timeout(3600)
@LONG
@given(documents(STUDY))
def test_study_files_at_length(content: bytes) -> None:
    fuzz_study(content)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(LONG, max_examples=500)
@given(documents(STUDY))
def test_studies_through_a_command_at_length(content: bytes) -> None:
    fuzz_submit(content)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@LONG
@given(st.one_of(mutated(SPACE), mutated(RICH_SPACE)))
def test_search_spaces_at_length(mapping: Any) -> None:
    fuzz_space(mapping)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@LONG
@given(documents(PROFILE))
def test_cluster_profiles_at_length(content: bytes) -> None:
    fuzz_profile(content)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@LONG
@given(documents(INCUMBENT))
def test_incumbents_at_length(content: bytes) -> None:
    fuzz_incumbent(content)
