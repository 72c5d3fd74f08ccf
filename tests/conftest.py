"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread each, set before torch is imported: cores are shared out already
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples every time: what is handed on must not fail by chance. HYPOTHESIS_PROFILE=explore seeks new ones.
# A busy machine is no failure: no example has a deadline, and none is too slow to draw.
BUSY = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, **BUSY)
settings.register_profile("explore", derandomize=False, **BUSY)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

MOST_WORKERS = 8


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process per core for the whole suite; none besides this one for chosen files or tests."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return min(cores, MOST_WORKERS) if whole and cores > 1 else 0


REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FRACTURE_SHARED", REPOSITORY.parent / "shared"))


def _shared(part: str) -> Path:
    path = SHARED / part
    if not path.is_dir():
        pytest.skip(f"needs the development data {part!r} beside the project, which is not there")
    return path


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the clone that the tests run from."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real radiographs beside the project (development machines and CI); skips where absent."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_dicom() -> Path:
    """DICOM conformance files beside the project; skips where absent."""
    return _shared("data/dicom")


@pytest.fixture(scope="session")
def shared_pretrained() -> Path:
    """ImageNet starting points beside the project; skips where absent."""
    return _shared("pretrained")


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small random members and a card; not to be changed."""
    from tests.weights import write_weights

    folder = tmp_path_factory.mktemp("weights") / "tiny"
    write_weights(folder)
    return folder


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation's reports with one figure, for tests that look at none of them: all cost three seconds a report."""
    from fracture.evaluation.page import plots

    def first(report: Any) -> dict[str, Any]:
        with plots.style():
            return {"scores": plots._scores(report)}

    monkeypatch.setattr(plots, "figures", first)
