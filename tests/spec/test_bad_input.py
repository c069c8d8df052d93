"""Bad input: the key as it stands in the file, the value, the rule. InputError and nothing else, whatever is written."""

# ruff: noqa: E501  (the rows of the table below are read as rows)

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spec_samples import SMALL, plain, small

from grownn_hpo.errors import InputError
from grownn_hpo.spec.document import parse, render
from grownn_hpo.spec.study import Study, load_study, resolve

GONE = object()


def broken(path: str, value: object) -> dict[str, Any]:
    """The small study with `value` at a dotted path, or with that key gone."""
    raw = small()
    node: Any = raw
    *parents, last = [int(p) if p.isdecimal() else p for p in path.split("/")]
    for part in parents:
        node = node[part] if isinstance(part, int) else node.setdefault(part, {})
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    return raw


RUNGS = "arms/grown/rungs"
NAME_RULE = "must be a plain name of at most 64 letters"
UNKNOWN = "is not a key of a study file"
# fmt: off
BAD: list[tuple[str, object, str, str, str]] = [
    # path in the mapping, value, key as told, value as told, rule
    ("sed", 1, "sed", "1", f"{UNKNOWN}; did you mean 'seed'?"),
    ("rungs", [], "rungs", "[]", UNKNOWN),
    ("study", "x", "study", "'x'", UNKNOWN),
    ("task/environment", "x", "task.environment", "'x'", UNKNOWN),
    ("evaluation/episode", 3, "evaluation.episode", "3", "did you mean 'episodes'?"),
    ("ppo/learning_rat", 1e-3, "ppo.learning_rat", "0.001", "did you mean 'learning_rate'?"),
    ("network/depth", 3, "network.depth", "3", f"{UNKNOWN}; "),
    ("network/widht", 3, "network.widht", "3", "did you mean 'width'?"),
    ("growth/optimiser_state", "carry", "growth.optimiser_state", "'carry'", "did you mean 'optimizer_state'?"),
    ("search/trails", 3, "search.trails", "3", "did you mean 'trials'?"),
    ("boundary_env_step", 3, "boundary_env_step", "3", "did you mean 'boundary_env_steps'?"),
    ("arms/grown/boundary_env_steps", 3, "arms.grown.boundary_env_steps", "3", UNKNOWN),
    ("boundary_env_steps", 0, "boundary_env_steps", "0", "must be at least 1"),
    ("boundary_env_steps", 1e5, "boundary_env_steps", "100000.0", "must be an integer"),
    ("limits/memory_gb", 3, "limits.memory_gb", "3", "did you mean 'memory_gib'?"),
    ("arms/grown/rung", [], "arms.grown.rung", "[]", "did you mean 'rungs'?"),
    ("arms/grown/task", {}, "arms.grown.task", "{}", UNKNOWN),
    ("arms/static/search/trails", 3, "arms.static.search.trails", "3", "did you mean 'trials'?"),
    (f"{RUNGS}/0/env_step", 8, "arms.grown.rungs[0].env_step", "8", "did you mean 'env_steps'?"),
    # types
    ("seed", "0", "seed", "'0'", "must be an integer, and this is text: write it without quotes"),
    ("seed", True, "seed", "True", "must be an integer"),
    ("seed", 1.0, "seed", "1.0", "must be an integer"),
    ("seed", None, "seed", "None", "must be an integer"),
    ("seed", [1], "seed", "[1]", "must be an integer"),
    ("seeds", 3, "seeds", "3", "must be a list"),
    ("seeds", {}, "seeds", "{}", "must be a list"),
    ("seeds", [0, "1"], "seeds[1]", "'1'", "must be an integer"),
    ("seeds", [], "seeds", "[]", "must have at least 1 item"),
    ("ppo/learning_rate", "1e-4", "ppo.learning_rate", "'1e-4'", "must be a number, and this is text: write it without quotes"),
    ("ppo/learning_rate", "fast", "ppo.learning_rate", "'fast'", "must be a number"),
    ("ppo/learning_rate", False, "ppo.learning_rate", "False", "must be a number"),
    ("ppo/normalize_advantage", "no", "ppo.normalize_advantage", "'no'", "must be true or false"),
    ("ppo/normalize_advantage", 1, "ppo.normalize_advantage", "1", "must be true or false"),
    ("task", "CartPole-v1", "task", "'CartPole-v1'", "must be a mapping of keys to values"),
    ("task/env", "", "task.env", "''", "must have at least 1 character"),
    ("task/env", 5, "task.env", "5", "must be text"),
    ("task/kwargs", [1], "task.kwargs", "[1]", "must be a mapping"),
    ("space", 5, "space", "5", "must be a mapping"),
    ("space", GONE, "space", "None", "must be a mapping"),
    ("space", "no-such", "space", "'no-such'", "neither a bundled search space"),
    ("space", "x" * 5000, "space", "'xxx", "neither a bundled search space"),
    ("network/kind", "cnn", "network.kind", "'cnn'", "must be 'mlp' or 'minihack-cnn'"),
    ("network/activation", "swish", "network.activation", "'swish'", "must be 'relu'"),
    ("network/heads", -1, "network.heads", "-1", "must be at least 0"),
    ("device", "gpu", "device", "'gpu'", "must be 'auto', 'cpu' or 'cuda'"),
    ("search", 5, "search", "5", "must be a mapping"),
    ("search/surrogate", "best", "search.surrogate", "'best'", "must be 'lowest'"),
    ("search/lookahead", 0, "search.lookahead", "0", "must be at least 1, or must be 'auto'"),
    ("search/lookahead", "soon", "search.lookahead", "'soon'", "must be an integer, or must be 'auto'"),
    ("arms/static/search", 5, "search", "5", "must be a mapping"),
    # ranges
    ("seed", -1, "seed", "-1", "must be at least 0"),
    ("seed", 2**53 + 1, "seed", str(2**53 + 1), f"must be at most {2**53}"),
    ("seeds", [0, -5], "seeds[1]", "-5", "must be at least 0"),
    ("task/envs", 0, "task.envs", "0", "must be at least 1"),
    ("evaluation/rounds", 0, "evaluation.rounds", "0", "must be at least 1"),
    ("ppo/gamma", 1.5, "ppo.gamma", "1.5", "must be at most 1"),
    ("ppo/learning_rate", 0.0, "ppo.learning_rate", "0.0", "must be greater than 0"),
    ("ppo/ent_coef", -0.1, "ppo.ent_coef", "-0.1", "must be at least 0"),
    ("search/trials", 0, "search.trials", "0", "must be at least 1"),
    ("arms/static/search/trials", 0, "arms.static.search.trials", "0", "must be at least 1"),
    ("limits/stalled_seconds", 0, "limits.stalled_seconds", "0", "must be greater than 0"),
    (f"{RUNGS}/0/env_steps", 0, "arms.grown.rungs[0].env_steps", "0", "must be at least 1"),
    (f"{RUNGS}/1/env_steps", -512, "arms.grown.rungs[1].env_steps", "-512", "must be at least 1"),
    (f"{RUNGS}/0/env_steps", 2**60, "arms.grown.rungs[0].env_steps", str(2**60), "must be at most"),
    (f"{RUNGS}/0/configurations", 0, "arms.grown.rungs[0].configurations", "0", "must be at least 1"),
    # across keys
    ("seeds", [0, 1, 0], "seeds", "[0, 1, 0]", "a seed may stand here only once"),
    (f"{RUNGS}/1/env_steps", 511, "arms.grown.rungs[1].env_steps", "511", "a multiple of task.envs (4), so that env steps are counted exactly; the nearest is 512"),
    (f"{RUNGS}/0/env_steps", 1, "arms.grown.rungs[0].env_steps", "1", "the nearest is 4"),
    (f"{RUNGS}/0/depth", 3, "arms.grown.rungs[1].depth", "2", "a network may not shrink: must be at least 3"),
    (f"{RUNGS}/1/configurations", 4, "arms.grown.rungs[1].configurations", "4", "cannot promote more configurations than it has: must be at most 3"),
    ("network/activation", "tanh", "network.activation", "'tanh'", "idempotent activation, f(f(x)) = f(x): use one of relu, hardtanh"),
    ("arms/grown/network", {"activation": "gelu"}, "arms.grown.network.activation", "'gelu'", "idempotent"),
    ("ppo/batch_size", 129, "ppo.batch_size", "129", "larger than a rollout, ppo.n_steps x task.envs = 128"),
    # missing
    ("seed", GONE, "seed", "None", "is missing and has no default: add it"),
    ("seeds", GONE, "seeds", "None", "is missing"),
    ("task", GONE, "task", "None", "is missing"),
    ("task/env", GONE, "task.env", "None", "is missing"),
    ("network", GONE, "network", "None", "is missing"),
    ("network/kind", GONE, "network.kind", "None", "is missing"),
    ("search/trials", GONE, "search.trials", "None", "is missing"),
    (f"{RUNGS}/0/depth", GONE, "arms.grown.rungs[0].depth", "None", "is missing"),
    (RUNGS, GONE, "arms.grown.rungs", "None", "is missing"),
    (RUNGS, [], "arms.grown.rungs", "[]", "must have at least 1 item"),
    (RUNGS, {}, "arms.grown.rungs", "{}", "must be a list"),
    (f"{RUNGS}/0", 5, "arms.grown.rungs[0]", "5", "must be a mapping"),
    ("arms", GONE, "arms", "None", "must name at least one arm"),
    ("arms", {}, "arms", "{}", "must name at least one arm"),
    ("arms", ["grown"], "arms", "['grown']", "must name at least one arm"),
    ("arms/grown", None, "arms.grown", "None", "must be a mapping that holds at least `rungs`"),
    ("arms/grown", [], "arms.grown", "[]", "must be a mapping that holds at least `rungs`"),
    # names that are folders
    ("name", GONE, "name", "None", NAME_RULE),
    ("name", 5, "name", "5", NAME_RULE),
    *(("name", name, "name", repr(name)[:60], NAME_RULE) for name in (
        "../../x", "a/b", ".hidden", "a..b", "..", ".", "", "a" * 65, "a\n", "\na", "a b", "a.", "-a", "_a", "a\\b", "ä", "a\0")),
    ("arms/..", {"rungs": SMALL["arms"]["grown"]["rungs"]}, "arms", "'..'", NAME_RULE),
    ("arms/x\n", {"rungs": SMALL["arms"]["grown"]["rungs"]}, "arms", r"'x\n'", NAME_RULE),
]
# fmt: on


