"""Headers as they come: what is absent, invalid, over-long or in another alphabet never reaches an object."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from fracture.errors import ConfigurationError, FractureError, NotARadiographError
from fracture.results.header import read_source
from tests.dicom.builder import dataset, file_bytes, gradient
from tests.results.made import KINDS, NOW, UIDS, faults, film_file, prediction

TYPE_2 = [
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"),
    *("StudyID", "ReferringPhysicianName"),
]


@pytest.mark.parametrize("keyword", TYPE_2)
def test_an_attribute_that_must_be_there_and_is_not_becomes_empty(keyword: str, tmp_path: Path) -> None:
    path = film_file(tmp_path, **{keyword: None})
    for made in prediction(path).to_dicom(KINDS):
        assert keyword in made
        assert not made[keyword].value
        assert faults(made, tmp_path) == []


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientSex", "U"),
        ("PatientBirthDate", "19000000"),
        ("StudyDate", "yesterday"),
        ("StudyTime", "99"),
        ("AccessionNumber", "A" * 20),
        ("StudyID", "S" * 17),
        ("PatientID", "P" * 65),
        ("PatientName", "N" * 65),
    ],
)
def test_an_invalid_value_becomes_empty(keyword: str, value: str, tmp_path: Path) -> None:
    path = film_file(tmp_path, **{keyword: value})
    for made in prediction(path).to_dicom(KINDS):
        assert not made[keyword].value
        assert faults(made, tmp_path) == []


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
        ("ISO_IR 100", "Äneas^Rüdiger"),
        ("ISO_IR 6", "Plain^Name"),
    ],
)
def test_a_name_in_any_alphabet_arrives_as_unicode(charset: str, name: str, tmp_path: Path) -> None:
    path = film_file(tmp_path, SpecificCharacterSet=charset, PatientName=name)
    before = path.read_bytes()
    for made in prediction(path).to_dicom(KINDS):
        assert faults(made, tmp_path) == []
        read = pydicom.dcmread(tmp_path / "made.dcm")
        assert read.SpecificCharacterSet == "ISO_IR 192"
        assert str(read.PatientName) == name
    assert path.read_bytes() == before


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_a_film_that_cannot_be_referred_to_is_refused(keyword: str, tmp_path: Path) -> None:
    path = film_file(tmp_path, **{keyword: None})
    with pytest.raises(ConfigurationError, match=keyword):
        prediction(path).to_dicom()


def test_what_is_copied_beyond_highdicom(tmp_path: Path) -> None:
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "HOSPITAL"
    path = film_file(
        tmp_path,
        TimezoneOffsetFromUTC="+0530",
        OtherPatientIDs=["A1", "B2"],
        IssuerOfAccessionNumberSequence=[issuer],
        ImageLaterality="R",
    )
    for made in prediction(path).to_dicom(KINDS, now=NOW):
        assert made.TimezoneOffsetFromUTC == "+0530"
        assert list(made.OtherPatientIDs) == ["A1", "B2"]
        assert made.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "HOSPITAL"
        assert made.InstanceCreationTime.startswith("103607"), "times are those of the film's zone"
        assert faults(made, tmp_path) == []
        if made.Modality in ("OT", "PR"):
            assert made.Laterality == "R"
            assert made.BodyPartExamined == "WRIST"


@pytest.mark.parametrize(("part", "there"), [("CHEST", False), ("WRIST", True)])
def test_a_side_is_named_only_of_what_has_one(part: str, there: bool, tmp_path: Path) -> None:
    path = film_file(tmp_path, BodyPartExamined=part)
    for made in prediction(path).to_dicom(["sc", "gsps"]):
        assert ("Laterality" in made) == there
        assert faults(made, tmp_path) == []


def test_an_animal_has_an_owner(tmp_path: Path) -> None:
    path = film_file(tmp_path, PatientSpeciesDescription="Canine")
    for made in prediction(path).to_dicom(KINDS):
        assert made.ResponsiblePerson == ""
        assert faults(made, tmp_path) == []


def test_a_data_set_a_file_object_and_bytes_give_the_same(tmp_path: Path) -> None:
    path = film_file(tmp_path)
    read = [read_source(source) for source in (path, path.read_bytes(), pydicom.dcmread(path))]
    with path.open("rb") as file:
        read.append(read_source(file))
    assert len({(str(one.image), str(one.identity)) for one in read}) == 1


def test_a_picture_is_no_study_and_its_size_must_fit(tmp_path: Path, repository: Path) -> None:
    picture = repository / "examples" / "hand_normal.png"
    with pytest.raises(NotARadiographError, match="new-study"):
        read_source(picture)
    other = film_file(tmp_path, pixels=gradient(32, 32))
    with pytest.raises(ConfigurationError, match="another film"):
        prediction(file_bytes(dataset(gradient(64, 96), **UIDS))).to_dicom(source=other)
    with pytest.raises(FractureError, match="header is not known"):
        prediction(gradient(64, 96)).to_dicom()
