"""A neck on CT in the node: its series is read with its study, and a patient with a level that is positive is told as
one with a film is."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("highdicom")

from pydicom import dcmread

from fracture.jobs import DEAD
from fracture.node.config import SLICES, Config
from fracture.node.films import head_of
from fracture.node.node import open_rooms
from fracture.node.routing import taken
from fracture.node.worker import Worker
from fracture.spine.cervical.levels import Levels
from fracture.spine.cervical.result import Vertebra
from fracture.wing.volume import Volume
from tests.node.harness import file_of
from tests.spine import made
from tests.weights import write_cervical


def found(runner: object, grid: Volume, inputs: np.ndarray) -> Levels:
    """Random networks find nothing: these are C3 and C4, in the middle."""
    middle = np.array(grid.place(tuple((n - 1) / 2 for n in grid.voxels.shape)))  # type: ignore[arg-type]
    places = {name: middle + np.array((0, 0, up)) for name, up in (("C3", 8), ("C4", -8))}
    shares = np.zeros((7, *grid.voxels.shape), np.float32)
    half = grid.voxels.shape[0] // 2
    shares[2, half:, 4:9, 4:9], shares[3, :half, 4:9, 4:9] = 0.9, 0.9
    return Levels(tuple(Vertebra(n, tuple(p.tolist()), 0.8) for n, p in places.items()), shares, grid, ())


@pytest.mark.parametrize("by", ["level", "neither"])
def test_a_positive_patient_is_told(by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fracture.spine.cervical.reader.find_levels", found)
    limits = {"level": 1.0, "patient": 1.0} | ({"level": 0.01} if by == "level" else {})
    write_cervical(tmp_path / "neck", **limits)
    (tmp_path / "secret").write_text("x" * 40)
    told = {
        "data": str(tmp_path / "data"),
        "weights": [str(tmp_path / "neck")],
        "send": [{"name": "A", "ae": "A", "host": "h"}],
        "webhook": [{"name": "W", "url": "http://127.0.0.1:9/", "secret_file": str(tmp_path / "secret")}],
        "objects": ["sr", "seg", "ko"],
        "device": "cpu",
        "quiet_seconds": 0,
        "keep": {"spare_megabytes": 0},
    }
    config = Config.of(told, "a test")
    assert set(SLICES["CT"]) < set(taken(config))
    assert not set(SLICES["MR"]) & set(taken(config))
    how = {"orientation": made.AXIAL, "size": (32, 32), "spacing": (1.5, 1.5), "StudyInstanceUID": "1.2.3.4"}
    scan = made.slices(16, modality="CT", step=2.5, **how)  # type: ignore[arg-type]
    with open_rooms(config) as rooms:
        for dataset in scan:
            content = file_of(dataset)
            rooms.films.receive(content, dataset.SOPInstanceUID, "X", head_of(content))
        worker = Worker(config, rooms.jobs, rooms.films, rooms.results, rooms.audit, "w")
        while worker.step():
            pass
        assert not rooms.jobs.listing(states=[DEAD])
        study = rooms.jobs.find("study", "1.2.3.4")
        assert study is not None
        ((reading,), positive) = study.result["series"], study.result["positive"]
        assert (reading["weights"], reading["slices"]) == (str(tmp_path / "neck"), 16)
        assert reading["positive"] is (by != "neither")
        assert len(positive) == (by != "neither"), "the slice that shows the fracture"
        sent = rooms.jobs.listing(kinds=["send:A"], batch="1.2.3.4", newest=False)
        objects = [dcmread(rooms.results.path(f"{one.key}.dcm")) for one in sent]
        assert sorted(one.Modality for one in objects) == sorted(["SR", "SEG"] + ["KO"] * (by != "neither"))
        (levels,) = (one for one in objects if one.Modality == "SEG")
        assert [one.SegmentLabel for one in levels.SegmentSequence] == ["C3", "C4"]
        events = rooms.jobs.listing(kinds=["event:W"], newest=False)
        assert [one.payload["films"] for one in events] == [positive] * (by != "neither")
