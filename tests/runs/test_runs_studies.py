"""``--by-study``: films that belong together give one line, one picture and one place in the report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from fracture.cli import app
from fracture.cli.studies import group_films
from fracture.errors import ConfigurationError, UnreadableDataError
from tests.runs.fakes import dicom_film, write_film

ONE, TWO = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"


def named(groups: dict[str, tuple[str, ...]], root: Path) -> dict[str, list[str]]:
    return {str(Path(name).relative_to(root)): [Path(film).name for film in films] for name, films in groups.items()}


def test_a_study_is_a_uid_a_body_part_and_a_side(tmp_path: Path) -> None:
    headers: list[dict[str, Any]] = [
        {"StudyInstanceUID": ONE, "BodyPartExamined": "WRIST", "ImageLaterality": "L"},
        {"StudyInstanceUID": TWO, "BodyPartExamined": "WRIST", "ImageLaterality": "L"},
        {"StudyInstanceUID": ONE, "BodyPartExamined": "WRIST", "Laterality": "L"},
        {"StudyInstanceUID": ONE, "BodyPartExamined": "WRIST", "ImageLaterality": "R"},
        {"StudyInstanceUID": ONE, "BodyPartExamined": "ANKLE", "ImageLaterality": "L"},
        {},
        {},
    ]
    films = []
    for number, header in enumerate(headers):
        films.append(tmp_path / f"IM{number}")
        films[-1].write_bytes(dicom_film(**header))
    (tmp_path / "broken").write_bytes(b"\0" * 128 + b"DICM cut off")
    found = group_films([str(film) for film in [*films, tmp_path / "broken", tmp_path / "gone", films[0]]])
    assert named(found, tmp_path) == {
        "IM0": ["IM0", "IM2"],
        "IM1": ["IM1"],
        "IM3": ["IM3"],
        "IM4": ["IM4"],
        "IM5": ["IM5"],
        "IM6": ["IM6"],
        "broken": ["broken"],
        "gone": ["gone"],
    }
    assert not re.search(r"1\.2\.826", json.dumps(found))  # results are called by paths, not by the patient's UIDs


def test_pictures_belong_together_by_folder_or_by_a_table(tmp_path: Path) -> None:
    films = [tmp_path / "p1" / "ap.png", tmp_path / "p2" / "ap.png", tmp_path / "p1" / "lateral.png"]
    for level, film in enumerate(films):
        write_film(film, level)
    paths = [str(film) for film in films]
    assert named(group_films(paths), tmp_path) == {"p1": ["ap.png", "lateral.png"], "p2": ["ap.png"]}
    table = tmp_path / "studies.csv"
    table.write_text("image;study\np1/ap.png;left wrist\np2/ap.png;left wrist\np1/lateral.png;7\nelsewhere.png;8\n")
    assert group_films(paths, table) == {"left wrist": tuple(paths[:2]), "7": (paths[2],)}
    table.write_text("image;study\np1/ap.png;1\n")
    with pytest.raises(ConfigurationError, match=r"2 of the films.*p2.ap\.png"):
        group_films(paths, table)
    table.write_text("image;visit\np1/ap.png;1\n")
    with pytest.raises(UnreadableDataError, match="a column with film names and a column with studies"):
        group_films(paths, table)


def test_a_folder_of_many_pictures_is_no_study(tmp_path: Path) -> None:
    for number in range(41):
        write_film(tmp_path / f"{number}.png", number)
    with pytest.raises(ConfigurationError, match=r"got 41 in.*--studies TABLE\.csv"):
        group_films([str(path) for path in tmp_path.iterdir()])


def write_noise(path: Path, seed: int) -> None:
    """Something that networks can look at."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(".png", np.random.default_rng(seed).integers(0, 255, (64, 48), np.uint8))
    path.write_bytes(bytes(data))


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for number, name in enumerate(("a/1.png", "a/2.png", "b/1.png", "c/1.png", "c/2.png")):
        write_noise(tmp_path / "in" / name, number)
    (tmp_path / "in" / "c" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    return tmp_path / "in"


def predicted(films: Path, weights: Path, *more: str | Path) -> Result:
    command = ["predict", films, "--by-study", "--weights", weights, "--device", "cpu", "--precision", "float32", *more]
    return CliRunner().invoke(app, [str(one) for one in command])


def test_a_run_by_study(films: Path, tmp_path: Path, tiny_weights: Path) -> None:
    out, report = tmp_path / "out.jsonl", tmp_path / "report"
    drawn = ("--json", out, "--report", report, "--overlay", tmp_path / "overlays", "--study-rule", "or")
    result = predicted(films, tiny_weights, *drawn)
    assert result.exit_code == 1, result.output
    assert "3 studies, " in result.stderr
    assert "1 films failed" in result.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [Path(line["source"]).name for line in lines] == ["a", "b", "c"]
    assert [len(line["films"]) for line in lines] == [2, 1, 2]
    assert [line["failed"] for line in lines] == [0, 0, 1]
    page = (report / "index.html").read_text("utf-8")
    assert page.count("<article ") == 3
    assert page.count("<svg ") == 4
    assert "Study of 2 films (or): " in page
    assert "1 could not be read" in page
    assert len((report / "results.csv").read_text("utf-8-sig").splitlines()) == 4
    assert sorted(path.name for path in (tmp_path / "overlays").iterdir()) == ["a.png", "b.png", "c.png"]

    # Resumed: the study with the damaged film again, and after a film was added its study.
    result = predicted(films, tiny_weights, *drawn, "--resume")
    assert "2 of 3 films are done" in result.stderr
    write_noise(films / "c" / "2.png", 8)
    write_noise(films / "b" / "0.png", 9)
    result = predicted(films, tiny_weights, *drawn, "--resume")
    assert result.exit_code == 0, result.output
    assert "1 of 3 films are done" in result.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [len(line["films"]) for line in lines] == [2, 2, 2]


def test_requests_that_contradict_themselves(films: Path, tmp_path: Path, tiny_weights: Path) -> None:
    refused = predicted(films, tiny_weights, "--dicom", tmp_path / "objects")
    assert "without --by-study" in str(refused.exception)
    assert "rule" in str(predicted(films, tiny_weights, "--study-rule", "most").exception)
    alone = CliRunner().invoke(app, ["predict", str(films), "--studies", "t.csv"])
    assert "--by-study too" in str(alone.exception)
    listed = predicted(films, tiny_weights, "--dry-run")
    assert len(listed.stdout.splitlines()) == 3
    assert "5 films in 3 studies would be read" in listed.stderr


def test_overlays_of_before_are_replaced_by_the_same_command_alone(
    films: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    out = tmp_path / "overlays"
    command = ["predict", films / "b" / "1.png", "--weights", tiny_weights, "--device", "cpu", "--overlay", out]
    for _ in range(2):
        assert CliRunner().invoke(app, [str(one) for one in command]).exit_code == 0
    refused = CliRunner().invoke(app, [str(one) for one in [*command, "--by-study", "--studies", table(films)]])
    assert "another command's" in str(refused.exception)


def table(films: Path) -> Path:
    """It calls a study as its film is called."""
    path = films / "studies.csv"
    path.write_text(f"image,study\nb/1.png,{films / 'b' / '1.png'}\n")
    return path
