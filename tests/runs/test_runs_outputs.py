"""What a run writes never takes the place of an input or of somebody else's file, and is never read as a film."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fracture.cli.run import run
from fracture.errors import ConfigurationError
from fracture.io.marks import is_own_picture, png_mark
from fracture.runs.inputs import collect
from fracture.runs.outputs import Outputs, overlay_paths
from fracture.wing.overlay import write_picture
from tests.runs.fakes import Looker, write_film


def look(*paths: Path | str, **outputs: Any) -> Looker:
    looker = Looker()
    run([str(path) for path in paths], Outputs(**outputs), looker.task)
    return looker


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_overlays_mirror_the_folders_whatever_the_order(tmp_path: Path) -> None:
    films = [f"in/p{n}/IM0001" for n in (1, 2, 3)]
    for number, name in enumerate(films):
        write_film(tmp_path / name, number)
    expected = {f"p{n}/IM0001.png" for n in (1, 2, 3)}
    look(tmp_path / "in", overlay=tmp_path / "a", json_file=tmp_path / "a.jsonl")
    look(*(tmp_path / name for name in reversed(films)), overlay=tmp_path / "b", json_file=tmp_path / "b.jsonl")
    look(tmp_path / "in" / "p*" / "IM*", overlay=tmp_path / "c", json_file=tmp_path / "c.jsonl")
    assert set(tree(tmp_path / "a")) == set(tree(tmp_path / "b")) == set(tree(tmp_path / "c")) == expected
    look(tmp_path / "in", overlay=tmp_path / "a", json_file=tmp_path / "d.jsonl")  # our own are replaced
    assert set(tree(tmp_path / "a")) == expected


def test_the_overlay_of_another_film_or_command_is_not_replaced(tmp_path: Path) -> None:
    """Else the lines of an earlier run would name pictures of other films."""
    for number in (1, 2):
        write_film(tmp_path / f"p{number}" / "IM0001", number)
    overlays = tmp_path / "o"
    look(tmp_path / "p1", overlay=overlays)
    before = tree(overlays)
    look(tmp_path / "p1" / "IM0001", overlay=overlays)  # the same film, asked for in another way
    for other in ({}, {"kind": "hips"}):
        with pytest.raises(ConfigurationError, match="picture of another"):
            look(tmp_path / ("p1" if other else "p2"), overlay=overlays, **other)
    assert tree(overlays) == before
    look(tmp_path / "p2", overlay=overlays, overwrite=True)
    assert tree(overlays) != before


def test_overlay_names_are_different_for_different_films(tmp_path: Path) -> None:
    long = "x" * 255
    films = [str(tmp_path / name) for name in ("hand", "hand.png", "hand.dcm", "a/hand", long, f"{long[:-1]}y", "ü ?")]
    made = overlay_paths(Path("o"), films, str(tmp_path))
    assert len(set(made.values())) == len(films)
    assert made[films[0]] == "o/hand.png"
    assert made[films[3]] == "o/a/hand.png"
    assert all(len(os.fsencode(Path(path).name)) <= 255 for path in made.values())
    for root in ("", str(tmp_path / "elsewhere")):  # no common folder (two drives); a film outside it
        assert overlay_paths(Path("o"), films[:1], root)[films[0]] == f"o{films[0]}.png"


def test_own_outputs_beside_the_films_are_not_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_film(tmp_path / "hand.dcm")
    write_film(tmp_path / "deep" / "foot")
    outputs = {"json_file": tmp_path / "out.jsonl", "overlay": tmp_path}
    first = look(tmp_path, **outputs)
    assert (tmp_path / "hand.dcm.png").is_file()
    assert (tmp_path / "deep" / "foot.png").is_file()
    assert collect([str(tmp_path)]).films == tuple(first.seen)
    assert look(tmp_path, overwrite=True, **outputs).seen == first.seen
    told = capsys.readouterr().err
    assert "picture made by fracture: 2" in told
    assert "results of fracture: 1 (out.jsonl)" in told


def test_figures_of_reports_are_not_read_as_films(tmp_path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    FigureCanvasAgg(Figure()).print_figure(tmp_path / "roc.png", pil_kwargs={"pnginfo": png_mark()})
    write_picture(np.zeros((2, 2, 3), np.uint8), tmp_path / "overlay.png", "subject")
    assert all(is_own_picture(path.read_bytes()[:4096]) for path in tmp_path.iterdir())
    write_film(tmp_path / "film.png")
    assert not is_own_picture((tmp_path / "film.png").read_bytes())


def _json_over_film(films: Path) -> dict[str, Any]:
    return {"json_file": films / "hand"}


def _json_over_link(films: Path) -> dict[str, Any]:
    (films.parent / "soft").symlink_to(films / "hand")
    return {"json_file": films.parent / "soft", "overwrite": True}


def _json_over_hard_link(films: Path) -> dict[str, Any]:
    os.link(films / "hand", films.parent / "hard")
    return {"json_file": films.parent / "hard", "overwrite": True}


def _json_over_notes(films: Path) -> dict[str, Any]:
    return {"json_file": films / "notes.txt", "overwrite": True}


def _json_is_a_folder(films: Path) -> dict[str, Any]:
    return {"json_file": films}


def _overlay_over_film(films: Path) -> dict[str, Any]:
    write_film(films / "hand.png", 200)  # is where the overlay of `hand` would be
    return {"overlay": films}


def _overlay_over_other_picture(films: Path) -> dict[str, Any]:
    write_film(films.parent / "pictures" / "hand.png")
    return {"overlay": films.parent / "pictures", "overwrite": True}


def _overlay_through_a_link(films: Path) -> dict[str, Any]:
    (films.parent / "o").mkdir()
    (films.parent / "o" / "hand.png").symlink_to(films / "hand")
    return {"overlay": films.parent / "o"}


def _overlay_is_a_file(films: Path) -> dict[str, Any]:
    return {"overlay": films / "notes.txt"}


def _overlay_is_json(films: Path) -> dict[str, Any]:
    return {"overlay": films.parent / "o", "json_file": films.parent / "o" / "hand.png"}


def _json_is_a_file_of_the_report(films: Path) -> dict[str, Any]:
    return {"report": films.parent / "o", "json_file": films.parent / "o" / "results.csv"}


def _record_is_somebody_s(films: Path) -> dict[str, Any]:
    (films.parent / "o.run").mkdir()
    (films.parent / "o.run" / "journal.jsonl").write_text("my own journal")
    return {"json_file": films.parent / "o", "overwrite": True}


@pytest.mark.parametrize(
    "case",
    [
        _json_is_a_file_of_the_report, _record_is_somebody_s,
        _json_over_film, _json_over_link, _json_over_hard_link, _json_over_notes, _json_is_a_folder,
        _overlay_over_film, _overlay_over_other_picture, _overlay_through_a_link, _overlay_is_a_file, _overlay_is_json,
    ],
)  # fmt: skip
def test_an_output_that_would_replace_something_is_refused_before_anything_is_written(
    case: Any, tmp_path: Path
) -> None:
    films = tmp_path / "in"
    write_film(films / "hand")
    (films / "notes.txt").write_text("notes")
    outputs = case(films)
    before = tree(tmp_path)
    looker = Looker()
    with pytest.raises(ConfigurationError, match=r"--json|--overlay"):
        run([str(films)], Outputs(**outputs), looker.task)
    assert looker.seen == []
    assert tree(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "soft", "hard", "pictures", "o", "o.run"}


def test_a_folder_in_an_overlays_place_costs_that_overlay_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import typer

    for name in ("a", "b"):
        write_film(tmp_path / "in" / name)
    (tmp_path / "o" / "a.png").mkdir(parents=True)
    with pytest.raises(typer.Exit):
        look(tmp_path / "in", overlay=tmp_path / "o")
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 2
    assert "a: no picture" in captured.err
    assert (tmp_path / "o" / "b.png").is_file()


def test_dry_run_lists_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_film(tmp_path / "in" / "a")
    (tmp_path / "in" / "notes").write_text("text")
    looker = look(tmp_path / "in", dry_run=True, json_file=tmp_path / "o.jsonl", overlay=tmp_path / "o")
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'in' / 'a'}\n"
    assert f"left out: {tmp_path / 'in' / 'notes'}: text" in captured.err
    assert "1 films would be read, 1 left out" in captured.err
    assert looker.seen == []
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_overlays_of_names_that_differ_by_letter_case_alone(tmp_path: Path) -> None:
    """Some file systems take the two for one; which film comes first changes nothing."""
    films = [str(tmp_path / name) for name in ("a/Hand.dcm", "a/hand.dcm", "a/other.dcm")]
    made = overlay_paths(Path("o"), films, str(tmp_path))
    assert len({path.casefold() for path in made.values()}) == 3
    assert made == overlay_paths(Path("o"), films[::-1], str(tmp_path))
    assert Path(made[films[2]]) == Path("o/a/other.dcm.png")
