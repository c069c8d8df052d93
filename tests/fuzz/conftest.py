from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_arm import build

from grownn_hpo.store.paths import ArmFolder


@pytest.fixture(scope="session")
def arms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two results folders with an arm half done, of the same shape and under the same names, but for their seed."""
    found = []
    for seed in (3, 4):
        results = tmp_path_factory.mktemp(f"results-{seed}")
        build(ArmFolder(results / "fuzzed" / "grown"), seed)
        found.append(results)
    return found[0], found[1]
