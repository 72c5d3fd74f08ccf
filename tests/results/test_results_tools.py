"""Objects before other people's programs: dicom3tools' validator, DCMTK's renderer and report reader, an Orthanc."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import fracture
from fracture.errors import ConfigurationError, FractureError, MultiFrameError
from fracture.results.header import read_source
from tests.ports import free_port
from tests.results.made import KINDS, faults, film_file, hips, prediction, run, save, tool

# Errors that are the film's own: a UID that is none, which must be repeated to refer to it, and frames where its class
# has but one, which are named all the same.
_OWN = ("ReferencedSOPInstanceUID", "ReferencedFrameNumber(0008,1160)> - Shall not be present")


def _every_object(path: Path) -> list[Dataset]:
    """All kinds of objects of a film; none of one that is refused."""
    try:
        p = prediction(path)
    except MultiFrameError:
        p = prediction(path, frame=1)
    except FractureError:
        return []
    try:
        read_source(path, frame=1)
    except ConfigurationError:  # it has no UIDs
        return []
    return [*p.to_dicom(KINDS), *p.to_dicom(["sr"], comprehensive_3d=False)]


def _checked(made: Dataset, folder: Path) -> list[str]:
    found = [fault for fault in faults(made, folder) if not any(own in fault for own in _OWN)]
    if made.Modality == "PR" and "999.999" not in str(made):
        assert "Test passed" in run(tool("dcmpschk"), folder / "made.dcm")
    return found


def test_objects_of_the_examples_are_valid(repository: Path, tmp_path: Path) -> None:
    for path in sorted((repository / "examples").glob("*.dcm")):
        for made in _every_object(path):
            assert _checked(made, tmp_path) == [], f"{path.name} {made.Modality}"
    for made in hips(film_file(tmp_path)).to_dicom(["sr", "sc", "gsps", "ko"]):
        assert _checked(made, tmp_path) == []


@pytest.mark.release
def test_objects_of_every_film_are_valid(shared_dicom: Path, tmp_path: Path) -> None:
    judged = 0
    for path in sorted([*shared_dicom.glob("*/*.dcm"), *shared_dicom.glob("*/*.dcm.gz")]):
        for made in _every_object(path):
            assert _checked(made, tmp_path) == [], f"{path.name} {made.Modality}"
            judged += 1
    assert judged > 300


@pytest.mark.parametrize(
    "name", ["explicit_le", "mono2_inverted", "two_windows", "rescale_sigmoid", "nonsquare_spacing"]
)
def test_dcmtk_shows_a_film_with_our_state_as_with_its_own(name: str, shared_dicom: Path, tmp_path: Path) -> None:
    """MONOCHROME1, two windows, SIGMOID with a rescale, pixels that are not square."""
    path = shared_dicom / "derived" / f"leg_{name}.dcm"
    ours = save(prediction(path).to_dicom(["gsps"])[0], tmp_path, "ours")
    theirs = tmp_path / "theirs.dcm"
    run(tool("dcmpsmk"), path, theirs)
    pictures = []
    for state in (ours, theirs):
        said = run(tool("dcmp2pgm"), "-p", state, path, state.with_suffix(".pgm"))
        assert state.with_suffix(".pgm").is_file(), said
        pictures.append(state.with_suffix(".pgm").read_bytes())
    assert pictures[0] == pictures[1]
    areas = [pydicom.dcmread(state).DisplayedAreaSelectionSequence[0] for state in (ours, theirs)]
    assert areas[0].get("PresentationPixelSpacing") == areas[1].get("PresentationPixelSpacing")


def test_a_modality_table_is_shown_as_it_is_read(shared_dicom: Path, tmp_path: Path) -> None:
    """The film holds a rescaling of 1 beside the table, and dcmpsmk takes that; DCMTK's viewer and we take the table.
    Of the film without the rescaling dcmpsmk takes the table as it stands: 10 bits in a table that says 16, shown in
    5 shades of white. Ours is widened, and shows the same picture in all of its shades."""
    path = shared_dicom / "lut_and_layout" / "CR_dental_pano_modality_lut_jpegll.dcm"
    state = save(prediction(path).to_dicom(["gsps"])[0], tmp_path)
    run(tool("dcmdjpeg"), path, tmp_path / "plain.dcm")
    run(tool("dcmp2pgm"), "-p", state, tmp_path / "plain.dcm", tmp_path / "shown.pgm")
    run(tool("dcmodify"), "-nb", "-ea", "RescaleSlope", "-ea", "RescaleIntercept", tmp_path / "plain.dcm")
    run(tool("dcmpsmk"), tmp_path / "plain.dcm", tmp_path / "theirs.dcm")
    run(tool("dcmp2pgm"), "-p", tmp_path / "theirs.dcm", tmp_path / "plain.dcm", tmp_path / "theirs.pgm")
    film = fracture.read(path)
    shown, theirs = (
        np.frombuffer((tmp_path / f"{name}.pgm").read_bytes()[-film.pixels.size :], np.uint8).reshape(film.pixels.shape)
        for name in ("shown", "theirs")
    )
    assert np.abs(theirs - (251 + 4 * (shown / 255))).max() <= 1
    assert np.abs(shown / 255 - film.pixels).max() < 0.02


def test_dcmtk_reads_the_report(tmp_path: Path) -> None:
    path = save(prediction(film_file(tmp_path)).to_dicom(["sr"])[0], tmp_path)
    page = run(tool("dsr2html"), path)
    for wanted in ("fracture made-up", "2.1", "threshold=0.3", "Preliminary", "research use only"):
        assert wanted.lower() in page.lower(), wanted


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """An archive on free ports: (HTTP, DICOM)."""
    if (program := shutil.which("Orthanc")) is None:
        pytest.skip("Orthanc is not installed")
    ports = free_port(), free_port()
    settings = {
        "StorageDirectory": str(tmp_path / "store"),
        "IndexDirectory": str(tmp_path / "store"),
        "HttpPort": ports[0],
        "DicomPort": ports[1],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": ["/usr/share/orthanc/plugins"],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "StorageCommitmentReportsSize": 1,
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    with (tmp_path / "orthanc.log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen([program, str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
    try:
        for _ in range(120):
            try:
                _get(ports[0], "system")
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.25)
        else:
            pytest.skip("Orthanc did not start: " + (tmp_path / "orthanc.log").read_text(encoding="utf-8")[-300:])
        yield ports[0], ports[1]
    finally:
        server.terminate()
        server.wait()


def _get(port: int, path: str) -> object:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
        return json.load(answer)


@pytest.mark.hospital
@pytest.mark.slow
def test_an_archive_takes_all_objects(orthanc: tuple[int, int], tmp_path: Path, repository: Path) -> None:
    http, dicom = orthanc
    films = [*sorted((repository / "examples").glob("*.dcm")), repository / "examples" / "hand_normal.png"]
    made = [one for path in films for one in prediction(path).to_dicom(KINDS, new_study=path.suffix == ".png")]
    paths = [save(one, tmp_path, f"object{k}") for k, one in enumerate(made)]
    packed = [path for path in paths if pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_compressed]
    said = run(tool("storescu"), "-R", "-xr", "127.0.0.1", dicom, *packed)
    said += run("storescu", "-R", "127.0.0.1", dicom, *(set(paths) - set(packed)))
    uids = {str(one.SOPInstanceUID) for one in made}
    assert _stored(http) == uids, said
    for one in _get(http, "studies"):  # type: ignore[attr-defined]
        gone = urllib.request.Request(f"http://127.0.0.1:{http}/studies/{one}", method="DELETE")
        with urllib.request.urlopen(gone, timeout=30) as answer:
            assert answer.status == 200
    parts = b"".join(
        b"--BOUNDARY\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n" for path in paths
    )
    request = urllib.request.Request(
        f"http://127.0.0.1:{http}/dicom-web/studies",
        data=parts + b"--BOUNDARY--\r\n",
        headers={
            "Content-Type": 'multipart/related; type="application/dicom"; boundary=BOUNDARY',
            "Accept": "application/dicom+json",
        },
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        refused = json.load(answer).get("00081198", {}).get("Value", [])  # Failed SOP Sequence
    assert refused == []
    assert _stored(http) == uids


def _stored(port: int) -> set[str]:
    """SOP instance UIDs of all that an archive holds."""
    ones = _get(port, "instances")
    assert isinstance(ones, list)
    tags = [_get(port, f"instances/{one}/simplified-tags") for one in ones]
    return {str(one["SOPInstanceUID"]) for one in tags if isinstance(one, dict)}


def test_gzipped_films_are_read_for_their_header(tmp_path: Path) -> None:
    path = film_file(tmp_path)
    packed = tmp_path / "film.dcm.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert len(prediction(packed).to_dicom()) == 3
