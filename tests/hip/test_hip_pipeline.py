"""From file to hips: records, manners of predict and predict_many, cards, overlays, the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import fracture
from fracture.cli.hip import hip as app
from fracture.cli.main import app as whole
from fracture.errors import (
    CardError,
    ConfigurationError,
    UnreadableFileError,
    WeightsIntegrityError,
    WeightsNotFoundError,
)
from fracture.hip import load, predict, predict_many
from fracture.hip.card import HipCard
from fracture.hip.classes import CLASSES
from fracture.hip.pipeline import HipReader
from fracture.hip.prediction import Hip, hip_page
from fracture.hip.spec import ClassifierSpec
from fracture.io.radiograph import Radiograph
from fracture.wing.overlay import draw_scene
from fracture.wing.result import Box, Failure, GridToSource
from fracture.wing.scene import grid_on
from tests.hip.weights import write_hip_weights

FILM = np.random.default_rng(0).random((150, 200)).astype(np.float32)


@pytest.fixture(scope="module")
def reader(hip_weights: Path) -> HipReader:
    return load(hip_weights, device="cpu", precision="float32")


def hip(**changes: object) -> Hip:
    p = dict(zip(CLASSES, (0.5, 0.1, 0.2, 0.1, 0.05, 0.05), strict=True))
    values = {"side": "left", "box": Box(10, 20, 60, 110, 0.8), "probabilities": p, "advise_threshold": 0.15}
    return Hip(**{**values, **changes})  # type: ignore[arg-type]


def test_what_a_hip_says() -> None:
    one = hip()
    assert one.label == "normal"
    assert one.top2 == (("normal", 0.5), ("nondisplaced_neck", 0.2))
    assert one.fracture_probability == pytest.approx(0.4)
    assert not one.fractured
    assert one.advise_imaging
    assert one.operative_group is None
    assert one.box_score == 0.8


def test_imaging_is_advised_only_where_the_label_is_no_fracture() -> None:
    broken = dict(zip(CLASSES, (0.2, 0.1, 0.5, 0.1, 0.05, 0.05), strict=True))
    assert not hip(probabilities=broken).advise_imaging
    assert hip(probabilities=broken).operative_group == "cannulated screws"
    assert not hip(advise_threshold=0.21).advise_imaging
    assert not hip(advise_threshold=None).advise_imaging
    screws = dict(zip(CLASSES, (0.1, 0.0, 0.2, 0.0, 0.7, 0.0), strict=True))
    assert hip(probabilities=screws).advise_imaging
    assert hip(probabilities=screws).fracture_probability == pytest.approx(0.2)  # hardware is no fracture


def test_hips_that_cannot_be() -> None:
    with pytest.raises(ConfigurationError, match="side"):
        hip(side="both")
    with pytest.raises(ConfigurationError, match="probabilities"):
        hip(probabilities={**hip().probabilities, "normal": 0.9})
    with pytest.raises(ConfigurationError, match="probabilities"):
        hip(probabilities={"normal": 1.0})


def test_predict_gives_hips_with_everything(reader: HipReader) -> None:
    hips = reader.predict(FILM)
    assert [one.side for one in hips] == ["right", "left"]
    for one in hips:
        assert tuple(one.probabilities) == CLASSES
        assert sum(one.probabilities.values()) == pytest.approx(1)
        assert 0 <= one.box.x0 < one.box.x1 <= 200
        assert one.heatmap is not None
        assert one.map_to_source is not None
        assert (one.width, one.height) == (200, 150)
        json.dumps(one.to_dict(), allow_nan=False)


def test_a_mirrored_film_swaps_nothing_but_the_crop(reader: HipReader) -> None:
    """The classifier sees a left hip as the mirror image of a right one: the same box of the mirrored film."""
    box = (20.0, 30.0, 100.0, 130.0)
    turned = fracture.read(np.ascontiguousarray(FILM[:, ::-1]))
    other = (200 - box[2], box[1], 200 - box[0], box[3])
    here = reader.classify(fracture.read(FILM), box, "right")
    there = reader.classify(turned, other, "left")
    np.testing.assert_allclose(here, there, atol=1e-5)
    assert not np.allclose(here, reader.classify(fracture.read(FILM), box, "left"), atol=1e-4)


def test_a_film_that_says_it_is_mirrored_has_its_sides_exchanged(reader: HipReader) -> None:
    """The same pixels, whose rows run to the patient's right: the networks see the same, the names differ."""
    usual = fracture.read(FILM)
    mirrored = replace(usual, orientation=("R", "F"))
    plain, turned = reader.read_film(usual), reader.read_film(mirrored)
    assert [one.side for one in turned.hips] == ["right", "left"]
    assert any("mirrored" in note for note in turned.warnings)
    assert not any("PatientOrientation" in note for note in plain.warnings)
    others = {"left": "right", "right": "left"}
    by_side = {one.side: one for one in plain.hips}
    for one in turned.hips:
        same = by_side[others[one.side]]
        assert one.box == same.box
        assert one.probabilities == pytest.approx(same.probabilities)
        box = (one.box.x0, one.box.y0, one.box.x1, one.box.y1)
        np.testing.assert_allclose(
            reader.classify(mirrored, box, one.side), list(one.probabilities.values()), atol=1e-5
        )
    assert [one.side for one in reader.read_film(replace(usual, orientation=("L", "F"))).hips] == ["right", "left"]