@pytest.mark.parametrize(("path", "value", "key", "told", "rule"), BAD)
def test_bad_values(path: str, value: object, key: str, told: str, rule: str) -> None:
    with pytest.raises(InputError) as refused:
        resolve(broken(path, value), "study.yaml")
    assert refused.value.exit_code == 2
    lines = [str(fault) for fault in refused.value.faults]
    mine = [line for line in lines if line.startswith(f"study.yaml: {key} = {told}")]
    assert len(mine) == 1, lines  # once, although two arms share it
    assert rule in mine[0]


def test_every_fault_is_told_at_once() -> None:
    raw = broken("seed", -1)
    raw["ppo"]["gamma"] = 2
    raw["arms"]["static"]["rungs"][0]["depth"] = 0
    raw["extra"] = 1
    with pytest.raises(InputError) as refused:
        resolve(raw, "f")
    assert {fault.key for fault in refused.value.faults} == {"seed", "ppo.gamma", "arms.static.rungs[0].depth", "extra"}


def test_terms_that_every_arm_lays_something_over_are_not_hidden() -> None:
    raw = broken("search", 5)
    for arm in raw["arms"].values():
        arm["search"] = {"trials": 3}
    with pytest.raises(InputError, match="f: search = 5: must be a mapping"):
        resolve(raw, "f")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a: 1\na: 2", r"only once \(line 2\)"),
        ("b:\n  a: 1\n  a: 2", r"only once \(line 3\)"),
        ("a: 2026-11-22", "is read as a date; put it in quotes"),
        ("a: 2026-11-22 10:00:00", "is read as a datetime; put it in quotes"),
        ("a: 2026-13-45", "not readable"),
        ("a: !!python/object/apply:os.system ['true']", "not readable"),
        ("a: !!python/name:os.system", "not readable"),
        ("a: !mine x", "not readable"),
        ("a: !!set {x}", "is read as a set"),
        ("a: !!binary aGk=", "is read as a bytes"),
        ("a: !!int x", "not readable"),
        ("a: !!bool x", "not readable"),
        ("a: !!float ''", "not readable"),
        ("1: x", "1 = 1: a key must be text"),
        ("b: {1.5: x}", r"b\.1\.5 = 1\.5: a key must be text"),
        ("~: x", "a key must be text"),
        ("true: x", "a key must be text"),
        ("2026-11-22: x", "a key must be text"),
        ("? [1]\n: x", "a key must be text"),
        ("? {a: 1}\n: x", "not readable"),
        ("a: .nan", "a = nan: must be a finite number"),
        ("a: [1, -.inf]", r"a\[1\] = -inf: must be a finite number"),
        ("a: 1e999", "finite"),
        ("a: " + "9" * 30, "64 bits"),
        ("a: " + "9" * 5000, "not readable"),
        ("a: 0x" + "f" * 5000, "64 bits"),
        ('a: "\\ud800"', "surrogate"),
        ('"\\ud800": 1', "surrogate"),
        ('a: "\\U99999999"', "not readable"),
        ("a: \x00", "not readable"),
        ("a: *nothing", "not readable"),
        ("a: &x 1\nb: &x 2", "not readable"),
        ("a: &a [*a]", "nested more than 32 deep"),
        ("[" * 40 + "]" * 40, "nested more than 32 deep"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a: 1\n---\nb: 1", "not readable"),
        ("%YAML 7.0\n---\na: 1", "not readable"),
        ("a: [", "not readable"),
        ("\tb: 1", "not readable"),
    ],
)
def test_bad_yaml(text: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule) as refused:
        parse(text, "f")
    assert str(refused.value).startswith("f: ")


