"""Study files: what is written reads back equal, overrides do what they say, differences name what differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spec_samples import SMALL, arms, plain, small

from grownn_hpo.errors import InputError
from grownn_hpo.spec import Arm, Evaluation, Growth, Limits, PPOSettings, Search
from grownn_hpo.spec.document import parse, read, render
from grownn_hpo.spec.study import arm_document, bundled_studies, differences, load_study, resolve


def again(arm: Arm) -> tuple[Arm, ...]:
    content = parse(arm_document(arm), "recorded")
    assert isinstance(content, dict)
    return resolve(content, "recorded")


@pytest.fixture
def study(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(render(SMALL))
    return str(path)


@pytest.mark.parametrize("name", bundled_studies())
def test_every_bundled_study_loads_and_its_arms_are_recorded_as_they_are(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    for arm in study.arms:
        assert again(arm) == (arm,)
        assert arm.env_steps == study.arms[0].env_steps  # growth is compared at equal env steps
        assert arm.env_steps_before(len(arm.rungs) + 1) == arm.env_steps


@settings(max_examples=150, deadline=None)
@given(arms())
def test_an_arm_recorded_and_read_is_the_same(arm: Arm) -> None:
    (read_back,) = again(arm)
    assert read_back == arm
    assert repr(read_back) == repr(arm)  # 1 == 1.0 == True, and -0.0 == 0.0
    assert differences(arm, read_back) == []
    assert Arm.model_validate_json(arm.model_dump_json()) == arm  # how a worker is given it


@settings(max_examples=150)
@given(plain)
def test_a_rendered_value_parses_to_itself(value: object) -> None:
    assert repr(parse(render(value), "f")) == repr(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1E5", 1e5), ("-1e-4", -1e-4), (".5", 0.5), ("no", "no"), ("off", "off"), ("y", "y"),
        ("true", True), ("null", None), ("", None), ("'1e-4'", "1e-4"), ('"no"', "no"), ("010", 10), ("1:30", "1:30"),
        ("[1, 1e-4]", [1, 1e-4]), ("{a: {b: [x]}}", {"a": {"b": ["x"]}}), ("ü", "ü"),
    ],
)  # fmt: skip
def test_scalars_are_read_as_people_mean_them(text: str, value: object) -> None:
    assert repr(parse(text, "f")) == repr(value)


def test_aliases_are_written_out(study: str) -> None:
    content = parse("a: &a {x: [1]}\nb: *a\nc: {<<: *a, y: 2}", "f")
    assert content == {"a": {"x": [1]}, "b": {"x": [1]}, "c": {"x": [1], "y": 2}}
    assert isinstance(content, dict)
    assert content["a"] is not content["b"]


def test_what_is_left_out_has_its_default() -> None:
    raw = small()
    del raw["evaluation"], raw["ppo"]
    raw["search"] = {"trials": 6}
    raw["arms"]["grown"]["rungs"][0]["env_steps"] = 2**20
    grown, static = resolve(raw, "f")
    assert (grown.evaluation, grown.ppo, grown.growth, grown.limits) == (
        Evaluation(),
        PPOSettings(),
        Growth(),
        Limits(),
    )
    assert grown.search == Search(trials=6, lookahead=1, surrogate="lowest", initial_design=10)
    assert (static.device, static.network.head_width, static.rungs[0].env) == ("auto", 16, None)


def test_an_arm_lays_its_own_over_the_common_terms() -> None:
    raw = small()
    raw["arms"]["static"] |= {"evaluation": {"rounds": 80}, "ppo": {"gamma": 0.5}, "network": {"width": 8}}
    raw["arms"]["static"] |= {"growth": {"optimizer_state": "reset"}, "limits": {"attempts": 1}}
    grown, static = resolve(raw, "f")
    assert (grown.search.trials, static.search.trials) == (6, 2)
    assert (static.evaluation.episodes, static.evaluation.rounds) == (2, 80)
    assert (static.ppo.gamma, static.ppo.n_steps, grown.ppo.gamma) == (0.5, 32, 0.99)
    assert (static.network.kind, static.network.width) == ("mlp", 8)
    assert (static.growth.optimizer_state, static.limits.attempts) == ("reset", 1)
    assert grown == resolve(small(), "f")[0]  # untouched by what another arm says


def test_a_non_idempotent_activation_is_fine_where_nothing_grows() -> None:
    raw = small()
    raw["network"]["activation"] = "tanh"
    del raw["arms"]["grown"]
    (static,) = resolve(raw, "f")
    assert static.network.activation == "tanh"


def test_values_are_frozen() -> None:
    arm = resolve(small(), "f")[0]
    with pytest.raises(ValueError, match="frozen"):
        arm.seed = 3  # type: ignore[misc]


def test_a_space_is_bundled_or_a_file_beside_the_study(study: str) -> None:
    beside = Path(study).with_name("mine.yaml")
    beside.write_text(render({"hyperparameters": []}))
    assert load_study(study, ["space=mine.yaml"]).arms[0].space == {"hyperparameters": []}
    paper = load_study(study, ["space=ppo-small"]).arms[0].space
    assert [h["name"] for h in paper["hyperparameters"]] == ["batch_size", "ent_coef", "learning_rate", "n_epochs"]  # type: ignore[union-attr, index, call-overload]
    with pytest.raises(InputError, match=r"'ppo-smal': .*ppo-quick, ppo-rooms, ppo-small.*beside the study file"):
        load_study(study, ["space=ppo-smal"])


def test_overrides(study: str) -> None:
    def arms_with(*overrides: str) -> dict[str, Arm]:
        return {arm.name: arm for arm in load_study(study, overrides).arms}

    assert {a.seed for a in arms_with("seed=7").values()} == {7}
    assert {a.ppo.learning_rate for a in arms_with("ppo.learning_rate=1e-4").values()} == {1e-4}
    assert arms_with("seeds=[5, 6]", "seeds[1]=9")["grown"].seeds == (5, 9)
    assert arms_with("arms.grown.rungs[1].depth=4")["grown"].rungs[1].depth == 4
    assert arms_with("arms.grown.rungs.1.depth=4") == arms_with("arms.grown.rungs[1].depth=4")
    assert arms_with("arms.static.search.trials=5")["static"].search.trials == 5
    assert arms_with("limits.attempts=1")["grown"].limits.attempts == 1  # a section that was not there
    assert arms_with("arms.grown.ppo.gamma=0.5")["grown"].ppo.gamma == 0.5
    every = arms_with("arms.*.rungs.*.env_steps=64")
    assert {rung.env_steps for arm in every.values() for rung in arm.rungs} == {64}
    assert arms_with("arms.*.rungs[0].env_steps=64")["grown"].rungs[1].env_steps == 512
    assert arms_with("network.heads=")["grown"].network.heads is None
    assert arms_with("task.kwargs={x: a=b}")["grown"].task.kwargs == {"x": "a=b"}
    assert arms_with(" seed =7")["grown"].seed == 7
    assert arms_with("seed=1", "seed=2")["grown"].seed == 2
    assert set(arms_with("arms.more={rungs: [{env_steps: 8, depth: 1, configurations: 1}]}")) == {
        "grown",
        "static",
        "more",
    }
    assert arms_with() == {arm.name: arm for arm in resolve(small(), study)}


def test_what_an_override_sets_in_many_places_is_not_shared(study: str) -> None:
    given = ["arms.*.search={trials: 3}", "arms.static.search.trials=5"]
    assert [arm.search.trials for arm in load_study(study, given).arms] == [3, 5]
    given = ["arms.grown.rungs.*={env_steps: 8, depth: 1, configurations: 1}", "arms.grown.rungs[1].depth=2"]
    assert [rung.depth for rung in load_study(study, given).arms[0].rungs] == [1, 2]


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("seed", "must read key=value"),
        ("=3", "must read key=value"),
        ("..=3", "must read key=value"),
        ("arms.grown.rungs[2].depth=1", "'2' must be the number of an item, 0 to 1, or *"),
        ("arms.grown.rungs[-1].depth=1", "'-1' must be the number of an item"),
        ("arms.grown.rungs.last.depth=1", "'last' must be the number of an item"),
        ("seed.x=1", "'x' names a key inside 0, which is not a mapping"),
        ("seed=[", "not readable as YAML"),
        ("seed={a: 1, a: 2}", "only once"),
        ("seed=.nan", "finite"),
        ("sed=1", "did you mean 'seed'?"),
        ("ppo.gama=1", "did you mean 'gamma'?"),
        ("seed=-1", "at least 0"),
    ],
)
def test_overrides_that_cannot_be(study: str, override: str, rule: str) -> None:
    with pytest.raises(InputError) as refused:
        load_study(study, [override])
    assert rule in str(refused.value)


def test_differences_name_key_recorded_and_given() -> None:
    recorded = resolve(small(), "f")[0]
    raw = small()
    raw["seeds"] = [0, 1, 2]
    raw["arms"]["grown"]["rungs"][1]["depth"] = 3
    raw["ppo"]["learning_rate"] = 1e-3
    raw["limits"] = {"memory_gib": 4.0}
    raw["space"]["hyperparameters"][0]["upper"] = 4.0
    assert differences(recorded, resolve(raw, "f")[0]) == [
        "space.hyperparameters[0].upper: recorded 4, given 4.0",
        "ppo.learning_rate: recorded 0.0003, given 0.001",
        "rungs[1].depth: recorded 2, given 3",
        "seeds[2]: recorded nothing, given 2",
    ]
    assert differences(recorded, recorded) == []


def test_automatic_lookahead_matches_whatever_it_was_resolved_to() -> None:
    raw = small()
    raw["search"]["lookahead"] = 7
    recorded = resolve(raw, "f")[0]
    raw["search"]["lookahead"] = "auto"
    automatic = resolve(raw, "f")[0]
    assert automatic.search.lookahead == "auto"
    assert differences(recorded, automatic) == []
    assert differences(automatic, recorded) == ["search.lookahead: recorded 'auto', given 7"]


@given(st.data())
def test_differences_see_every_change_of_keyword_arguments(data: st.DataObject) -> None:
    arm = resolve(small(), "f")[0]
    one, other = ({"k": data.draw(plain)} for _ in range(2))
    recorded, given = (arm.model_copy(update={"task": arm.task.model_copy(update={"kwargs": k})}) for k in (one, other))
    # Compared with keys in order: {a: 1, b: 2} and {b: 2, a: 1} are one mapping.
    spelled = [json.dumps(kwargs, sort_keys=True) for kwargs in (one, other)]
    assert bool(differences(recorded, given)) == (spelled[0] != spelled[1])


@pytest.mark.parametrize(
    ("one", "other"), [({"a.b": 1}, {"a": {"b": 1}}), ({"a": 1}, {"a": True}), ({"a": []}, {"a": {}})]
)
def test_what_python_or_a_path_could_confuse_differs(one: dict[str, object], other: dict[str, object]) -> None:
    arm = resolve(small(), "f")[0]
    recorded, given = (arm.model_copy(update={"space": space}) for space in (one, other))
    assert differences(recorded, given)


def test_files_that_are_none(tmp_path: Path) -> None:
    contents = {
        "latin": "name: ü".encode("latin-1"),
        "list": b"- a\n- b\n",
        "empty": b"",
        "text": b"just words",
        "null": b"null",
        "two": b"a: 1\n---\na: 2\n",
        "bom16": "name: x".encode("utf-16"),
        "deep": b"a: " + b"[" * 5000 + b"]" * 5000,
        "deeper": b"a: " + b"[" * 60 + b"]" * 60,
        "binary": bytes(range(256)),
        "bomb": b"a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + b"".join(
            f"{c}: &{c} [{', '.join([f'*{b}'] * 10)}]\n".encode() for b, c in zip("abcdefg", "bcdefgh", strict=True)
        ),
        "endless": b"a: &a [*a]\n",
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=str(path)) as refused:
            load_study(str(path))
        assert refused.value.exit_code == 2
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        load_study(str(tmp_path / "folder"))
    for source in ("", "missing.yaml", "x" * 5000, "a\0b"):
        with pytest.raises(InputError):
            load_study(source)
    with pytest.raises(InputError, match="there is no such file"):
        read(tmp_path / "missing.yaml")
    with pytest.raises(InputError, match=r"did you mean 'cartpole'\? bundled are: ant, ant-quick, cartpole"):
        load_study("cartpol")