def test_heatmaps_lie_where_their_cause_is(hip_weights: Path) -> None:
    grid = np.zeros((6, 4, 4), np.float32)
    grid[0, 1, 3] = 1  # the upper right of the crop
    one = hip(heatmaps=grid, map_to_source=GridToSource(10, 20, 100, 40), width=200, height=150)
    film = Radiograph(np.zeros((150, 200), np.float32))
    (layer,) = hip_page("a", film, (one,), show_heatmap=True).heats
    heat = grid_on(layer, (200, 150), (200, 150))
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert 130 <= column < 140
    assert 60 <= row < 80
    assert heat[:, :100].max() == 0


def test_an_empty_film_is_a_real_answer(tmp_path: Path) -> None:
    write_hip_weights(tmp_path / "strict", score=0.99)
    found = load(tmp_path / "strict", device="cpu", precision="float32").read_film(FILM)
    assert found.hips == ()
    assert found.ok
    assert found.to_dict()["hips"] == []
    assert draw_scene(found.scene()).ndim == 3
    assert found.scene().pages[0].verdict == "No hip found"


def test_many_films_and_their_failures(reader: HipReader, toy_set: Path) -> None:
    sources = [str(toy_set / "images" / "0.png"), "no/such/film.png", FILM]
    results = list(reader.predict_many(sources))
    assert [result.ok for result in results] == [True, False, True]
    assert isinstance(results[1], Failure)
    assert isinstance(results[1].error, UnreadableFileError)
    assert results[0].source == sources[0]
    assert all(one.radiograph is None and one.heatmaps is None for one in results[0].hips)  # type: ignore[union-attr]
    alone = reader.predict(sources[0])
    for kept, other in zip(alone, results[0].hips, strict=True):  # type: ignore[union-attr]
        assert kept.probabilities == other.probabilities
        assert kept.box == other.box
    assert [r.ok for r in reader.predict_many(sources, workers=0)] == [True, False, True]


def test_requests_are_checked_at_the_call(reader: HipReader) -> None:
    with pytest.raises(ConfigurationError, match="several sources"):
        reader.predict_many("film.png")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="unknown options"):
        reader.predict(FILM, windows="raw")
    with pytest.raises(ConfigurationError, match="workers"):
        reader.predict_many([FILM], workers=-1)
    with pytest.raises(UnreadableFileError):
        reader.predict("no/such/film.png")


def test_studies_fuse_views(reader: HipReader, tmp_path: Path) -> None:
    other = np.random.default_rng(8).random((150, 200)).astype(np.float32)
    single = {one.side: one for one in reader.predict(FILM)}
    second = {one.side: one for one in reader.predict(other)}
    fused = {one.side: one for one in reader.predict_study([FILM, other])}
    for side in ("left", "right"):
        wanted = (np.array(list(single[side].probabilities.values())) + list(second[side].probabilities.values())) / 2
        np.testing.assert_allclose(list(fused[side].probabilities.values()), wanted, atol=1e-6)
        assert fused[side].views == 2
    with pytest.raises(ConfigurationError, match="no learned attention"):
        reader.predict_study([FILM], fusion="attention")
    spec = ClassifierSpec(trunk="resnet18", stages=2, fusion="attention")
    write_hip_weights(tmp_path / "views", classifier=spec)
    learned = load(tmp_path / "views", device="cpu", precision="float32")
    once, twice = learned.predict(FILM), learned.predict_study([FILM, FILM], fusion="attention")
    np.testing.assert_allclose(list(once[0].probabilities.values()), list(twice[0].probabilities.values()), atol=1e-4)


def test_odd_sides_are_reported(reader: HipReader) -> None:
    from fracture.hip.pipeline import _findings

    film = fracture.read(FILM)
    right, left = hip(side="right", box=Box(120, 20, 180, 110, 0.9)), hip(side="left")
    assert "mirrored" in _findings([right, left], film)[0]
    assert not _findings([hip(side="right"), hip(side="left", box=Box(120, 20, 180, 110, 0.9))], film)
    assert "looks like a left one" in _findings([left], replace(film, laterality="right"))[0]
    assert "cut off" in _findings([hip(edges=("left",))], film)[0]


