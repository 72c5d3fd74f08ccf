"""The cervical wing: chains of levels, the challenge's loss, and the whole way from necks to weights to results."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from typer.testing import CliRunner

from fracture import simulate
from fracture.cli.main import app
from fracture.errors import (
    ConfigurationError,
    DataError,
    MissingDependencyError,
    NotARadiographError,
    SeriesError,
)
from fracture.spine.cervical.evaluation import Judged, scaling
from fracture.spine.cervical.levels import chain
from fracture.spine.cervical.metric import LABELS, LEVELS, score
from fracture.spine.cervical.networks import LevelEnsemble, build_levels
from fracture.spine.cervical.records import read_necks
from fracture.spine.cervical.result import CervicalSpine
from fracture.spine.cervical.spec import LevelSpec
from fracture.spine.cervical.training import FractureConfig, LevelConfig, bends, challenge_loss, train, unbent
from fracture.spine.cervical.wing import WING
from fracture.wing.volume import Volume
from tests.spine.made import AXIAL, slices, write


def _maps(
    heights: dict[int, float], shape: tuple[int, int, int] = (96, 32, 32)
) -> tuple[np.ndarray, np.ndarray, Volume]:
    """Centers and levels of vertebrae (1 to 7 C1 to C7, 8 another; to millimeters from the feet) on a grid of 2 mm."""
    grid = Volume(np.zeros(shape, np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    coarse = [n // 2 for n in shape]
    centers, levels = np.zeros(coarse, np.float32), np.full((8, *coarse), 0.125, np.float32)
    for number, z in heights.items():
        k = round(z / 4)
        centers[k, 8, 8] = 0.9
        levels[:, k - 2 : k + 3, 6:11, 6:11] = 0.02
        levels[number - 1, k - 2 : k + 3, 6:11, 6:11] = 0.86
    return centers, levels, grid


def test_a_chain_names_levels_in_order() -> None:
    found = chain(*_maps({k: 170 - 18 * k for k in range(1, 9)}))
    assert [one.level for one in found] == [*LEVELS, "T"]
    assert all(abs(one.place[2] - (170 - 18 * (k + 1))) <= 3 for k, one in enumerate(found))


def test_levels_that_are_not_seen_are_not_invented() -> None:
    assert [one.level for one in chain(*_maps({k: 170 - 18 * k for k in (3, 4, 5)}))] == ["C3", "C4", "C5"]
    assert [one.level for one in chain(*_maps({k: 170 - 18 * k for k in (2, 3, 5, 6)}))] == ["C2", "C3", "C5", "C6"]
    assert chain(*_maps({})) == ()


def test_a_wrong_class_does_not_break_the_order() -> None:
    heights = {k: 170.0 - 18 * k for k in range(1, 8)}
    centers, levels, grid = _maps(heights)
    for number in (4, 6):  # they look like the next one
        k = round(heights[number] / 4)
        levels[number - 1, k - 2 : k + 3, 6:11, 6:11], levels[number, k - 2 : k + 3, 6:11, 6:11] = 0.02, 0.86
    assert [one.level for one in chain(centers, levels, grid)] == list(LEVELS)


def test_a_faint_center_counts_where_the_chain_and_its_level_speak_for_it() -> None:
    """The atlas above a sure axis, at 0.2 and named C1; not at 0.05, nor where its level is anyone's."""
    heights = {k: 170.0 - 18 * k for k in range(1, 8)}
    centers, levels, grid = _maps(heights)
    k = round(heights[1] / 4)
    centers[k, 8, 8] = 0.2
    assert [one.level for one in chain(centers, levels, grid)] == list(LEVELS)
    levels[:, k - 2 : k + 3, 6:11, 6:11] = 0.125
    assert [one.level for one in chain(centers, levels, grid)] == list(LEVELS[1:])
    centers, levels, grid = _maps(heights)
    centers[k, 8, 8] = 0.05
    assert [one.level for one in chain(centers, levels, grid)] == list(LEVELS[1:])


def test_a_center_beside_the_spine_is_not_on_the_chain() -> None:
    """A sure one that is called C2 lies 12 mm to the side of a faint C2; the chain goes on along the spine."""
    heights = {k: 170.0 - 18 * k for k in range(1, 8)}
    centers, levels, grid = _maps(heights)
    k = round(heights[2] / 4)
    centers[k, 8, 8] = 0.3
    beside = 11
    centers[k, 8, beside] = 0.95
    levels[:, k - 1 : k + 2, 7:10, beside - 1 : beside + 2] = 0.02
    levels[1, k - 1 : k + 2, 7:10, beside - 1 : beside + 2] = 0.86
    found = chain(centers, levels, grid)
    assert [one.level for one in found] == list(LEVELS)
    assert max(one.place[0] for one in found) - min(one.place[0] for one in found) < 4


