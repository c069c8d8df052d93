"""The compiled kernels, on every instruction set that this machine has; `tests/ppo` has what they are for."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from grownn_hpo import native
from grownn_hpo.native import build, library
from grownn_hpo.native.cpu import cpu_capability, used_capability
from grownn_hpo.ppo import new_agent, outputs
from grownn_hpo.ppo.compiled import by_kernels
from grownn_hpo.ppo.stepper import VectorStepper
from grownn_hpo.ppo.update import by_autograd
from grownn_hpo.spec import Continuous, Network, PPOSettings, Spaces, Vector

SETS = ("DEFAULT", "AVX2", "AVX512")
HERE = SETS[: SETS.index(used_capability()) + 1]
SPACES = Spaces(Vector(11), Continuous((-1.0,) * 3, (1.0,) * 3))


def forget() -> None:
    library._library.cache_clear()
    native.kernels.cache_clear()


@pytest.fixture(params=HERE)
def instruction_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    torch.backends.cpu.get_cpu_capability()  # torch looks but once, and is not to see what follows
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", request.param.lower())
    forget()
    yield request.param
    forget()


def activated(kind: native.Activation, numbers: NDArray[np.floating]) -> NDArray[np.floating]:
    """f(x), by a network of one layer whose weights are 1."""
    layer, part = native.Layer(0, 1, native.PAD, kind), native.Part(0, 1, 0, native.PAD, 0)
    network = native.Network(ctypes.pointer(layer), ctypes.pointer(part), 1, native.PAD)
    dtype, n = str(numbers.dtype), len(numbers)
    weights, inputs = native.zeros((2, native.PAD), dtype), native.zeros((n, native.PAD), dtype)
    weights[0], inputs[:, 0] = 1, numbers
    sums, written = native.zeros((n, native.PAD), dtype), native.zeros((n, native.PAD), dtype)
    its, *memory = (native.pointer(array, dtype) for array in (weights, inputs, sums, written))
    native.kernels(dtype).forward(network, its, n, *memory)
    return written


@pytest.mark.parametrize(
    ("kind", "exact", "units"),
    [
        (native.Activation.TANH, np.tanh, 2),
        (native.Activation.SILU, lambda x: x / (1 + np.exp(-x)), 4),
        (native.Activation.RELU, lambda x: np.where(x <= 0, 0, x), 0),
        (native.Activation.HARDTANH, lambda x: np.clip(x, -1, 1), 0),
    ],
)
def test_activations_are_right_to_the_last_places(
    instruction_set: str,
    kind: native.Activation,
    exact: Callable[[NDArray[np.floating]], NDArray[np.floating]],
    units: int,
) -> None:
    sizes = np.concatenate([np.logspace(-30, np.log10(80), 20_000), np.linspace(0, 12, 20_000)])
    numbers = np.concatenate([sizes, -sizes]).astype(np.float32)
    ours, expected = activated(kind, numbers), exact(numbers.astype(np.float64))
    error = np.abs(ours - expected[:, None]) / np.spacing(np.abs(expected).astype(np.float32))[:, None]
    assert error.max() <= units
    assert (ours == ours[:, :1]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", list(native.Activation))
def test_what_is_no_number_stays_none(instruction_set: str, kind: native.Activation, dtype: str) -> None:
    assert np.isnan(activated(kind, np.array([np.nan, np.nan], dtype))).all()
    large = np.array([np.inf, 1e30], dtype)
    bounded = kind in (native.Activation.TANH, native.Activation.HARDTANH)
    assert (activated(kind, large) == (1 if bounded else large[:, None])).all()


def trained(run: Callable[..., object], width: int, ppo: PPOSettings) -> object:
    """An agent after an update from transitions drawn from a seed."""
    agent = new_agent(Network(kind="mlp", width=width), 2, SPACES, ppo, None, 3)
    agent.optimizer.param_groups[0]["lr"] = ppo.learning_rate
    draw = torch.Generator().manual_seed(1)
    observations, actions = torch.randn(150, 11, generator=draw), torch.randn(150, 3, generator=draw)
    numbers = torch.randn(3, 150, generator=draw)
    run(agent, observations, actions, -4 + 0.1 * numbers[0], numbers[1], numbers[2], ppo, draw)
    return agent


@pytest.mark.parametrize("width", [1, 15, 16, 17, 64, 100])
def test_an_update_is_autograds_on_every_instruction_set(instruction_set: str, width: int) -> None:
    # A large eps keeps Adam's first steps, lr * g / (|g| + eps), from magnifying rounding where g is near 0.
    ppo = PPOSettings(batch_size=33, n_epochs=2, learning_rate=1e-3, ent_coef=0.01, adam_eps=1e-2)
    plain, fast = (trained(run, width, ppo) for run in (by_autograd, by_kernels))
    for (name, expected), ours in zip(plain.network.named_parameters(), fast.network.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=2e-6, msg=lambda m, name=name: f"{name}: {m}")


def test_acting_is_the_networks_on_every_instruction_set(instruction_set: str) -> None:
    agent = trained(by_kernels, 40, PPOSettings(batch_size=50, n_epochs=1))
    for n in (1, 5, 19):
        step = VectorStepper(agent.network, n)
        step.refresh()
        seen = np.random.default_rng(n).normal(size=(n, 11)).astype(np.float32)
        for ours, expected in zip(step(seen), outputs(agent, seen), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("array", [np.zeros(4, np.float64), np.zeros((4, 4), np.float32).T[:2], np.zeros(4, np.int64)])
def test_an_array_that_a_kernel_would_misread_is_refused(array: NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match="must be contiguous float32"):
        native.pointer(array, "float32")


def test_where_the_kernels_are_missing_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    forget()
    with pytest.raises(native.NotBuilt, match=r"pip install -e \."):
        native.kernels("float32")
    forget()


def test_without_a_compiler_the_installation_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(SystemExit, match=r"'no-such-compiler' was not found.*install a C compiler"):
        build.compile_kernels(tmp_path)
    monkeypatch.setenv("CC", "false")
    with pytest.raises(SystemExit, match=r"kernels\.c .* failed"):
        build.compile_kernels(tmp_path)
    assert not list(tmp_path.glob("*.so"))


def test_the_kernels_compile_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc -m64" if platform.machine() == "x86_64" else "gcc")  # words behind it count too
    built = build.compile_kernels(tmp_path, "-Wall", "-Wextra", "-Werror")
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in built} != set()


def test_the_least_of_what_there_is_and_what_is_asked_for_is_used_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    best = cpu_capability()
    assert used_capability() == best
    for wanted, expected in (("default", "DEFAULT"), ("avx512", best), ("", best), ("vsx", best)):
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", wanted)
        assert used_capability() == expected
        assert cpu_capability() == (best if expected == best else f"{best} limited to DEFAULT")