def outcome(make: Callable[[], object]) -> object:
    """What `make` returns, or the InputError it raises; any other error is a defect and comes through."""
    try:
        return make()
    except InputError as error:
        return error


def check(raw: dict[str, Any]) -> None:
    """Either arms, as many as are there, or an input error that names the file."""
    found = outcome(lambda: resolve(raw, "f"))
    if isinstance(found, InputError):
        assert re.match(r"f(:| = )", str(found))
    else:
        assert isinstance(found, tuple)
        assert len(found) == len(raw["arms"])


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a mapping."""
    inside = list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ())
    found = [(*path, key) for key, _ in inside]
    return found + [place for key, item in inside for place in places(item, (*path, key))]


odd = plain | st.sampled_from(
    [2**62, -(2**63), 1e308, -1e308, 5e-324, "", "\n", "auto", {}, [], [[]], {"": {}}, "ppo-small"]
)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_mutation_of_a_study_gives_anything_but_an_input_error_or_a_study(data: st.DataObject) -> None:
    raw: dict[str, Any] = small()
    for _ in range(data.draw(st.integers(1, 3))):
        where = places(raw)
        if not where:
            break
        *parents, last = data.draw(st.sampled_from(where))
        node: Any = raw
        for part in parents:
            node = node[part]
        match data.draw(st.sampled_from(["drop", "retype", "nest", "wrap", "rename", "move"])):
            case "drop":
                del node[last]
            case "retype":
                node[last] = data.draw(odd)
            case "nest":
                node[last] = {data.draw(st.text(max_size=5)): node[last]}
            case "wrap":
                node[last] = [node[last]]
            case "rename" if isinstance(node, dict):
                node[data.draw(st.text(st.characters(codec="utf-8"), max_size=5))] = node.pop(last)
            case _:
                raw[data.draw(st.sampled_from([*SMALL, "growth", "limits"]))] = copy.deepcopy(node[last])
    check(raw)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_change_of_a_study_files_text_gives_anything_but_an_input_error_or_a_study(data: st.DataObject) -> None:
    text = render(SMALL)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        piece = data.draw(st.sampled_from(["\t", ": ", "- ", "{", "}", "[", "]", "&a ", "*a", "!!", "!!int ", "'", '"', "|", ">",
                                           "#", "%", "@", "\n", "\n---\n", "1e", ".", "<<: ", "? ", "\0", "~", "0x", "\ud800"]) | st.text(max_size=4))  # fmt: skip
        text = text[:at] + piece + text[at + data.draw(st.integers(0, 8)) :]
    raw = outcome(lambda: parse(text, "f"))
    if isinstance(raw, InputError):
        assert str(raw).startswith("f: ")
    elif isinstance(raw, dict):
        check(raw)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode(errors="surrogatepass")))
def test_no_bytes_in_a_file_give_anything_but_an_input_error_or_a_study(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_bytes(content)
        found = outcome(lambda: load_study(str(path)))
        assert isinstance(found, Study) or str(path) in str(found)


@settings(max_examples=300, deadline=None)
@given(st.from_regex(r"[a-z.\[\]*0-9=]{0,30}", fullmatch=True) | st.text(max_size=30) | st.builds(
    "{}={}".format, st.sampled_from(["arms.*.rungs.*.depth", "seeds[0]", "task", "arms.*", "*", "*.*", "space", "name"]), odd))  # fmt: skip
def test_no_override_gives_anything_but_an_input_error_or_a_study(override: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_text(render(SMALL))
        assert isinstance(outcome(lambda: load_study(str(path), [override])), Study | InputError)


def test_a_map_of_characters_is_not_normalised() -> None:
    raw = small()
    raw["network"]["kind"] = "minihack-cnn"
    raw["ppo"]["normalize_observations"] = True
    with pytest.raises(InputError, match=r"ppo\.normalize_observations = True: .*must be false for minihack-cnn"):
        resolve(raw, "x.yaml")
