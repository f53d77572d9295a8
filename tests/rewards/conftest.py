from __future__ import annotations

from pathlib import Path

import pytest

from tests.rewards.examples import JASPAR


@pytest.fixture
def motif_file(tmp_path: Path) -> Path:
    path = tmp_path / "arnt.jaspar"
    path.write_text(JASPAR)
    return path
