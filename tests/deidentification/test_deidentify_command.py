"""``fracture deidentify`` over folders."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner, Result

from fracture.cli import app
from fracture.errors import ConfigurationError
from tests.deidentification.test_deidentify import film


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for name in ("a/IM1", "a/b/IM2.dcm", "DOE_JOHN/IM3"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(film(SOPInstanceUID=f"1.2.{len(name)}"))
    (tmp_path / "in/a/burnt").write_bytes(film(BurnedInAnnotation="YES"))
    (tmp_path / "in/notes.txt").write_text("hello")
    return tmp_path


def call(place: Path, *options: str, out: str = "out") -> Result:
    words = ["deidentify", str(place / "in"), "--out", str(place / out), "--key", str(place / "key"), *options]
    return CliRunner().invoke(app, words)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_copies_mirror_the_tree_and_one_failure_ends_nothing(films: Path) -> None:
    before = tree(films / "in")
    result = call(films)
    assert result.exit_code == 1
    assert set(tree(films / "out")) == {"a/IM1", "a/b/IM2.dcm", "DOE_JOHN/IM3"}
    assert "4 films, 1 failed, 1 left out" in result.stderr
    assert "burnt: text that names the patient" in result.stderr
    assert tree(films / "in") == before
    assert pydicom.dcmread(films / "out/a/IM1").PatientIdentityRemoved == "YES"
    assert (films / "key").stat().st_mode & 0o777 == 0o600


def test_renamed_copies_hide_names_of_folders_and_files(films: Path) -> None:
    assert call(films, "--rename", "--box", "0,0,4,4").exit_code == 0
    names = set(tree(films / "out"))
    assert len(names) == 4
    assert not [name for name in names if "IM" in name or "DOE" in name or "burnt" in name]


def test_a_table_gives_each_film_its_own_black_places(films: Path) -> None:
    table = films / "boxes.csv"
    table.write_text("film,x0,y0,x1,y1\nburnt,0,0,4,4\nburnt,5,0,7,2\nIM1,1,1,3,3\n")
    assert call(films, "--boxes", str(table)).exit_code == 0
    plain, black = (pydicom.dcmread(films / "out" / name) for name in ("a/b/IM2.dcm", "a/burnt"))
    changed = plain.pixel_array != black.pixel_array
    assert changed[:4, :4].any()
    assert changed[:2, 5:7].any()
    changed[:4, :4] = changed[:2, 5:7] = False
    assert not changed.any()
    assert black.BurnedInAnnotation == "NO"
    assert "2 black boxes" in str(black.DeidentificationMethod)
    again = call(films, "--boxes", str(table), "--resume")
    assert again.exit_code == 0
    assert "4 done before" in again.stderr
    table.write_text("film,x0,y0,x1,y1\nburnt,0,0,4,5\nIM1,1,1,3,3\n")
    assert "3 done before" in call(films, "--boxes", str(table), "--resume").stderr, "other places, another copy"


@pytest.mark.parametrize(
    ("row", "message"),
    [("elsewhere,0,0,4,4", "not among the films"), ("burnt,0,0,4,x", "holds no place"), ("burnt,4,0,0,4", "black box")],
)
def test_a_place_that_is_none_ends_the_run_before_it_begins(films: Path, row: str, message: str) -> None:
    (films / "boxes.csv").write_text(f"film,x0,y0,x1,y1\n{row}\n")
    result = call(films, "--boxes", str(films / "boxes.csv"))
    assert message in str(result.exception)
    assert not (films / "out").exists()


def test_copies_are_kept_or_replaced_only_as_asked(films: Path) -> None:
    call(films)
    again = call(films)
    assert isinstance(again.exception, ConfigurationError)
    assert "--resume" in str(again.exception)
    kept = tree(films / "out")
    assert "4 films, 1 failed, 3 done before" in call(films, "--resume").stderr
    assert tree(films / "out") == kept
    result = call(films, "--resume", "--box", "0,0,4,4")  # another request
    assert "4 films, 0 failed, 0 done before" in result.stderr
    assert call(films, "--overwrite").exit_code == 1
    (films / "out/a/IM1").write_bytes(b"somebody else's")
    assert isinstance(call(films, "--overwrite").exception, ConfigurationError)


def test_inputs_and_keys_are_not_where_copies_go(films: Path) -> None:
    before = tree(films / "in")
    assert isinstance(call(films, "--overwrite", out="in").exception, ConfigurationError)
    assert tree(films / "in") == before
    assert isinstance(call(films, out=".").exception, ConfigurationError)
    assert not (films / "key").exists()


def test_a_dry_run_writes_nothing(films: Path) -> None:
    result = call(films, "--dry-run")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 4
    assert not (films / "out").exists()
    assert not (films / "key").exists()


def test_a_box_takes_four_numbers(films: Path) -> None:
    for text in ("1,2,3", "1,2,x,4"):
        assert isinstance(call(films, "--box", text).exception, ConfigurationError)
        assert not (films / "out").exists()
