"""The fast updates, by hand and by kernels, against the plain formulation: autograd, and one-hot and convolution."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grownn_hpo.morphism import deepen
from grownn_hpo.ppo import Diverged, agent_state, new_agent
from grownn_hpo.ppo.adam import Descent, Trained
from grownn_hpo.ppo.map_by_hand import MapRows, _groups
from grownn_hpo.ppo.update import by_autograd, fastest, update
from grownn_hpo.spec import Characters, Continuous, Discrete, Network, PPOSettings, Spaces, Vector

ROWS, COLUMNS = 4, 6
ACTIVATIONS = ("relu", "hardtanh", "tanh", "gelu", "silu")


@dataclass(frozen=True)
class Case:
    """What is trained on, and how."""

    spaces: Spaces
    network: Network
    depth: int
    ppo: PPOSettings
    seed: int = 0
    dtype: torch.dtype = torch.float64

    def agent(self):
        agent = new_agent(self.network, self.depth, self.spaces, self.ppo, None, self.seed)
        agent.network.to(self.dtype)
        return agent

    def transitions(self, count: int, seed: int, varying: int = 9):
        """Of a policy near the untrained one; in maps the first so many cells (of 24, shuffled) vary."""
        draw, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
        if isinstance(self.spaces.observation, Vector):
            observations = torch.randn(count, self.spaces.observation.size, generator=draw).to(self.dtype)
        else:
            maps = np.tile(np.random.default_rng(7).integers(40, 43, (1, ROWS * COLUMNS)), (count, 1))
            cells = np.random.default_rng(9).permutation(ROWS * COLUMNS)[:varying]
            maps[:, cells] = rng.integers(40, 45, (count, varying))
            observations = torch.tensor(maps.reshape(count, ROWS, COLUMNS), dtype=torch.uint8)
        if isinstance(self.spaces.action, Discrete):
            actions = torch.randint(self.spaces.action.n, (count,), generator=draw)
            log_prob = -np.log(self.spaces.action.n)
        else:
            actions = torch.randn(count, len(self.spaces.action.low), generator=draw).to(self.dtype)
            log_prob = (-0.5 * actions.square() - 0.5 * np.log(2 * np.pi)).sum(1)
        noise, advantages, returns = torch.randn(3, count, generator=draw).to(self.dtype)
        return observations, actions, log_prob + 0.2 * noise, advantages, returns


def plainly(agent, batch, ppo, shuffle):
    """`by_autograd`, reading maps as one-hot and convolution."""
    features = agent.network.features
    if hasattr(features, "plain"):
        features.over = lambda observations: lambda indices: features.plain(observations[indices])
    losses = by_autograd(agent, *batch, ppo, shuffle)
    features.__dict__.pop("over", None)
    return losses


def fast_update(agent, batch, ppo, shuffle):
    run = fastest(agent)
    assert run is not by_autograd
    return run(agent, *batch, ppo, shuffle)


def both(case: Case, plain, fast, count: int, seed: int = 0, varying: int = 9):
    """The same update of two agents; the losses."""
    batch = case.transitions(count, seed, varying)
    losses = []
    for agent, run in ((plain, plainly), (fast, fast_update)):
        agent.optimizer.param_groups[0]["lr"] = case.ppo.learning_rate
        losses.append(run(agent, batch, case.ppo, torch.Generator().manual_seed(seed)))
    return losses


def assert_alike(plain, fast, relative: float, what: tuple[str, ...] = ("",)) -> None:
    """Each parameter and each of its moments, by norm; where little but rounding is in one, by that of all together."""
    expected, ours = agent_state(plain)[0], agent_state(fast)[0]
    assert expected.keys() == ours.keys()
    together: dict[str, float] = {}
    for name, tensor in expected.items():
        together[kind(name)] = together.get(kind(name), 0.0) + tensor.double().square().sum().item()
    for name in (name for name in expected if kind(name).startswith(what)):
        norm, error = expected[name].double().norm(), (ours[name].double() - expected[name].double()).norm()
        assert error <= relative * (norm + 0.01 * together[kind(name)] ** 0.5), (name, error, norm)


def kind(name: str) -> str:
    """network, exp_avg, exp_avg_sq, step, or what else there is."""
    return name.rpartition(".")[2] if name.startswith("adam") else name.partition(".")[0]


@st.composite
def cases(draw):
    vector = draw(st.booleans())
    continuous = vector and draw(st.booleans())
    network = Network(
        kind="mlp" if vector else "minihack-cnn",
        width=draw(st.integers(1, 20)),
        heads=draw(st.sampled_from([None, 0, 1, 7])),
        activation=draw(st.sampled_from(ACTIVATIONS)),
        head_activation=draw(st.sampled_from(ACTIVATIONS)),
        initialisation=draw(st.sampled_from(["orthogonal", "torch"])),
        channels=draw(st.integers(1, 3)),
    )
    spaces = Spaces(
        Vector(draw(st.integers(1, 5))) if vector else Characters(ROWS, COLUMNS),
        Continuous((-1.0,) * 3, (1.0,) * 3) if continuous else Discrete(draw(st.integers(2, 5))),
    )
    ppo = PPOSettings(
        batch_size=draw(st.sampled_from([5, 16, 40])),
        n_epochs=draw(st.integers(1, 2)),
        learning_rate=draw(st.sampled_from([1e-4, 1e-2])),
        clip_range=draw(st.sampled_from([0.02, 0.2, 5.0])),
        ent_coef=draw(st.sampled_from([0.0, 0.05])),
        vf_coef=draw(st.sampled_from([0.0, 0.5])),
        max_grad_norm=draw(st.sampled_from([0.01, 0.5, 1e6])),
        normalize_advantage=draw(st.booleans()),
    )
    return Case(spaces, network, draw(st.integers(1, 3)), ppo, draw(st.integers(0, 9)))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(case=cases(), count=st.sampled_from([16, 31, 41]), varying=st.sampled_from([0, 1, 9, 24]))
def test_losses_parameters_and_moments_are_those_of_autograd(case, count, varying):
    plain, fast = case.agent(), case.agent()
    for seed in range(3):
        expected, ours = both(case, plain, fast, count, seed, varying)
        for name in expected.__slots__:
            assert getattr(ours, name) == pytest.approx(getattr(expected, name), rel=1e-9, abs=1e-12), name
        assert_alike(plain, fast, 1e-10)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(case=cases(), varying=st.sampled_from([0, 1, 9, 24]))
def test_in_single_precision_every_gradient_agrees(case, varying):
    """After one minibatch from moments of 0, `exp_avg` is the clipped gradient, a tenth of it."""
    case = replace(case, dtype=torch.float32, ppo=case.ppo.model_copy(update={"batch_size": 40, "n_epochs": 1}))
    plain, fast = case.agent(), case.agent()
    both(case, plain, fast, 40, 3, varying)
    assert_alike(plain, fast, 1e-5, ("exp_avg", "step"))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(case=cases(), varying=st.sampled_from([0, 9, 24]))
def test_in_single_precision_parameters_agree_after_several_updates(case, varying):
    # A large eps keeps Adam's first steps, lr * g / (|g| + eps), from magnifying rounding where g is near 0.
    case = replace(case, dtype=torch.float32, ppo=case.ppo.model_copy(update={"adam_eps": 1e-2}))
    plain, fast = case.agent(), case.agent()
    for seed in range(3):
        both(case, plain, fast, 41, seed, varying)
    assert_alike(plain, fast, 1e-5, ("network", "step"))


MAP = Case(
    Spaces(Characters(ROWS, COLUMNS), Discrete(3)),
    Network(kind="minihack-cnn", width=16),
    1,
    PPOSettings(batch_size=16, n_epochs=2, learning_rate=1e-2, max_grad_norm=0.1),
)
ANT = replace(MAP, spaces=Spaces(Vector(5), Continuous((-1.0,) * 3, (1.0,) * 3)), network=Network(kind="mlp", width=16))


@pytest.mark.parametrize("case", [MAP, ANT])
@pytest.mark.parametrize("optimizer_state", ["carry", "reset"])
def test_after_growth_young_and_old_layers_are_trained_as_by_autograd(case, optimizer_state):
    plain, fast = case.agent(), case.agent()
    for seed, layers in enumerate((1, 2, 1)):
        both(case, plain, fast, 40, seed)
        for agent in (plain, fast):
            deepen(agent.network.stack, agent.optimizer, layers, optimizer_state)
    both(case, plain, fast, 40, 9)
    steps = {name: t.item() for name, t in agent_state(fast)[0].items() if name.endswith("step")}
    assert steps["adam.stack.0.bias.step"] == (24 if optimizer_state == "carry" else 6)
    assert steps["adam.stack.8.bias.step"] == 6
    assert_alike(plain, fast, 1e-10)


def test_cells_that_change_sides_in_mid_training_are_trained_as_in_the_plain_form():
    """Cells begin to vary, stay constant again, and are constant with another character than before."""
    plain, fast = MAP.agent(), MAP.agent()
    groups = []
    for seed, varying in enumerate((0, 3, 10, 10, 24, 5, 0)):
        observations = MAP.transitions(40, seed, varying)[0]
        weight = fast.network.features.weight
        groups.append(len(MapRows(fast.network.features, Trained.of(fast.optimizer, weight), observations).group_sizes))
        both(MAP, plain, fast, 40, seed, varying)
        assert_alike(plain, fast, 1e-10)
    # Three characters at first; cells that varied have moments of their own ever after.
    assert groups == [3, 3, 3, 3, 0, 19, 24]


@pytest.mark.parametrize("case", [MAP, ANT])
def test_divergence_leaves_the_agent_where_the_last_good_step_did(case):
    batch = case.transitions(40, 0)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    batch[4][order[20]] = 1e200  # in the second minibatch; its square overflows
    plain, fast = case.agent(), case.agent()
    for agent, run in ((plain, plainly), (fast, fast_update)):
        with pytest.raises(Diverged, match="loss"):
            run(agent, batch, case.ppo, torch.Generator().manual_seed(3))
    assert {state["step"].item() for state in fast.optimizer.state.values()} == {1.0}
    assert_alike(plain, fast, 1e-10)


@pytest.mark.parametrize("case", [MAP, ANT, replace(ANT, network=Network(kind="mlp", width=300))])
def test_moments_of_units_that_are_never_active_are_no_subnormal_numbers(case):
    """These would slow every later step. Elsewhere they count as before."""
    case = replace(case, dtype=torch.float32, ppo=case.ppo.model_copy(update={"batch_size": 2, "n_epochs": 1}))
    agent, how = case.agent(), (case.ppo, case.ppo.learning_rate, torch.Generator().manual_seed(0))
    update(agent, *case.transitions(20, 0), *how)
    with torch.no_grad():
        agent.network.stack[0].bias[:8] = -1e6
    update(agent, *case.transitions(3000, 1), *how)
    moments = agent.optimizer.state[agent.network.stack[0].weight]["exp_avg"][:8].abs()
    assert moments.max() < 1e-30
    assert not ((moments > 0) & (moments < torch.finfo(torch.float32).tiny)).any()
    assert torch.tensor(1e-40) * 1 > 0


def test_the_norm_of_very_many_gradients_is_not_rounded_away():
    layer = torch.nn.Linear(2000, 1000)
    optimizer = torch.optim.Adam(layer.parameters())
    with torch.no_grad():
        descent = Descent(optimizer, [Trained.of(optimizer, parameter) for parameter in layer.parameters()])
        gradient = descent.gradient_of[layer.weight]
        gradient.normal_(generator=torch.Generator().manual_seed(0)).mul_(1e-4)
        gradient[0] *= 1e4  # most of the norm comes first
    expected = gradient.double().square().sum().item()
    assert descent.squared_norm() == pytest.approx(expected, rel=2e-6)


def test_cells_are_of_one_group_only_if_character_and_all_moments_agree():
    characters = torch.tensor([7, 7, 7, 8, 7, 7], dtype=torch.uint8)
    exp_avg = torch.tensor([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    exp_avg_sq = exp_avg.clone()
    exp_avg_sq[2], exp_avg_sq[4] = exp_avg[0], exp_avg[2]  # equal sums, other numbers
    groups, firsts = _groups(characters, exp_avg, exp_avg_sq)
    assert [firsts[group].item() for group in groups] == [0, 0, 2, 3, 4, 0]
