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


@pytest.mark.parametrize(
    "values", [[1e200, 1e200], [1e-200, 1e-200], [0.001, 0.001], [25, 25], [0.1, 5.0], ["1e999", "1"]]
)
@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"])
def test_implausible_spacing_is_unknown_and_told(keyword: str, values: list[Any]) -> None:
    made = dataset(**{keyword: [1, 1]})
    made[keyword]._value = values
    found = read(made)
    assert (found.spacing, found.aspect) == (None, 1.0)
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith(keyword)


def test_magnification_to_an_implausible_spacing() -> None:
    found = film(ImagerPixelSpacing=[0.02, 0.02], EstimatedRadiographicMagnificationFactor=1e6)
    assert found.spacing == (0.02, 0.02)
    assert "magnification factor is invalid" in found.warnings[0]


def test_numbers_beyond_all_measure_are_left_out() -> None:
    """A slope of 1e305 overflows where it is multiplied."""
    found = film(RescaleSlope="1e305", RescaleIntercept="0", WindowCenter="1e307", WindowWidth="1e308")
    assert "rescale" in found.warnings[0]
    assert "window" in found.warnings[1]
    assert (found.pixels.min(), found.pixels.max()) == (0.0, 1.0)


def test_pixel_aspect_ratio() -> None:
    """Faults 30: for films without a spacing; else the spacing says it."""
    assert film(PixelAspectRatio=[2, 1]).aspect == 2.0
    both = film(PixelAspectRatio=[2, 1], PixelSpacing=[0.2, 0.3])
    assert both.aspect == pytest.approx(2 / 3)
    assert film().aspect == 1.0
    for odd in ([1, 0], [1000, 1], [-2, 1], [2]):
        made = dataset(PixelAspectRatio=[1, 1])
        made["PixelAspectRatio"]._value = odd
        found = read(made)
        assert found.aspect == 1.0
        assert "PixelAspectRatio" in found.warnings[0]


def test_orientation_of_the_patient() -> None:
    """Faults 19."""
    assert film().orientation is None
    usual, mirrored = film(PatientOrientation=["L", "F"]), film(PatientOrientation=["RA", "F"])
    assert (usual.orientation, usual.mirrored) == (("L", "F"), False)
    assert (mirrored.orientation, mirrored.mirrored) == (("RA", "F"), True)
    for odd in (["LE", "V"], ["Q", "F"], ["L"], ["", ""], ["RT", "D"]):  # four-legged, unknown, incomplete
        assert film(PatientOrientation=odd).orientation is None
    for odd in (["RL", "F"], ["RR", "F"], ["R", "L"], ["R", "RF"], ["R", "F", "A"]):  # it contradicts itself
        assert film(PatientOrientation=odd).orientation is None


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"PresentationIntentType": "FOR PROCESSING"}, True),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}, True),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1", "PresentationIntentType": "FOR PRESENTATION"}, False),
        ({"PresentationIntentType": "FOR PRESENTATION"}, False),
    ],
)
def test_films_that_were_not_made_for_display_are_told(attributes: dict[str, Any], told: bool) -> None:
    """Faults 21."""
    found = film(**attributes)
    assert any("FOR PROCESSING" in one for one in found.warnings) == told
    dark = film(PixelIntensityRelationshipSign=1, **attributes)
    assert any("bone is dark" in one for one in dark.warnings) == told


@pytest.mark.parametrize("modality", ["XR", "DR", "RX"])
@pytest.mark.parametrize("storage", ["1", "1.1", "1.1.1", "1.3", "12.2"])
def test_a_modality_of_one_s_own_with_the_class_of_a_radiograph(modality: str, storage: str) -> None:
    """Faults 22."""
    found = film(Modality=modality, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{storage}")
    assert "SOP class" in found.warnings[0]
    for other in ("7", "2", "128"):
        with pytest.raises(NotARadiographError):
            film(Modality=modality, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{other}")


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
        ({"PhotometricInterpretation": "GRAYISH"}, "PhotometricInterpretation is unknown"),
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
