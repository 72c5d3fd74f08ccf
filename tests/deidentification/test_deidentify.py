"""A de-identified film holds what the whitelist names, pseudonyms, and its pixels; nothing else."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, strategies as st
from pydicom.uid import UID

import fracture
from fracture.deidentification import Rules, deidentify_header, read_key, save
from fracture.errors import ConfigurationError, FractureError, InputError, NotARadiographError, UnsupportedError
from fracture.io.dicom import decode_pixels
from tests.deidentification.planting import MARKS, planted, without_pixels
from tests.dicom.builder import SECRETS, dataset, file_bytes, gradient

KEY = bytes(range(32))
LEG = "wg04", "derived", "clinical", "lut_and_layout"


def film(pixels: np.ndarray | None = None, **attributes: Any) -> bytes:
    return file_bytes(dataset(pixels, **{"BurnedInAnnotation": "NO", **attributes}))


def deidentified(content: bytes, **options: Any) -> pydicom.Dataset:
    return fracture.deidentify(content, key=KEY, **options)


def written(made: pydicom.Dataset) -> bytes:
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def stored(made: pydicom.Dataset) -> np.ndarray:
    return decode_pixels(written(made))


def test_no_secret_of_a_film_gets_through() -> None:
    content = planted(film())
    assert all(mark in content for mark in MARKS)
    for dates in ("remove", "shift"):
        left = without_pixels(written(deidentified(content, dates=dates, allow="*")))
        assert not [mark for mark in MARKS if mark in left]
    left = written(deidentified(film()))
    assert not [value for value in SECRETS.values() if value.encode() in left]


@pytest.mark.slow
def test_no_secret_of_a_real_film_gets_through(shared_dicom: Path) -> None:
    done = 0
    for path in sorted(path for room in LEG for path in (shared_dicom / room).glob("*.dcm*")):
        content = path.read_bytes()
        try:
            secret = planted(gzip.decompress(content) if path.suffix == ".gz" else content)
            made = deidentified(secret, boxes=[(0, 0, 2, 2)], allow="*")
        except (InputError, AttributeError):  # no image; a file without the meta information that is to be planted
            continue
        left = without_pixels(written(made))
        assert not [mark for mark in MARKS if mark in left], path
        done += 1
    assert done >= 45


def test_what_is_behind_compressed_pixels_and_in_unused_bits_goes() -> None:
    pixels = gradient()
    hidden = film((pixels | 0x8000).astype(np.uint16), BitsStored=12, HighBit=11)
    made = deidentified(hidden)
    assert np.array_equal(np.frombuffer(made.PixelData, "<u2").reshape(pixels.shape), pixels)


@given(st.sets(st.from_regex(r"[1-2]\.[1-9][0-9]{0,9}(\.[1-9][0-9]{0,9}){1,4}", fullmatch=True), min_size=2))
def test_uids_are_valid_stable_and_differ(uids: set[str]) -> None:
    rules, other = Rules(KEY), Rules(KEY[::-1])
    made = {uid: rules.uid(uid) for uid in uids}
    assert all(new.is_valid and new.startswith("2.25.") and len(new) <= 64 for new in made.values())
    assert len(set(made.values())) == len(uids)
    assert made == {uid: Rules(KEY).uid(uid) for uid in uids}
    assert not set(made.values()) & {other.uid(uid) for uid in uids}


def test_films_of_a_patient_and_a_study_stay_together() -> None:
    one, two = (deidentified(film(SOPInstanceUID=f"1.2.3.{n}")) for n in (1, 2))
    stranger = deidentified(film(PatientID="another", StudyInstanceUID="1.2.9"))
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber", "InstitutionName"):
        assert one[keyword].value == two[keyword].value != ""
    assert one.SOPInstanceUID == one.file_meta.MediaStorageSOPInstanceUID != two.SOPInstanceUID
    assert {stranger.PatientID, stranger.StudyInstanceUID}.isdisjoint({one.PatientID, one.StudyInstanceUID})
    malformed = [deidentified(film(StudyInstanceUID="1.02.3", PatientID=name)) for name in "ab"]
    assert malformed[0].StudyInstanceUID == malformed[1].StudyInstanceUID
    assert one.PatientIdentityRemoved == "YES"
    assert one.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert UID(one.StudyInstanceUID).is_valid


@pytest.mark.parametrize(
    ("header", "age"),
    [
        ({"PatientAge": "045Y"}, "045Y"),
        ({"PatientAge": "089Y"}, "089Y"),
        ({"PatientAge": "097Y"}, "090Y"),
        ({"PatientAge": "97Y"}, "090Y"),
        ({"PatientAge": "003W"}, "003W"),
        ({"PatientBirthDate": "19200101", "StudyDate": "20190813"}, "090Y"),
        ({"PatientBirthDate": "19200101", "StudyDate": "20190813", "PatientAge": "045Y"}, "090Y"),
        ({"PatientBirthDate": "19500814", "StudyDate": "20190813"}, "068Y"),
        ({"PatientBirthDate": "20190701", "StudyDate": "20190813"}, "001M"),
        ({"PatientBirthDate": "20190810", "StudyDate": "20190813"}, "003D"),
        ({"PatientBirthDate": "20200101", "StudyDate": "20190813"}, None),
        ({"PatientBirthDate": "", "PatientAge": "old"}, None),
    ],
)
@pytest.mark.parametrize("dates", ["remove", "shift"])
def test_nobody_is_older_than_ninety_and_no_birth_date_is_left(header: dict[str, str], age: str, dates: str) -> None:
    made = deidentified(film(**{"PatientBirthDate": None, **header}), dates=dates)
    assert made.get("PatientAge") == age
    assert made.PatientBirthDate == ""


def test_dates_go_or_move_by_the_same_days() -> None:
    first, second = (
        film(StudyDate=day, StudyTime="101112", SOPInstanceUID=f"1.2.{day}") for day in ("20190813", "20200301")
    )
    gone = deidentified(first)
    assert (gone.StudyDate, gone.StudyTime, gone.LongitudinalTemporalInformationModified) == ("", "", "REMOVED")
    moved = [deidentified(content, dates="shift") for content in (first, second)]
    days = [np.datetime64(f"{m.StudyDate[:4]}-{m.StudyDate[4:6]}-{m.StudyDate[6:]}") for m in moved]
    assert days[1] - days[0] == np.datetime64("2020-03-01") - np.datetime64("2019-08-13")
    assert 1 <= (np.datetime64("2019-08-13") - days[0]).astype(int) <= 3650
    assert moved[0].StudyTime == "101112"


def test_the_institution_stays_if_asked() -> None:
    assert deidentified(film(), keep_institution=True).InstitutionName == SECRETS["InstitutionName"]


@pytest.mark.parametrize("burnt", ["YES", None, "maybe"])
def test_a_film_that_may_show_a_name_is_refused(burnt: str | None) -> None:
    with pytest.raises(UnsupportedError, match=r"burnt into the pixels.*--box.*--outside-field"):
        deidentified(film(BurnedInAnnotation=burnt))
    assert deidentified(film(BurnedInAnnotation=burnt), boxes=[(0, 0, 1, 1)]).BurnedInAnnotation == "NO"


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
def test_a_box_is_black_to_its_edges_and_nothing_else_changes(photometric: str, signed: bool) -> None:
    pixels = gradient(40, 60).astype(np.int16 if signed else np.uint16) - (2048 if signed else 0)
    content = film(pixels, PhotometricInterpretation=photometric, BitsStored=12, PixelRepresentation=int(signed))
    made = deidentified(content, boxes=[(10.5, 3, 20, 7.2), (50, 30, 99, 99)])
    black = np.zeros(pixels.shape, bool)
    black[3:8, 10:20] = black[30:, 50:] = True
    assert np.array_equal(stored(made)[~black], pixels[~black])
    assert len(np.unique(stored(made)[black])) == 1
    shown = fracture.read(written(made)).pixels
    assert shown[black].max() == 0.0 < shown[~black].max()


def test_a_padding_value_is_what_is_filled_in() -> None:
    made = deidentified(film(PixelPaddingValue=77), boxes=[(0, 0, 4, 4)])
    assert made.PixelPaddingValue == 77
    assert np.all(stored(made)[:4, :4] == 77)


def test_every_frame_gets_the_boxes() -> None:
    pixels = np.stack([gradient(), gradient()[::-1]])
    content = film(gradient(), NumberOfFrames=2, PixelData=pixels.tobytes())
    made = deidentified(content, boxes=[(0, 0, 8, 16)])
    assert stored(made).shape == pixels.shape
    assert np.all(stored(made)[:, :, :8] == 0)
    assert np.array_equal(stored(made)[:, :, 8:], pixels[:, :, 8:])


def test_a_name_beside_the_field_goes_black_and_the_limb_stays() -> None:
    import cv2

    pixels = np.full((500, 400), 40, np.uint16)
    cv2.ellipse(pixels, (200, 260), (70, 190), 0, 0, 360, 2600, -1)
    limb = pixels.copy()
    text = np.zeros(pixels.shape, np.uint8)
    cv2.putText(text, "DOE^JOHN 1950", (5, 30), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 2)
    pixels[text > 0] = 4000
    cv2.rectangle(pixels, (320, 450), (385, 490), 3900, -1)
    made = deidentified(film(pixels, BurnedInAnnotation="YES", BitsStored=12), outside_field=True)
    assert stored(made).max() == 2600
    assert np.array_equal(stored(made)[limb == 2600], limb[limb == 2600])
    assert made.BurnedInAnnotation == "YES"  # nobody has looked


def test_a_film_without_a_dark_surrounding_has_no_field() -> None:
    bright = (gradient(64, 64) // 2 + 1500).astype(np.uint16)
    with pytest.raises(FractureError, match="boxes"):
        deidentified(film(bright, WindowCenter=2048, WindowWidth=4096), outside_field=True)


@pytest.mark.parametrize("boxes", [[], [(1, 2, 3)], [(5, 5, 5, 9)], [(0, 0, float("nan"), 1)], ["abcd"]])
def test_a_malformed_box_is_told(boxes: Any) -> None:
    with pytest.raises(ConfigurationError, match="box"):
        deidentified(film(), boxes=boxes)


def test_a_box_beside_the_film_is_told() -> None:
    with pytest.raises(InputError, match="outside the film"):
        deidentified(film(), boxes=[(100, 0, 120, 5)])


def test_a_picture_is_refused_with_what_to_do() -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(stream, "PNG")
    with pytest.raises(NotARadiographError, match=r"got PNG.*DICOM file it came from"):
        deidentified(stream.getvalue())


def test_keys(tmp_path: Path) -> None:
    made = read_key(tmp_path / "key")
    assert len(made) == 32
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert read_key(tmp_path / "key") == made
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_key(tmp_path / "key")
    with pytest.raises(ConfigurationError, match="at least 16 bytes"):
        Rules(b"short")
    assert "key" not in repr(Rules(KEY))


def test_the_header_alone_is_that_of_the_film() -> None:
    content = film()
    header, made = deidentify_header(content, Rules(KEY)), deidentified(content)
    again = deidentify_header(pydicom.dcmread(io.BytesIO(content)), Rules(KEY))
    for element in header:
        assert again[element.tag] == element
        if element.keyword != "DeidentificationMethod":
            assert made[element.tag] == element


@pytest.mark.parametrize(
    "syntax", ["explicit_be", "deflated", "implicit_le", "jpegls", "j2k_lossless", "rle", "3frames"]
)
def test_real_films_of_all_transfer_syntaxes(shared_dicom: Path, syntax: str) -> None:
    path = shared_dicom / "derived" / f"leg_{syntax}.dcm"
    before = decode_pixels(path)
    made = fracture.deidentify(path, key=KEY, boxes=[(0, 0, 10, 5)])
    black = np.zeros(before.shape, bool)
    black[..., :5, :10] = True
    assert np.array_equal(stored(made)[~black], before[~black])
    assert made.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


def test_a_simulated_film_is_as_valid_as_before(tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy (apt install dicom3tools)")
    fracture.simulate.write_dataset(tmp_path / "films", 1, seed=3)
    source = next((tmp_path / "films").rglob("*.dcm"))
    for number, options in enumerate(({}, {"outside_field": True, "dates": "shift"}, {"boxes": [(0, 0, 9, 9)]})):
        copy = tmp_path / f"{number}.dcm"
        save(fracture.deidentify(source, key=KEY, **options), copy)
        told = subprocess.run(["dciodvfy", copy], capture_output=True, text=True, check=False)
        assert "Error" not in told.stderr + told.stdout, told.stderr
