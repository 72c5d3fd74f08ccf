"""What is accepted, the spacing, regions, views and sides."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from fracture import Radiograph, read
from fracture.errors import MultiFrameError, NotARadiographError, UnreadableFileError, UnsupportedError
from tests.dicom.builder import code, dataset, file_bytes, gradient


def film(**attributes: Any) -> Radiograph:
    return read(file_bytes(dataset(**attributes)))


@pytest.mark.parametrize("modality", ["CR", "DX", "RG", "RF", "IO", "PX", "HC", "OT", "SC", None, ""])
def test_plain_radiographs_are_accepted(modality: str | None) -> None:
    assert film(Modality=modality).bits == 12


@pytest.mark.parametrize(
    ("modality", "words"),
    [
        ("CT", "a CT slice"),
        ("MR", "an MR slice"),
        ("US", "an ultrasound image"),
        ("PT", "a PET slice"),
        ("MG", "a mammogram"),
        ("XA", "an angiogram"),
        ("SR", "a structured report"),
        ("ZZ", "a DICOM modality"),
    ],
)
def test_others_are_refused_unless_allowed(modality: str, words: str) -> None:
    made = file_bytes(dataset(Modality=modality, SOPClassUID="1.2.840.10008.5.1.4.1.1.7"))
    with pytest.raises(NotARadiographError, match=rf"{words}.*allow=\('"):
        read(made)
    assert read(made, allow=("*",)).bits == 12
    assert read(made, allow=(modality.lower(),)).bits == 12
    if modality != "CT":
        with pytest.raises(NotARadiographError):
            read(made, allow=("CT",))


@pytest.mark.parametrize(
    ("storage", "words"), [("2", "CT slice"), ("4.1", "MR slice"), ("128", "PET slice"), ("88.22", "structured report")]
)
def test_the_storage_class_speaks_where_the_modality_is_silent(storage: str, words: str) -> None:
    for modality in (None, "OT"):
        with pytest.raises(NotARadiographError, match=words):
            film(Modality=modality, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{storage}")


def test_no_pixels() -> None:
    with pytest.raises(NotARadiographError, match="without pixels"):
        film(PixelData=None)
    with pytest.raises(NotARadiographError, match=r"a presentation state.*without pixels"):
        film(PixelData=None, Modality="PR")
    with pytest.raises(UnsupportedError, match="floating point"):
        film(PixelData=None, FloatPixelData=bytes(512 * 4))


@pytest.mark.parametrize(
    ("attributes", "spacing", "source"),
    [
        ({}, None, None),
        ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "PixelSpacing"),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "ImagerPixelSpacing"),
        ({"PixelSpacing": [0.1, 0.1], "ImagerPixelSpacing": [0.2, 0.2]}, (0.1, 0.1), "PixelSpacing"),
        ({"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2), "ImagerPixelSpacing"),
        (
            {
                "PixelSpacing": [0.2, 0.2],
                "ImagerPixelSpacing": [0.2, 0.2],
                "EstimatedRadiographicMagnificationFactor": 1.25,
            },
            (0.16, 0.16),
            "ImagerPixelSpacing/EstimatedRadiographicMagnificationFactor",
        ),
        (
            {
                "PixelSpacing": [0.2, 0.2],
                "ImagerPixelSpacing": [0.2, 0.2],
                "PixelSpacingCalibrationType": "FIDUCIAL",
                "EstimatedRadiographicMagnificationFactor": 1.25,
            },
            (0.2, 0.2),
            "PixelSpacing",
        ),
        (
            {"PixelSpacing": [0.15, 0.15], "EstimatedRadiographicMagnificationFactor": 1.25},
            (0.15, 0.15),
            "PixelSpacing",
        ),
        ({"NominalScannedPixelSpacing": [0.17, 0.17]}, (0.17, 0.17), "NominalScannedPixelSpacing"),
        ({"PixelSpacing": [0.0, 0.0], "ImagerPixelSpacing": [0.3, 0.3]}, (0.3, 0.3), "ImagerPixelSpacing"),
    ],
)
def test_spacing(attributes: dict[str, Any], spacing: tuple[float, float] | None, source: str | None) -> None:
    found = film(**attributes)
    assert found.spacing == (None if spacing is None else pytest.approx(spacing))
    assert found.spacing_source == source


@pytest.mark.parametrize("values", [[0.0, 0.0], [-0.1, 0.1], [0.1], [0.1, 0.1, 0.1], ["NaN", "0.1"], ["a", "b"]])
def test_invalid_spacing_is_told(values: list[Any]) -> None:
    made = dataset(PixelSpacing=[1, 1])
    made["PixelSpacing"]._value = values
    found = read(made)
    assert found.spacing is None
    assert found.warnings == ("PixelSpacing is zero, negative or malformed; it was left out",)


@pytest.mark.parametrize("factor", [0.0, -1.0, 0.5])
def test_invalid_magnification_is_told(factor: float) -> None:
    found = film(ImagerPixelSpacing=[0.2, 0.2], EstimatedRadiographicMagnificationFactor=factor)
    assert found.spacing == (0.2, 0.2)
    assert "magnification" in found.warnings[0]


def test_region_view_and_side() -> None:
    region = code("85562004")
    region.AnatomicRegionModifierSequence = Sequence([code("7771000")])
    found = film(AnatomicRegionSequence=Sequence([region]), ViewCodeSequence=Sequence([code("399182000")]))
    assert (found.regions, found.region_source) == (("hand",), "dicom")
    assert (found.view, found.laterality) == ("oblique", "left")
    plain = film(BodyPartExamined="WRIST", ViewPosition="PA", Laterality="L", ImageLaterality="R")
    assert (plain.regions, plain.view, plain.laterality) == (("wrist",), "frontal", "right")
    bare = film()
    assert (bare.regions, bare.region_source, bare.view, bare.laterality) == ((), None, None, None)
    asked = read(file_bytes(dataset(BodyPartExamined="WRIST")), region="hand")
    assert (asked.regions, asked.region_source) == (("hand",), "caller")


def test_regions_of_a_tree_of_one_s_own() -> None:
    from fracture.regions import DEFAULT_TREE

    tree = DEFAULT_TREE.with_region("sesamoid", "foot", body_parts=["SESAMOID"])
    made = file_bytes(dataset(BodyPartExamined="SESAMOID"))
    assert read(made).regions == ()
    assert read(made, tree=tree).regions == ("sesamoid",)


def test_frames() -> None:
    stack = gradient(16, 32).tobytes() * 3
    made = file_bytes(dataset(PixelData=stack, NumberOfFrames=3))
    with pytest.raises(MultiFrameError, match="3 frames"):
        read(made)
    assert read(made, frame=2).height == 16
    with pytest.raises(UnreadableFileError, match="truncated"):
        read(file_bytes(dataset(PixelData=stack, NumberOfFrames=4)))
    assert read(file_bytes(dataset(NumberOfFrames=1)), frame=0).height == 16
    with pytest.raises(MultiFrameError, match="no such frame"):
        read(file_bytes(dataset()), frame=1)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"Rows": None}, "Rows is missing"),
        ({"Rows": 0}, "no pixels"),
        ({"BitsAllocated": 12}, "BitsAllocated"),
        ({"BitsStored": 20}, "BitsStored"),
        ({"HighBit": 16}, "HighBit"),
        ({"HighBit": 3}, "HighBit"),
        ({"PixelRepresentation": 2}, "PixelRepresentation"),
        ({"PixelRepresentation": None}, "PixelRepresentation"),
        ({"SamplesPerPixel": 2}, "SamplesPerPixel"),
        ({"PhotometricInterpretation": None}, "PhotometricInterpretation is missing"),
        ({"PhotometricInterpretation": "GREYISH"}, "PhotometricInterpretation is unknown"),
        ({"NumberOfFrames": 0}, "NumberOfFrames"),
    ],
)
def test_contradictory_headers(attributes: dict[str, Any], words: str) -> None:
    with pytest.raises((UnreadableFileError, UnsupportedError), match=f"<bytes>: .*{words}"):
        film(**attributes)


def test_a_bare_dataset_is_enough() -> None:
    made = dataset()
    bare = Dataset()
    for element in made:
        bare.add(element)
    assert read(bare).bits == 12
