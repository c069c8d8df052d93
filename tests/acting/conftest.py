"""Two arms, really trained: a MiniHack room, grown twice, and a MuJoCo pendulum with normalised observations."""

from __future__ import annotations

import pytest
import torch
from small_studies import ROOMS_CONFIGURATION, pendulum_arm, rooms_arm, trained

from grownn_hpo.store.paths import ArmFolder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> ArmFolder:
    return trained(tmp_path_factory.mktemp("rooms") / "results", rooms_arm(), ROOMS_CONFIGURATION, 3)


@pytest.fixture(scope="session")
def pendulum(tmp_path_factory: pytest.TempPathFactory) -> ArmFolder:
    root = tmp_path_factory.mktemp("pendulum")
    return trained(root, pendulum_arm(root), {"learning_rate": 0.003}, 1)
