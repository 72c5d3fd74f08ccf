"""What the objects say: boxes, numbers, maps and polarity come back as they were."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings, strategies as st
from pydicom.dataset import Dataset

import fracture.results
from fracture.errors import ConfigurationError, DataError, MissingDependencyError, UnsupportedError
from fracture.hip.classes import CLASSES
from fracture.results import OBJECTS, read_sr
from fracture.wing.result import Box, Failure, GridToSource
from fracture.wing.scene import Heat, grid_on
from tests.dicom.builder import dataset, file_bytes, gradient, lut
from tests.results.made import KINDS, NOW, UIDS, film_file, hips, prediction, small_film


def test_public_names() -> None:
    assert OBJECTS == ("sr", "sc", "gsps", "seg", "ko")


def test_the_report_reads_back_from_coordinates_numbers_and_codes(tmp_path: Path) -> None:
    p = prediction(film_file(tmp_path))
    for comprehensive_3d in (True, False):
        made, *_ = p.to_dicom(["sr"], comprehensive_3d=comprehensive_3d)
        assert made.SOPClassUID.name.startswith("Comprehensive 3D" if comprehensive_3d else "Comprehensive SR")
        assert (made.PreliminaryFlag, made.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
        _without_text(made)
        report = read_sr(made)
        for found, was in zip(report.boxes, p.boxes, strict=True):
            assert np.allclose(_edges(found), _edges(was), rtol=0, atol=0.01)
            assert (found.score, found.operating_point) == (pytest.approx(was.score), was.operating_point)
        film = report.film
        assert film.edges == (0, 0, p.width, p.height), "OHIF needs the whole image as the region of the film's group"
        assert film.numbers["probability"] == pytest.approx(p.probability)
        assert film.numbers["region_probabilities.wrist"] == pytest.approx(0.9)
        assert film.answers["fractured"] is True
        assert (film.answers["reached.high_sensitivity"], film.answers["reached.high_specificity"]) == (True, False)
        assert report.referenced == UIDS["SOPInstanceUID"]


def test_the_report_names_the_algorithm_and_how_it_judged(tmp_path: Path) -> None:
    (made,) = prediction(film_file(tmp_path)).to_dicom(["sr"])
    texts = _texts(made)
    for wanted in (
        *(
            "fracture made-up",
            "2.1",
            "weights_sha256=" + "0123456789abcdef" * 4,
            "threshold=0.3",
            "use=research use only",
        ),
        *("thresholds.high_specificity=0.9", "operating_point=high_sensitivity", "map_threshold=0.37", "a remark"),
    ):
        assert wanted in texts, wanted
    assert "film.dcm" not in str(made), "no path"
    assert "Score of the box, 0 to 1, no probability" in str(made)


def test_hips_read_back(tmp_path: Path) -> None:
    film = hips(film_file(tmp_path, BodyPartExamined="PELVIS"))
    report = read_sr(film.to_dicom(["sr"])[0])
    right, left = report.places
    assert [place.kind for place in report.places] == ["hip", "hip"]
    assert [place.side for place in report.places] == ["right", "left"]
    assert (right.answers["fractured"], left.answers["fractured"]) == (True, False)
    assert left.answers["advise_imaging"] is True
    assert right.numbers[f"probabilities.{CLASSES[1]}"] == pytest.approx(0.6)
    assert np.allclose(right.edges, _edges(film.hips[0].box), atol=0.01)
    assert len(film.to_dicom(["sr", "sc", "gsps", "ko"])) == 4, "positive: a key object too"
    with pytest.raises(ConfigurationError, match="no probability map"):
        film.to_dicom(["seg"])


def test_no_report_of_ours() -> None:
    with pytest.raises(DataError, match="no report"):
        read_sr(Dataset())


def test_the_presentation_state_draws_the_boxes_and_says_what_they_mean(tmp_path: Path) -> None:
    p = prediction(film_file(tmp_path))
    (made,) = p.to_dicom(["gsps"])
    (annotation,) = made.GraphicAnnotationSequence
    for graphic, box in zip(annotation.GraphicObjectSequence, p.boxes, strict=True):
        data = [float(value) for value in graphic.GraphicData]
        assert np.allclose([*data[:2], *data[4:6]], _edges(box), rtol=0, atol=0.01)
        assert graphic.GraphicAnnotationUnits == "PIXEL"
    words = " | ".join(text.UnformattedTextValue for text in annotation.TextObjectSequence)
    for wanted in ("Fracture suspected", "1: suspected", "2: a doubt", "Research use only"):
        assert wanted in words
    for text in annotation.TextObjectSequence:
        assert min([*text.BoundingBoxTopLeftHandCorner, *text.BoundingBoxBottomRightHandCorner]) >= 0
        right, bottom = text.BoundingBoxBottomRightHandCorner
        top = (1, 1) if text.BoundingBoxAnnotationUnits == "DISPLAY" else (p.width, p.height)
        assert right <= top[0]
        assert bottom <= top[1]


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
def test_the_presentation_state_keeps_polarity_window_and_shape(photometric: str, shape: str, tmp_path: Path) -> None:
    path = film_file(
        tmp_path,
        PhotometricInterpretation=photometric,
        WindowCenter=["0", "2000", "300"],
        WindowWidth=["0", "1000", "20"],
        VOILUTFunction="SIGMOID",
        RescaleSlope="2",
        RescaleIntercept="-1024",
        PixelSpacing=["0.3", "0.15"],
    )
    (made,) = prediction(path).to_dicom(["gsps"])
    assert made.PresentationLUTShape == shape
    (voi,) = made.SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction) == (2000, 1000, "SIGMOID"), "the first valid one"
    assert (made.RescaleSlope, made.RescaleIntercept) == (2, -1024)
    area = made.DisplayedAreaSelectionSequence[0]
    assert [float(value) for value in area.PresentationPixelSpacing] == [0.3, 0.15]
    assert "PresentationPixelAspectRatio" not in area


def test_the_presentation_state_takes_tables_over(tmp_path: Path) -> None:
    table = lut([16, -8, 16], list(range(16)))
    path = film_file(
        tmp_path,
        pixels=(gradient(64, 96, 15).astype(np.int16) - 8),
        ModalityLUTSequence=table,
        VOILUTSequence=lut([16, 0, 16], [v * v for v in range(16)]),
        RescaleSlope="1",
        RescaleIntercept="0",
        WindowCenter="3",
        WindowWidth="4",
    )
    (made,) = prediction(path).to_dicom(["gsps"])
    assert list(made.ModalityLUTSequence[0].LUTDescriptor) == [16, -8, 16]
    assert "RescaleSlope" not in made
    assert np.frombuffer(made.ModalityLUTSequence[0].LUTData, "<u2").tolist() == list(range(16))
    assert "WindowCenter" not in made.SoftcopyVOILUTSequence[0]
    assert np.frombuffer(made.SoftcopyVOILUTSequence[0].VOILUTSequence[0].LUTData, "<u2")[-1] == 225


def test_a_color_film_has_no_grayscale_presentation_state() -> None:
    pixels = np.repeat(gradient(64, 96, 255).astype(np.uint8)[..., None], 3, axis=2)
    source = file_bytes(
        dataset(pixels, **UIDS, PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0)
    )
    p = prediction(source)
    assert len(p.to_dicom(["sr", "sc"], source=source)) == 2
    with pytest.raises(UnsupportedError, match="belongs to a grayscale film"):
        p.to_dicom(["gsps"], source=source)


def test_the_capture_is_the_overlay(tmp_path: Path) -> None:
    from fracture.wing.overlay import draw_scene

    p = prediction(film_file(tmp_path, PixelSpacing=["0.2", "0.1"], BurnedInAnnotation="NO"))
    (made,) = p.to_dicom(["sc"])
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    read = pydicom.dcmread(stream)
    drawn = draw_scene(p.scene())
    assert np.array_equal(read.pixel_array, drawn)
    assert read.file_meta.TransferSyntaxUID.name == "RLE Lossless"
    assert [float(value) for value in read.PixelSpacing] == pytest.approx(
        [0.2 * 96 / drawn.shape[1], 0.1 * 96 / drawn.shape[1]]
    )
    assert read.BurnedInAnnotation == "NO"
    assert read.SourceImageSequence[0].ReferencedSOPInstanceUID == UIDS["SOPInstanceUID"]


@settings(max_examples=40)
@given(threshold=st.floats(0.001, 1.0), seed=st.integers(0, 99))
def test_the_segmentation_marks_what_the_map_marks(threshold: float, seed: int) -> None:
    from fracture.results.segmentation import steps_of

    values = np.random.default_rng(seed).random((20, 30), np.float32)
    values[0, :4] = np.float32(threshold), np.nextafter(np.float32(threshold), np.float32(0)), 0, 1
    steps = steps_of(values, threshold)
    assert np.array_equal(steps / 255 >= threshold, values >= np.float32(threshold))
    assert np.abs(steps / 255 - values).max() < 1 / 255


def test_the_segmentation_lies_on_the_film(tmp_path: Path) -> None:
    p = prediction(film_file(tmp_path))
    (made,) = p.to_dicom(["seg"])
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    read = pydicom.dcmread(stream)
    size = (p.width, p.height)
    assert p.probability_map is not None
    laid = grid_on(Heat(p.probability_map, 8, 8), size, size)
    assert np.array_equal(read.pixel_array / 255 >= p.map_threshold, laid >= np.float32(p.map_threshold))
    assert (read.SegmentationType, read.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")


def test_equal_calls_give_equal_bytes_and_another_reading_other_uids(tmp_path: Path) -> None:
    p = prediction(film_file(tmp_path))

    def written(result: fracture.Prediction, **options: object) -> list[bytes]:
        streams = [io.BytesIO() for _ in KINDS]
        for made, stream in zip(result.to_dicom(KINDS, **options), streams, strict=True):
            made.save_as(stream, enforce_file_format=True)
        return [stream.getvalue() for stream in streams]

    assert written(p, now=NOW) == written(p, now=NOW)
    moved = replace(
        p, boxes=tuple(Box(*[v + 1e-9 for v in _edges(b)], b.score, b.operating_point) for b in p.boxes[:1])
    )
    noise = replace(p, probability=p.probability + 1e-9, seconds=3.0)
    others = (
        replace(p, weights_checksum="1" * 64),
        replace(p, operating_point="high_specificity"),
        replace(p, probability=0.8),
        moved,
    )
    uids = [_uids(p), *map(_uids, others)]
    assert len({uid for one in uids for uid in one}) == len(KINDS) * len(uids)
    assert _uids(noise) == _uids(p), "the last digits of another processor make no other object"
    one, two = prediction(film_file(tmp_path)).to_dicom(["sr", "sc"])
    assert {one.SeriesNumber, two.SeriesNumber} == {9701, 9702}
    assert "research use only" in one.SeriesDescription


def test_a_newer_reading_names_its_predecessor(tmp_path: Path) -> None:
    p = prediction(film_file(tmp_path))
    (before,) = p.to_dicom(["sr"])
    (after,) = replace(p, weights_checksum="2" * 64).to_dicom(["sr"], previous=[before])
    named = after.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == before.SOPInstanceUID


def test_a_frame_is_referred_to_by_its_number() -> None:
    source = file_bytes(dataset(np.stack([gradient(64, 96)] * 3), **UIDS, NumberOfFrames=3, Rows=64, Columns=96))
    p = prediction(source, frame=1)
    made = dict(zip(KINDS, p.to_dicom(KINDS, source=source), strict=True))
    assert read_sr(made["sr"]).frame == 1
    assert made["gsps"].GraphicAnnotationSequence[0].ReferencedImageSequence[0].ReferencedFrameNumber == 2
    assert made["sc"].SourceImageSequence[0].ReferencedFrameNumber == 2
    other = prediction(source, frame=2).to_dicom(KINDS, source=source)
    assert {d.SOPInstanceUID for d in other}.isdisjoint(d.SOPInstanceUID for d in made.values())
    with pytest.raises(ConfigurationError, match="3 frames"):
        replace(p, radiograph=replace(p.radiograph, frame=None)).to_dicom(source=source)


def test_key_objects_only_where_there_is_a_finding(tmp_path: Path) -> None:
    p = prediction(film_file(tmp_path))
    assert [d.Modality for d in p.to_dicom(["ko"])] == ["KO"]
    assert replace(p, fractured=False, boxes=()).to_dicom(["ko"]) == []
    assert [d.Modality for d in replace(p, fractured=False, boxes=()).to_dicom()] == ["SR", "OT", "PR"]


def test_a_map_that_was_dropped_is_asked_for(tmp_path: Path) -> None:
    p = prediction(film_file(tmp_path)).drop_pixels()
    assert len(p.to_dicom(["sr", "sc", "gsps"])) == 3, "the film is read again"
    with pytest.raises(ConfigurationError, match="keep=True"):
        p.to_dicom(["seg"])


def test_a_failure_gives_its_own_error_and_unknown_kinds_are_refused() -> None:
    error = ConfigurationError("no film")
    with pytest.raises(ConfigurationError, match="no film"):
        fracture.results.to_dicom(Failure("x", error))
    p = prediction(small_film())
    for kinds in (["pdf"], [], "SR"):
        with pytest.raises(ConfigurationError, match="allowed: sr, sc, gsps, seg, ko"):
            p.to_dicom(kinds, source=small_film())


def test_a_picture_makes_a_study_of_its_own() -> None:
    p = prediction(gradient(64, 96), spacing=(0.1, 0.1))
    made = p.to_dicom(["sr", "sc"], new_study=True)
    assert [d.Modality for d in made] == ["OT", "SR", "OT"]
    picture, report, _ = made
    assert read_sr(report).referenced == picture.SOPInstanceUID
    assert len({(d.StudyInstanceUID, d.PatientID) for d in made}) == 1
    assert np.abs(picture.pixel_array / 65535 - p.radiograph.pixels).max() < 1e-4
    assert p.to_dicom(["sr"], new_study=True)[0].SOPInstanceUID == picture.SOPInstanceUID


def test_without_highdicom_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    p = prediction(small_film())
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[dicom\]"):
        p.to_dicom(source=small_film())


def test_the_look_of_other_wings_results() -> None:
    """A wing that this library does not know: points, and words of its own."""
    from fracture.results.statement import statement_of

    line = {"source": "x", "width": 9, "height": 8, "levels": [{"x": 1.5, "y": 2, "label": "L1"}], "angle": 12.5}
    said = statement_of(line)
    (place,) = said.places
    assert (place.name, place.kind, place.edges, place.values) == ("level 1", "level", (1.5, 2.0), {"label": "L1"})
    assert said.values == {"angle": 12.5}


def _edges(box: Box) -> tuple[float, ...]:
    return box.x0, box.y0, box.x1, box.y1


def _uids(result: fracture.Prediction) -> tuple[str, ...]:
    return tuple(str(made.SOPInstanceUID) for made in result.to_dicom(KINDS))


def _texts(item: Dataset) -> list[str]:
    found = [str(item.TextValue)] if "TextValue" in item else []
    return found + [text for inner in item.get("ContentSequence", ()) for text in _texts(inner)]


def _without_text(item: Dataset) -> None:
    for inner in item.get("ContentSequence", ()):
        if inner.ValueType == "TEXT":
            inner.TextValue = "x"
        _without_text(inner)


def test_the_grid_of_a_map_may_reach_beyond_the_film(tmp_path: Path) -> None:
    p = prediction(film_file(tmp_path), map_to_source=GridToSource(8, 8, -3.5, -2.5))
    (made,) = p.to_dicom(["seg"])
    assert (made.Rows, made.Columns) == (p.height, p.width)


def test_objects_share_nothing(tmp_path: Path) -> None:
    one, two = prediction(film_file(tmp_path)).to_dicom(["sr", "seg"])
    one.PatientName = "Changed^By hand"
    assert two.PatientName != one.PatientName


def test_the_class_of_a_film_that_highdicom_does_not_know_stays(tmp_path: Path) -> None:
    unknown = "1.2.3.4.5.6.7.8"
    p = prediction(film_file(tmp_path, SOPClassUID=unknown))
    report, state, mask, _ = p.to_dicom(["sr", "gsps", "seg", "ko"])
    assert state.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPClassUID == unknown
    assert mask.SourceImageSequence[0].ReferencedSOPClassUID == unknown
    assert unknown in str(report)
