"""Every kind of fault is found, and a clean set has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fracture.data.coco import read_coco
from fracture.data.duplicates import fingerprint, near_pairs
from fracture.data.exif import orient_film, repair_exif_frames
from fracture.data.images import ImageHeader, read_header
from fracture.data.records import AnnotatedSet, Film
from fracture.data.splits import Split, published_split, split_parts
from fracture.data.verify import CODES, VerifyReport, verify_set
from fracture.errors import DataError, UnreadableFileError
from fracture.io.images import apply_orientation
from fracture.io.reading import read

Maker = Callable[..., NDArray[np.uint8]]


def changed(films: AnnotatedSet, index: int, **fields: object) -> AnnotatedSet:
    made = replace(films[index], **fields)  # type: ignore[arg-type]
    return replace(films, films=(*films.films[:index], made, *films.films[index + 1 :]))


def codes(report: VerifyReport) -> set[str]:
    return set(report.counts)


def test_clean_set_has_no_faults(small_set: AnnotatedSet) -> None:
    halves = split_parts(small_set, {"train": 0.5, "tune": 0.5})
    report = verify_set(small_set, halves)
    assert report.faults == ()
    assert report.exit_code == 0
    assert report.checked == ("annotations", "files", "duplicates", "split")
    assert "0 errors, 0 warnings" in report.to_text()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"boxes": ((20.0, 30.0, 165.0, 80.0),)}, "box_outside"),
        ({"boxes": ((-1.5, 30.0, 60.0, 80.0),)}, "box_overhang"),
        ({"boxes": ((20.0, 30.0, 20.0, 80.0),)}, "box_degenerate"),
        ({"boxes": ((20.0, 30.0, 21.0, 80.0),)}, "box_tiny"),
        ({"boxes": ((0.0, 0.0, 160.0, 195.0),)}, "box_huge"),
        ({"fractured": 0}, "label_contradiction"),
        ({"boxes": ()}, "label_unlocalized"),
        ({"label_conflict": True}, "label_conflict"),
        ({"regions": ("wing",)}, "region_unknown"),
        ({"regions": ()}, "region_missing"),
    ],
)
def test_annotation_faults(small_set: AnnotatedSet, fields: dict[str, object], code: str) -> None:
    report = verify_set(changed(small_set, 0, **fields), files=False)
    assert code in codes(report)
    fault = next(f for f in report.faults if f.code == code)
    if code.startswith(("box", "label")):
        assert fault.films == ("images/00.png",)
    assert report.exit_code == (1 if CODES[code][0] == "error" else 0)


def test_box_within_rounding_is_no_fault(small_set: AnnotatedSet) -> None:
    films = changed(small_set, 0, boxes=((-0.4, 0.0, 100.0, 200.3),))
    assert verify_set(films, files=False).faults == ()


def test_empty_classes_and_strata(small_set: AnnotatedSet) -> None:
    normal = small_set.select(lambda film: not film.fractured)
    assert "class_empty" in codes(verify_set(normal, files=False))
    lopsided = small_set.select(lambda film: not (film.fractured and "wrist" in film.regions))
    report = verify_set(lopsided, files=False)
    assert codes(report) == {"stratum_empty"}
    assert "no fractured films of wrist" in report.faults[0].message


def test_all_groups_single(small_set: AnnotatedSet) -> None:
    films = replace(small_set, films=tuple(replace(f, group=f.source) for f in small_set))
    assert "groups_absent" in codes(verify_set(films, files=False))


def test_reader_remarks_are_reported(small_set: AnnotatedSet) -> None:
    films = replace(small_set, remarks=(("images/00.png", "read as 1"),))
    assert codes(verify_set(films, files=False)) == {"reader_remark"}


def test_file_faults_are_told_all_at_once(small_set: AnnotatedSet) -> None:
    root = small_set.root / "images"
    (root / "00.png").unlink()
    (root / "01.png").write_bytes((root / "01.png").read_bytes()[:200])
    (root / "02.png").write_bytes(b"")
    cv2.imwrite(str(root / "03.png"), np.zeros((10, 10), np.uint8) + np.arange(10, dtype=np.uint8) * 9)
    (root / "extra.png").write_bytes((root / "05.png").read_bytes())
    report = verify_set(small_set)
    assert report.counts == {"missing_file": 1, "unreadable_file": 2, "size_mismatch": 1, "file_unlisted": 1}
    assert report.exit_code == 1
    assert "10 x 10" in next(f.message for f in report.faults if f.code == "size_mismatch")


def test_exif_frames(small_set: AnnotatedSet, film_pixels: Maker) -> None:
    path = small_set.root / "images/00.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(film_pixels(50)).save(path, exif=exif, quality=95)
    films = changed(small_set, 0, source="images/00.jpg")
    (small_set.root / "images/00.png").unlink()
    report = verify_set(films)
    assert codes(report) == {"exif_frame"}
    assert "EXIF orientation 6" in report.faults[0].message
    assert "fit both frames" in report.faults[0].message
    assert repair_exif_frames(films) == films  # its box fits both frames: nothing tells which is right
    repaired = repair_exif_frames(films, drawn="stored")
    assert (repaired[0].width, repaired[0].height) == (200, 160)
    assert verify_set(repaired).faults == ()
    exif[0x0112] = 3
    Image.fromarray(film_pixels(50)).save(path, exif=exif, quality=95)
    assert codes(verify_set(films)) == {"exif_unclear"}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_the_pixels(orientation: int) -> None:
    stored = np.zeros((20, 30), np.uint8)
    stored[4:9, 11:25] = 1
    film = Film("a", 30, 20, 1, boxes=((11, 4, 25, 9),), polygons=((((11.0, 4.0), (25.0, 4.0), (25.0, 9.0)),),))
    turned = orient_film(film, ImageHeader(30, 20, orientation))
    seen = apply_orientation(stored, orientation)
    rows, columns = np.nonzero(seen)
    assert turned.boxes == ((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1),)
    assert (turned.height, turned.width) == seen.shape
    x, y = np.array(turned.polygons[0][0]).T
    assert (x.min(), y.min(), x.max(), y.max()) == turned.boxes[0]
    with pytest.raises(DataError, match="stored frame"):
        orient_film(film, ImageHeader(31, 20, orientation))


def halves(films: AnnotatedSet, first: set[str]) -> Split:
    parts = {
        "train": tuple(f.source for f in films if f.source in first),
        "tune": tuple(f.source for f in films if f.source not in first),
    }
    return Split(parts, films.name, 0, "by hand", films.fingerprint())


def test_split_faults(small_set: AnnotatedSet) -> None:
    good = split_parts(small_set, {"train": 0.5, "tune": 0.5})
    moved = good.parts["train"][0]
    straddling = halves(small_set, set(good.parts["train"]) - {moved})
    report = verify_set(small_set, straddling, files=False)
    assert "group_straddles" in codes(report)
    assert report.errors[0].part == "train+tune"

    stale = replace(good, parts={**good.parts, "tune": (*good.parts["tune"][1:], "gone.png")}, fingerprint="old")
    found = codes(verify_set(small_set, stale, files=False))
    assert {"split_unknown_film", "split_left_out", "split_stale"} <= found

    sorted_by_label = halves(small_set, {f.source for f in small_set if f.fractured})
    found = codes(verify_set(small_set, sorted_by_label, files=False))
    assert "class_empty_part" in found
    wrists = halves(small_set, {f.source for f in small_set if "wrist" in f.regions})
    assert "stratum_empty_part" in codes(verify_set(small_set, wrists, files=False))


def test_duplicates_within_and_across_parts(small_set: AnnotatedSet, film_pixels: Maker) -> None:
    root = small_set.root / "images"
    (root / "08.png").write_bytes((root / "00.png").read_bytes())  # exact, same label, another group
    jpeg = cv2.resize(film_pixels(1), None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(root / "03.jpg"), jpeg[:, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 60])  # near, mirrored, other label
    (root / "03.png").unlink()
    films = changed(small_set, 3, source="images/03.jpg", width=jpeg.shape[1], height=jpeg.shape[0])
    report = verify_set(films)
    assert report.counts == {"duplicate_exact": 1, "duplicate_near_labels": 1, "duplicate_near": 1}
    near = next(f for f in report.faults if f.code == "duplicate_near")
    assert near.films == ("images/01.png", "images/03.jpg")
    assert "mirrored" in near.message
    relabeled = changed(films, 8, fractured=0, boxes=())
    assert verify_set(relabeled, near=False).counts == {"duplicate_labels": 1, "duplicate_exact": 1}
    split = halves(films, {"images/00.png", "images/01.png", "images/04.png"})
    found = verify_set(films, split).counts
    assert found["duplicate_exact_parts"] == 1
    assert found["duplicate_near_parts"] == 1
    assert "duplicate_near" not in codes(verify_set(films, near=False))


@pytest.mark.parametrize(
    "copy",
    [
        lambda p: p[:, ::-1],
        lambda p: np.rot90(p),
        lambda p: np.rot90(p[:, ::-1], 3),
        lambda p: 1 - p,
        lambda p: p**1.3,
        lambda p: cv2.resize(p, (300, 300)),
        lambda p: p[3:-3, 3:-3],
    ],
    ids=["mirror", "turn", "mirror and turn", "negative", "gamma", "square", "crop"],
)
def test_copies_of_real_films_are_found_and_strangers_are_not(
    shared_data: Path, copy: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> None:
    films = read_coco(shared_data / "fracatlas")
    pixels = [read(films.image_path(film)).pixels for film in films.films[100:3000:150]]
    pixels += [np.ascontiguousarray(copy(p), np.float32) for p in pixels[:6]]
    pairs = near_pairs([fingerprint(p) for p in pixels], lambda i: pixels[i])
    n = len(pixels) - 6
    assert {(p.first, p.second) for p in pairs} == {(i, n + i) for i in range(6)}


def test_films_that_cannot_be_compared(film_pixels: Maker) -> None:
    flat = np.full((40, 40), 0.5, np.float32)
    one = film_pixels(0).astype(np.float32) / 255
    prints = [None, fingerprint(flat), fingerprint(one), fingerprint(flat * 0.5)]
    assert near_pairs(prints, lambda i: [flat, flat, one, flat][i]) == []
    assert near_pairs([], lambda i: flat) == []


def test_report_is_readable_by_machines_and_people(small_set: AnnotatedSet) -> None:
    films = changed(changed(small_set, 0, fractured=0), 2, fractured=1)
    report = verify_set(films, files=False)
    content = json.loads(report.to_json())
    assert content["counts"] == {"label_contradiction": 1, "label_unlocalized": 1}
    assert content["faults"][0] == {
        "code": "label_contradiction",
        "severity": "error",
        "message": "images/00.png: 1 boxes on a normal film",
        "films": ["images/00.png"],
        "part": None,
    }
    text = report.to_text()
    assert text.index("ERROR label_contradiction (1)") < text.index("WARNING label_unlocalized (1)")
    many = replace(films, films=tuple(replace(f, label_conflict=True) for f in films))
    assert "... and 9 more" in verify_set(many, files=False).to_text(limit=3)


def test_headers(tmp_path: Path, shared_data: Path) -> None:
    with pytest.raises(UnreadableFileError, match="no such file"):
        read_header(tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(UnreadableFileError, match="not an image"):
        read_header(tmp_path / "text.png")
    (tmp_path / "text.dcm").write_text("hello")
    with pytest.raises(UnreadableFileError, match="not a DICOM"):
        read_header(tmp_path / "text.dcm")
    hand = shared_data / "dicom/clinical/CR_hand_PA_adult_J2KR.dcm"
    header, radiograph = read_header(hand), read(hand)
    assert header.size == (radiograph.width, radiograph.height)


def test_real_sets_as_they_are(shared_data: Path) -> None:
    """What is known of the development sets; the search over all of FracAtlas takes too long here."""
    wrists = verify_set(read_coco(shared_data / "grazpedwri_dx_sample"))
    assert wrists.counts == {"label_unlocalized": 1, "groups_absent": 1, "reader_remark": 1}  # which classes count
    atlas = read_coco(shared_data / "fracatlas")
    report = verify_set(atlas, split_parts(atlas), files=False)
    assert report.counts == {"label_conflict": 12}
    # The published split covers fractured films alone, in runs of numbers that no group of ours straddles.
    published = published_split(atlas, field="official_fracture_split")
    assert {part: len(sources) for part, sources in published.parts.items()} == {"train": 520, "valid": 49}
    found = verify_set(atlas, published, files=False).counts
    assert "group_straddles" not in found
    assert found["class_empty_part"] == 2  # no normal films
    assert found["split_left_out"] == 1


def test_twins_of_the_hip_set_are_found(shared_data: Path) -> None:
    folder = shared_data / "hip/images"
    paths = sorted(folder.glob("02*.jpg"))
    films = tuple(Film(p.name, 640, 640, 1, regions=("hip",), group=p.name) for p in paths)
    report = verify_set(AnnotatedSet(films, "hip", folder))
    twins = {f.films for f in report.faults if f.code == "duplicate_near_groups"}
    assert twins == {
        ("022_train_dislocation_left_13.jpg", "025_train_dislocation_left_1.jpg"),
        ("027_train_dislocation_left_4.jpg", "028_train_dislocation_left_5.jpg"),
    }