def test_points_are_bent_as_the_bone_is() -> None:
    """A small ball's middle in the bent picture lies where the point says."""
    draw = np.random.default_rng(3)
    shape = (32, 32, 32)
    bent = bends(shape, 1.5, draw)
    assert 0.5 < bent.std() < 1.5
    before = draw.bit_generator.state
    assert not bends(shape, 0.0, draw).any()
    assert draw.bit_generator.state == before  # pictures of recipes without it stay as they were
    at = np.array([14.0, 17.0, 15.0])
    ball = np.exp(-((np.indices(shape) - at[:, None, None, None]) ** 2).sum(0) / 4)
    seen = ndimage.map_coordinates(ball, np.indices(shape) + bent, order=1)
    moved = unbent(at, bent)
    assert np.linalg.norm(moved - at) > 0.2
    assert np.linalg.norm(np.argwhere(seen == seen.max())[0] - moved) < 1.0


def test_a_lumbar_spine_is_not_named() -> None:
    """All its vertebrae are others; nor is a chain named whose levels are unknown."""
    centers, levels, grid = _maps(dict.fromkeys((8,), 20.0))
    for z in (60, 84, 108, 132):
        centers[z // 4, 8, 8] = 0.9
        levels[:7, z // 4 - 2 : z // 4 + 3], levels[7, z // 4 - 2 : z // 4 + 3] = 0.02, 0.86
    assert {one.level for one in chain(centers, levels, grid)} == {"T"}
    assert chain(centers, np.full_like(levels, 0.125), grid) == ()


def test_the_training_loss_is_the_challenges() -> None:
    draw = np.random.default_rng(0)
    truth = draw.random((5, 7)) < 0.3
    logits = torch.from_numpy(draw.normal(0, 2, (5, 8)))
    whole = np.concatenate([truth, truth.any(1, keepdims=True)], 1)
    predicted = {
        f"{n}_{label}": (float(p),) for n in range(5) for label, p in zip(LABELS, logits[n].sigmoid(), strict=True)
    }
    expected = score({str(n): whole[n] for n in range(5)}, predicted)
    seen = torch.ones(5, 7, dtype=torch.bool)
    found = challenge_loss(logits[:, :7], logits[:, 7], torch.from_numpy(truth), seen)
    assert float(found) == pytest.approx(expected, abs=1e-6)
    # A level that is not seen counts nothing, whatever is said of it.
    seen[:, 2] = False
    other = logits.clone()
    other[:, 2] = 30.0
    args = (logits[:, 7], torch.from_numpy(truth), seen)
    assert float(challenge_loss(logits[:, :7], *args)) == float(challenge_loss(other[:, :7], *args))


def _small_neck(seed: int) -> simulate.SimulatedNeck:
    """Seven blocks of bone in 50 x 50 mm of flesh, one of them broken: a neck of few voxels."""
    affine, half = np.diag([1.6, 1.6, 3.0, 1.0]), 16
    voxels = 40 + 20 * np.random.default_rng(seed).standard_normal((48, 2 * half, 2 * half), np.float32)
    truth, points = np.zeros(voxels.shape, np.uint8), {}
    for k, level in enumerate(LEVELS):
        z = 42 - 6 * k
        inside = np.s_[z - 2 : z + 2, half - 5 : half + 5, half - 5 : half + 5]
        voxels[inside], truth[inside] = 600, k + 1
        points[level] = tuple((affine @ (half, half, z, 1.0))[:3].tolist())
    truth[30:32, half - 5 : half + 5, half : half + 2], voxels[30:32, half - 5 : half + 5, half : half + 2] = 103, 50
    broken = simulate.NeckFracture("C3", "burst", 1.6, (25.6, 17.6, 90.0), (27.2, 32.0, 93.0))
    return simulate.SimulatedNeck(voxels, affine, truth, points, (broken,), seed)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks that saw two necks for one epoch, assembled by the command; they know nothing."""
    pytest.importorskip("nibabel")
    folder = tmp_path_factory.mktemp("cervical")
    simulate.write_necks(folder / "necks", 2, seed=5, draw=_small_neck)
    levels, fractures = LevelConfig.load("small"), FractureConfig.load("small")
    small = {"loop": {"epochs": 1, "threads": 1}}
    levels = levels.replace(small | {"window": [48, 32, 32], "model": {"widths": [4, 4, 4, 4]}})
    fractures = fractures.replace(small | {"model": {"widths": [4, 4, 4], "hidden": 4}})
    train((levels, fractures), read_necks(folder / "necks"), out=folder / "run", device="cpu", progress=False)
    (folder / "card.toml").write_text('name = "tiny"\nversion = "1"\n[thresholds]\nlevel = 0.0\npatient = 0.0\n')
    arguments = ["spine", "cervical", "assemble", str(folder / "run"), "--out", str(folder / "tiny")]
    done = CliRunner().invoke(app, [*arguments, "--card", str(folder / "card.toml")])
    assert done.exit_code == 0, done.output
    return folder


def test_both_networks_start_from_files_by_command(weights: Path, tmp_path: Path) -> None:
    files = {stage: weights / "run" / f"{stage}.safetensors" for stage in ("levels", "fractures")}
    sizes = ["levels:model.widths=[4,4,4,4]", "levels:window=[48,32,32]"]
    sizes += ["fractures:model.widths=[4,4,4]", "fractures:model.hidden=4", "loop.epochs=1"]
    arguments = ["spine", "cervical", "train", "small", "--data", str(weights / "necks"), "--quiet"]
    arguments += [word for size in sizes for word in ("--set", size)]
    starts = [word for stage, file in files.items() for word in ("--init", f"{stage}={file}")]
    done = CliRunner().invoke(app, [*arguments, *starts, "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    for stage, file in files.items():
        start = json.loads((tmp_path / "run" / stage / "manifest.json").read_text())["start"]
        assert (start["source"], start["fraction"]) == (file.name, 1.0)
    wrong = ["--init", f"levels={files['fractures']}", "--out", str(tmp_path / "other")]
    done = CliRunner().invoke(app, [*arguments, *wrong])
    assert "does not hold a network levels of the wing cervical" in str(done.exception)
    done = CliRunner().invoke(app, [*arguments, "--init", "levels=pretrained", "--out", str(tmp_path / "other")])
    assert "no ImageNet weights fit" in str(done.exception)


def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that know nothing find nothing: these centers and classes are those of seven vertebrae."""
    heights = {k: 150.0 - 17 * k for k in range(1, 8)}

    def found(runner: object, grid: Volume, inputs: np.ndarray) -> object:
        from fracture.spine.cervical.levels import Levels

        centers, shares, even = _maps(heights)
        named = chain(centers, shares, even)
        moved = Volume(np.zeros_like(grid.voxels), grid.affine)
        middle = moved.place(tuple((n - 1) / 2 for n in grid.voxels.shape))  # type: ignore[arg-type]
        at = [(middle[0], middle[1], middle[2] + one.place[2] - 82) for one in named]
        levels = tuple(type(one)(one.level, place, one.score) for one, place in zip(named, at, strict=True))
        own = np.zeros((7, *grid.voxels.shape), np.float32)
        own[3, 2:5, 2:5, 2:5] = 0.9
        return Levels(levels, own, moved, ())

    monkeypatch.setattr("fracture.spine.cervical.reader.find_levels", found)


def test_from_a_neck_to_a_result(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _named(monkeypatch)
    out, drawn = tmp_path / "out.jsonl", tmp_path / "drawn"
    neck = weights / "necks" / "neck_00000.nii.gz"
    arguments = [
        "spine",
        "cervical",
        "predict",
        str(neck),
        str(tmp_path / "absent"),
        "--weights",
        str(weights / "tiny"),
    ]
    done = CliRunner().invoke(
        app, [*arguments, "--json", str(out), "--overlay", str(drawn), "--masks", "--device", "cpu"]
    )
    assert done.exit_code == 1, "one of two paths is not there"
    line, failed = map(json.loads, out.read_text().splitlines())
    assert failed["error"]["message"]
    assert list(line["levels"]) == list(LABELS)
    assert line["fractured"] is True  # a threshold of 0
    assert len(line["vertebrae"]) == 7
    shown = [one for one in line["vertebrae"] if one["box"] is not None]
    assert all(one["slice"] == line["slice"][0] for one in shown)
    del line["overlay"]
    assert CervicalSpine.from_dict(line).to_dict() == line
    (mask,) = drawn.rglob("*_levels.nii.gz")
    from fracture.spine import read_series

    labels = read_series(mask).volume
    assert set(np.unique(labels.voxels)) == {0.0, 4.0}
    assert labels.spacing == pytest.approx((2, 2, 2))
    assert len(list(drawn.rglob("*.png"))) == 1


def test_masks_without_nibabel_are_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    out, drawn = tmp_path / "out.jsonl", tmp_path / "drawn"
    arguments = ["spine", "cervical", "predict", str(tmp_path), "--json", str(out), "--overlay", str(drawn), "--masks"]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, MissingDependencyError)
    assert "fracture-radiographs[spine]" in str(done.exception)
    assert not out.exists()


def test_a_result_of_dicom_slices_refers_to_its_slice(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("highdicom")
    _named(monkeypatch)
    reader = WING.open(WING.store.open(weights / "tiny"), device="cpu")
    how = {"orientation": AXIAL, "size": (96, 96), "spacing": (1.5, 1.5), "StudyInstanceUID": "1.2.3.4"}
    made = slices(60, modality="CT", step=2.5, **how)  # type: ignore[arg-type]
    folder = write(made, tmp_path)
    result = reader.predict(folder)  # type: ignore[attr-defined]
    assert result.frame is not None
    objects = result.to_dicom(("sr", "sc"))
    assert objects[0].Modality == "SR"
    assert len(objects) == 2
    assert all(one.StudyInstanceUID == "1.2.3.4" for one in objects)


def test_what_was_not_found_is_said(weights: Path) -> None:
    reader = WING.open(WING.store.open(weights / "tiny"), device="cpu")
    air = Volume(np.full((12, 24, 24), -1000, np.float32), np.diag([1.0, 1.0, 1.0, 1.0]))
    result = reader.predict(air)  # type: ignore[attr-defined]
    assert result.vertebrae == ()
    assert result.probability is None
    assert not result.remarks or "no cervical" in result.remarks[0]
    assert any("Hounsfield" in text for text in result.warnings)
    assert result.scene().pages[0].verdict in ("No cervical vertebra found", "Fracture suspected")
    with pytest.raises(ConfigurationError, match="masks"):
        result.drop_pixels().save_masks("x.nii.gz")


def test_mr_is_refused(weights: Path, tmp_path: Path) -> None:
    reader = WING.open(WING.store.open(weights / "tiny"), device="cpu")
    folder = write(slices(5), tmp_path)
    with pytest.raises(SeriesError, match="no axial CT series"):
        reader.predict(folder)  # type: ignore[attr-defined]
    with pytest.raises(NotARadiographError, match="no CT"):
        reader.predict(folder, number=0)  # type: ignore[attr-defined]


def test_necks_are_measured_and_verified(weights: Path, tmp_path: Path) -> None:
    run = CliRunner()
    done = run.invoke(app, ["spine", "cervical", "verify", str(weights / "tiny")])
    assert done.exit_code == 0, done.output
    arguments = ["spine", "cervical", "evaluate", str(weights / "necks"), "--out", str(tmp_path), "--bootstrap", "20"]
    done = run.invoke(app, [*arguments, "--weights", str(weights / "tiny"), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["necks"] == 2
    assert report["missed"] <= 14
    from fracture.spine.cervical.metric import read_labels, read_submission

    truth = read_labels(tmp_path / "train.csv")
    assert report["weighted_log_loss"] == round(score(truth, read_submission(tmp_path / "submission.csv")), 4)

    (tmp_path / "report.json").write_text('{"studies": 3}')  # a report of ours, and another command's
    done = run.invoke(app, [*arguments, "--weights", str(weights / "tiny"), "--device", "cpu"])
    assert "this command did not write" in str(done.exception)


def test_a_finder_of_several_networks_is_their_mean() -> None:
    spec = LevelSpec(widths=(4, 4, 4, 4), copies=2)
    both = build_levels(spec, seed=1).eval()
    assert isinstance(both, LevelEnsemble)
    x = torch.rand(1, 1, 16, 32, 16)
    with torch.inference_mode():
        one, other = (network(x) for network in both.copies)
        mean = both(x)
    for name in ("bone", "levels", "centers"):
        assert not torch.allclose(one[name], other[name], atol=1e-3)
        torch.testing.assert_close(mean[name], (one[name] + other[name]) / 2)


def test_scaling_mends_logits_that_are_shifted() -> None:
    draw, judged = np.random.default_rng(0), Judged()
    for k in range(300):
        logits = draw.normal(-1, 2, 7)
        truth = draw.random(7) < 1 / (1 + np.exp(-logits))
        judged.truth[str(k)] = np.append(truth, truth.any())
        said = 1 / (1 + np.exp(-np.append(2 * logits + 3, 0.0)))  # the patient's own logit says nothing
        judged.submission |= {f"{k}_{label}": (float(p),) for label, p in zip(LABELS, said, strict=True)}
    found = scaling(judged)
    assert found["level"][0] == pytest.approx(0.5, abs=0.07)
    assert found["level"][1] == pytest.approx(-1.5 + np.log(2), abs=0.3)  # a fracture counts twice
    assert abs(found["patient"][0]) < 1e-6 < found["patient"][1]
    judged.truth = dict.fromkeys(judged.truth, np.zeros(8, bool))
    with pytest.raises(DataError, match="scaling"):
        scaling(judged)
