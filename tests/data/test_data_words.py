"""What names of classes, labels and files mean."""

from __future__ import annotations

import pytest

from fracture.data.words import as_flag, as_label, is_unknown, says_fracture, stem_of_copies


@pytest.mark.parametrize(
    "name",
    [
        "fracture", "Fractured", "wrist fracture", "non-displaced fracture", "Nondisplaced Fracture",
        "undisplaced_fracture", "not displaced fracture", "Fraktur", "Bone Fracture", "elbow positive", "fractura",
        "Frattura", "fracturé", "Bone no. 3: fracture", "Fracture no. 2", "fracture, no dislocation", "broken",
        "abnormal", "fracture1", "DistalRadiusFracture", "fracture: yes", "Fx", "Unterarmbruch",
        "fracture_nonunion", "Fracture (not displaced)",
    ],
)  # fmt: skip
def test_names_of_fractures(name: str) -> None:
    assert says_fracture(name) is True


@pytest.mark.parametrize(
    "name",
    [
        "No Fracture", "no_fracture", "NoFracture", "non-fractured", "Non_fractured", "nonfractured",
        "not fractured", "unfractured", "nofracture", "healthy (no fracture)", "Keine Fraktur", "kein Bruch",
        "ohne Fraktur", "without fracture", "w/o fracture", "fracture: no", "fracture=0", "fracture absent",
        "Fracture not seen", "normal", "healthy", "negative", "wrist negative", "no acute fracture", "No Finding",
        "not a fracture", "not visibly fractured", "nicht gebrochen", "sans fracture", "sin fractura", "unbroken",
        "fracture-free", "absence of fracture", "notfractured", "humerus - no fracture", "fracture negative",
        "No evidence of fracture", "intact",
    ],
)  # fmt: skip
def test_names_of_none(name: str) -> None:
    assert says_fracture(name) is False


@pytest.mark.parametrize(
    "name", ["humerus", "metal", "boneanomaly", "text", "no_cast", "left_hip", "nose", "0", "night"]
)
def test_names_that_say_neither(name: str) -> None:
    assert says_fracture(name) is None


def test_label_words() -> None:
    for word in ("y", "Y", "yes", "true", "1", "1.0", 1, True, "positive", "Ja", " t "):
        assert as_flag(word) is True, word
    for word in ("n", "No", "false", "0", 0.0, False, "negative", "none", "nein"):
        assert as_flag(word) is False, word
    for word in ("2", 2, "maybe", "", None, [1], "unknown", float("nan")):
        assert as_flag(word) is None, word
    assert [as_label(w) for w in ("abnormal", "Normal", "non_fractured", "perhaps", 3)] == [
        True,
        False,
        False,
        None,
        None,
    ]
    assert all(is_unknown(value) for value in (None, "", " Unknown", "N/A", "?", float("nan")))
    assert not any(is_unknown(value) for value in (0, "0", False, "none"))


def test_augmented_copies_share_a_stem() -> None:
    first = stem_of_copies("train/images/hand-01_png.rf.0123456789abcdef0123456789abcdef.jpg")
    assert first == stem_of_copies("valid/images/hand-01_png.rf.fedcba9876543210.jpg") == "hand-01"
    assert stem_of_copies("a/IMG_7.JPG.rf.Zx81k2LmNo34.png") == "IMG_7.JPG"
    assert stem_of_copies("train/images/hand-01.png") == stem_of_copies("x.rf.1.png") == ""