def test_overlay_and_plot(reader: HipReader, tmp_path: Path) -> None:
    found = reader.read_film(FILM)
    found.save_overlay(tmp_path / "a.png", show_heatmap=True)
    assert (tmp_path / "a.png").stat().st_size > 10_000
    axes = found.hips[0].plot()
    assert len(axes.patches) == 1
    with pytest.raises(ConfigurationError, match="hold"):
        found.drop_pixels().save_overlay(tmp_path / "b.png")
    import matplotlib.pyplot as plt

    plt.close("all")


def test_a_card_refuses_unknown_keys_and_other_files(hip_weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(hip_weights, folder)
    card = json.loads((folder / "hip_card.json").read_text())
    (folder / "hip_card.json").write_text(json.dumps({**card, "treshold": 0.4}))
    with pytest.raises(CardError, match="treshold"):
        HipCard.read(folder)
    (folder / "hip_card.json").write_text(json.dumps({**card, "format_version": 2}))
    with pytest.raises(CardError, match="version"):
        HipCard.read(folder)
    (folder / "hip_card.json").write_text(json.dumps(card))
    with (folder / "classifier.safetensors").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(WeightsIntegrityError, match="card describes"):
        load(folder)
    with pytest.raises(WeightsNotFoundError, match="hip networks"):
        load(tmp_path)


def test_the_detectors_weights_are_not_mistaken_for_hips(tiny_weights: Path) -> None:
    with pytest.raises(WeightsNotFoundError):
        load(tiny_weights)


def test_the_public_face(hip_weights: Path, toy_set: Path) -> None:
    film = toy_set / "images" / "1.png"
    assert [one.side for one in predict(film, weights=hip_weights, precision="float32")] == ["right", "left"]
    assert next(predict_many([film], weights=hip_weights, precision="float32")).ok
    code = "import sys, fracture.hip; print('torch' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_command_line(hip_weights: Path, toy_set: Path, tmp_path: Path) -> None:
    run = CliRunner()
    out, overlays = tmp_path / "out.jsonl", tmp_path / "overlays"
    film = str(toy_set / "images" / "0.png")
    options = ["--weights", str(hip_weights), "--json", str(out), "--overlay", str(overlays), "--precision", "float32"]
    done = run.invoke(app, ["predict", film, "missing.png", *options])
    assert done.exit_code == 1
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert lines[0]["hips"][0]["side"] == "right"
    assert lines[1]["error"]["type"] == "MissingFileError"
    assert set(lines[1]) <= set(lines[0])
    assert lines[0]["overlay"] == str(overlays / "0.png.png")
    assert (overlays / "0.png.png").is_file()
    assert "2 films, " in done.stderr.splitlines()[-1]
    again = run.invoke(app, ["predict", film, "missing.png", *options, "--resume"])
    assert "resuming: 1 of 2 films are done" in again.stderr
    assert [json.loads(line)["source"] for line in out.read_text().splitlines()] == [film, "missing.png"]
    assert json.loads(out.read_text().splitlines()[0]) == lines[0]
    asked = run.invoke(app, ["predict", film, "--heatmap", "--weights", str(hip_weights)])
    assert isinstance(asked.exception, ConfigurationError)


def test_fracture_predict_reads_with_any_wing_s_weights(hip_weights: Path, toy_set: Path, tmp_path: Path) -> None:
    run = CliRunner()
    film = str(toy_set / "images" / "0.png")
    same = ["--weights", str(hip_weights), "--precision", "float32", "--overlay", str(tmp_path / "overlays")]
    lines = []
    for command, name, more in ((app, "hip.jsonl", []), (whole, "any.jsonl", ["--overwrite"])):
        done = run.invoke(command, ["predict", film, "missing.png", *same, "--json", str(tmp_path / name), *more])
        assert done.exit_code == 1, done.stderr
        lines.append([json.loads(line) for line in (tmp_path / name).read_text().splitlines()])
    of_hip, of_any = lines
    assert {**of_any[0], "seconds": None} == {**of_hip[0], "seconds": None}
    assert set(of_any[1]) == {"source", "seconds", "error", "overlay"}
    again = run.invoke(whole, ["predict", film, *same, "--json", str(tmp_path / "any.jsonl"), "--resume"])
    assert "1 of 1 films are done" in again.stderr
    for foreign in (["--fast"], ["--region", "hip"], ["--operating-point", "high_specificity"]):
        asked = run.invoke(whole, ["predict", film, "--weights", str(hip_weights), *foreign])
        assert isinstance(asked.exception, ConfigurationError)
        assert foreign[0] in str(asked.exception)
