"""One simulated set for everything that trains again."""

from __future__ import annotations

from pathlib import Path

import pytest

from fracture.simulate import write_dataset

FILMS = 64  # thresholds need 13 fractured and 19 normal films in four fifths of what is held out


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, with its COCO file; not to be changed."""
    folder = tmp_path_factory.mktemp("simulated") / "films"
    write_dataset(
        folder, FILMS, seed=2, format="png", size=(112, 96), png_bits=8, fracture_rate=0.45, regions=("wrist", "ankle")
    )
    return folder
