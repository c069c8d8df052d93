from __future__ import annotations

import numpy as np
import pytest

from grownn_hpo.envs import VectorEnv, varying_cells
from grownn_hpo.errors import InputError

# Where MiniHack centres a room of this size on the map: first row, first column.
CORNER = {5: (9, 36), 10: (7, 34), 15: (3, 32)}


def interior(size: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    row, column = CORNER[size]
    cells = np.zeros((21, 79), np.bool_)
    cells[row : row + size, column : column + size] = True
    return cells


@pytest.mark.parametrize(
    ("rooms", "size"),
    [
        (["5x5"], 5),
        (["Random-5x5"], 5),
        (["10x10"], 10),
        (["Random-10x10"], 10),
        (["Random-15x15"], 15),
        (["Dark-15x15"], 15),
        (["Random-10x10", "Random-15x15"], 15),
        (["Random-15x15", "Random-5x5"], 15),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_whole_interior_is_found(rooms: list[str], size: int, seed: int) -> None:
    envs = [f"MiniHack-Room-{room}-v0" for room in rooms]
    np.testing.assert_array_equal(varying_cells(envs, {}, seed), interior(size))


def test_no_cell_outside_changes_in_other_episodes() -> None:
    cells = varying_cells(["MiniHack-Room-Random-10x10-v0"], {})
    generator = np.random.default_rng(5)
    with VectorEnv("MiniHack-Room-Random-10x10-v0", {}, 4, seed=77) as vector:
        first = vector.reset()[0]
        for _ in range(1500):
            seen = vector.step(generator.integers(8, size=4)).observations
            np.testing.assert_array_equal(seen[:, ~cells], np.broadcast_to(first[~cells], (4, int((~cells).sum()))))


@pytest.mark.parametrize(
    ("envs", "words"),
    [
        (["MiniHack-Room-5x5-v0", "CartPole-v1"], "only MiniHack's rooms"),
        (["MiniHack-Corridor-R2-v0"], "network.cells: all"),
        ([], "at least one room"),
        (["MiniHack-Room-7x7-v0"], "no environment"),
    ],
)
def test_other_tasks_have_none(envs: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        varying_cells(envs, {})
