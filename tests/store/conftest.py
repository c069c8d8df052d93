from __future__ import annotations

from pathlib import Path

import pytest

from grownn_hpo.store.paths import ArmFolder


@pytest.fixture
def folder(tmp_path: Path) -> ArmFolder:
    return ArmFolder(tmp_path / "study" / "arm")
