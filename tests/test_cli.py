"""The command line: JSON lines, exit codes, and where things are printed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from typer.testing import CliRunner, Result

from fracture.cli import app
from fracture.cli.words import in_options
from fracture.errors import FractureError, MultiFrameError
from tests.test_detector import film

KEYS = {
    "source", "width", "height", "probability", "fractured", "region", "region_source", "threshold",
    "operating_point", "boxes", "model", "seconds", "error",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    films = tmp_path / "films"
    films.mkdir()
    for k in range(3):
        cv2.imwrite(str(films / f"{k}.png"), film(k))
    (films / "notes.txt").write_text("not a film, not looked at in a folder")
    return films


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_line_per_film_in_order(folder: Path, tiny_weights: Path) -> None:
    result = run("predict", str(folder), "--weights", str(tiny_weights), "--region", "wrist")
    assert result.exit_code == 0, result.stderr
    rows = lines(result.stdout)
    assert [Path(row["source"]).name for row in rows] == ["0.png", "1.png", "2.png"]
    for row in rows:
        assert set(row) >= KEYS
        assert row["error"] is None
        assert row["region"] == "wrist"
        assert row["region_source"] == "caller"
        for box in row["boxes"]:
            assert {"x0", "y0", "x1", "y1", "score"} <= set(box)


def test_a_failed_input_keeps_its_place_and_gives_exit_code_1(folder: Path, tiny_weights: Path) -> None:
    (folder / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    result = run("predict", str(folder), str(folder / "missing.dcm"), "--weights", str(tiny_weights))
    assert result.exit_code == 1
    rows = lines(result.stdout)
    assert [row["error"] is None for row in rows] == [True, False, True, False]
    assert rows[1]["probability"] is None
    assert rows[1]["error"]["type"] == "UnreadableFileError"
    assert set(rows[1]) >= KEYS
    assert "4 films, " in result.stderr
    assert ", 2 failed, 1 left out, " in result.stderr


def test_json_file_and_overlays(folder: Path, tiny_weights: Path, tmp_path: Path) -> None:
    out, overlays = tmp_path / "deep" / "out.jsonl", tmp_path / "overlays"
    result = run(
        "predict", str(folder / "*.png"), "--weights", str(tiny_weights),
        "--json", str(out), "--overlay", str(overlays), "--candidates",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    rows = lines(out.read_text())
    assert len(rows) == 3
    assert all("candidates" in row for row in rows)
    assert sorted(p.name for p in overlays.iterdir()) == ["0.png.png", "1.png.png", "2.png.png"]
    assert all(cv2.imread(str(p)) is not None for p in overlays.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict",),
        ("predict", "x.png", "--no-such-option"),
        ("predict", "x.png", "--batch-size", "0"),
        ("no-such-command",),
    ],
)
def test_wrong_usage_gives_exit_code_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "{folder}", "--weights", "no-such-weights"),
        ("predict", "{folder}", "--weights", "{weights}", "--region", "nowhere"),
        ("predict", "{folder}", "--weights", "{weights}", "--operating-point", "x"),
        ("predict", "{folder}", "--weights", "{weights}", "--device", "abacus"),
        ("predict", "{folder}", "--weights", "{weights}", "--json", "{folder}/0.png/out.jsonl"),
        ("predict", "{empty}", "--weights", "{weights}"),
        ("predict", "{folder}/*.dcm", "--weights", "{weights}"),
        ("verify", "no-such-weights"),
    ],
)
def test_a_request_that_cannot_be_met_gives_exit_code_2_and_writes_nothing(
    arguments: tuple[str, ...],
    folder: Path,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from fracture.cli.main import main

    (tmp_path / "empty").mkdir()
    filled = [a.format(folder=folder, weights=tiny_weights, empty=tmp_path / "empty") for a in arguments]
    monkeypatch.setattr(sys, "argv", ["fracture", *filled])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("fracture: ")


def test_verify(tiny_weights: Path, tmp_path: Path) -> None:
    import shutil

    assert run("verify", str(tiny_weights)).exit_code == 0
    copy = Path(shutil.copytree(tiny_weights, tmp_path / "copy"))
    with (copy / "member_0.safetensors").open("ab") as stream:
        stream.write(b"x")
    result = run("verify", str(copy))
    assert result.exit_code == 1
    assert "WeightsIntegrityError" in result.stdout


def test_info() -> None:
    facts = json.loads(run("info", "--json").stdout)
    assert facts["fracture"]
    assert "wrist" in facts["regions"]
    assert facts["packages"]["torch"] != "not installed"
    assert facts["device"] is None
    assert "Research use only" in run("info").stdout
    assert json.loads(run("info", "--json", "--devices").stdout)["device"] in ("cpu", "cuda", "mps")


def test_info_waits_for_no_deep_learning_library() -> None:
    code = (
        "import sys\n"
        "from fracture.cli.info import collect\n"
        "assert collect()['weights'] is not None\n"
        "heavy = [m for m in ('torch', 'torchvision', 'timm', 'scipy', 'sklearn', 'matplotlib') if m in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        ("choose one with frame=0, 1, ...", "choose one with --frame 0, 1, ..."),
        ("allow=('CT',) reads it anyway", "--allow CT reads it anyway"),
        ("allow=('*',) reads it anyway", "--allow '*' reads it anyway"),
        ("use device='cpu' or 'auto'", "use --device cpu or 'auto'"),
        ("rule='mean' needs none", "--study-rule mean needs none"),
    ],
)
def test_the_command_line_speaks_of_its_options(hint: str, told: str) -> None:
    error = MultiFrameError("frame=0.dcm: the file holds 2 frames", got="window='x'", hint=hint)
    assert in_options(error) == f"frame=0.dcm: the file holds 2 frames; got window='x'; {told}"


@pytest.mark.parametrize("by_study", [False, True])
def test_a_failed_film_is_told_so_in_lines_and_report_too(tmp_path: Path, tiny_weights: Path, by_study: bool) -> None:
    films = tmp_path / "films"
    films.mkdir()
    cv2.imwrite(str(films / "one.png"), film(0))
    cv2.imwritemulti(str(films / "two.tif"), [film(1), film(2)])
    out = tmp_path / "out"
    study = ["--by-study"] * by_study
    result = run("predict", str(films), "--weights", str(tiny_weights), "--report", str(out), *study)
    assert result.exit_code == 1
    rows = lines((out / "results.jsonl").read_text())
    (failed,) = [row for row in (rows[0]["films"] if by_study else rows) if row["error"] is not None]
    assert "--frame 0" in failed["error"]["message"]
    for text in (result.stderr, (out / "index.html").read_text(), (out / "results.csv").read_text()):
        assert "frame=0" not in text


def test_every_command_that_a_help_text_names_exists() -> None:
    from typer.main import get_command

    group = get_command(app)
    names = {*group.commands, *(f"hip {name}" for name in group.commands["hip"].commands)}  # type: ignore[attr-defined]
    pages = [run(*name.split(), "--help").stdout for name in names]
    named = {
        found for page in pages for found in re.findall(r"`fracture ((?:hip )?[a-z][a-z-]*)", " ".join(page.split()))
    }
    assert {"split-data", "evaluate"} <= named <= names


def test_simulate_then_predict(tmp_path: Path, tiny_weights: Path) -> None:
    made = run("simulate", str(tmp_path / "sim"), "-n", "2", "--seed", "3", "--format", "dicom")
    assert made.exit_code == 0, made.stderr
    assert made.stdout == ""
    assert (tmp_path / "sim" / "annotations.json").is_file()
    result = run("predict", str(tmp_path / "sim"), "--weights", str(tiny_weights))
    rows = [row for row in lines(result.stdout) if row["error"] is None]
    assert len(rows) == 2
    assert {row["region_source"] for row in rows} == {"dicom"}


def test_results_that_cannot_be_written_give_exit_code_2(
    folder: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fracture.cli.main import main

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr(
        sys, "argv", ["fracture", "predict", str(folder), "--weights", str(tiny_weights), "--json", "/dev/full"]
    )
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "cannot be written" in capsys.readouterr().err


def test_torch_and_torchvision_of_different_builds_are_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib import import_module
    from importlib.metadata import version

    command = import_module("fracture.cli.main")  # the package has a function of this name

    def broken() -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(command, "app", broken)
    with pytest.raises(SystemExit) as caught:
        command.main()
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"fracture: torch {version('torch')}, torchvision {version('torchvision')} ")
    assert "one command" in said

    def other() -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(command, "app", other)
    with pytest.raises(RuntimeError, match="something else"):
        command.main()


def test_an_overlay_that_cannot_be_written_loses_no_line(folder: Path, tiny_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "overlays" / "1.png.png").mkdir(parents=True)
    result = run("predict", str(folder), "--weights", str(tiny_weights), "--overlay", str(tmp_path / "overlays"))
    assert result.exit_code == 1
    assert [row["error"] for row in lines(result.stdout)] == [None] * 3
    assert "1.png: no picture" in result.stderr
    assert (tmp_path / "overlays" / "2.png.png").is_file()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_progress_bar_on_a_terminal_only(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from fracture.cli.run import _told

    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", stderr)
    assert list(_told(iter(range(3)), 3, "film")) == [0, 1, 2]
    assert bool(stderr.getvalue()) is terminal


def test_version() -> None:
    assert run("--version").stdout.startswith("fracture ")


def test_nothing_heavy_is_imported_early() -> None:
    """``import fracture`` and ``fracture --help`` answer at once: no torch, no OpenCV, no pydantic."""
    code = (
        "import sys, fracture\n"
        "def heavy(): return sorted(m for m in ('torch','cv2','timm','pydantic','matplotlib','scipy','numpy',"
        "'sklearn','albumentations') if m in sys.modules)\n"
        "assert not heavy(), heavy()\n"
        "from fracture.cli import app\n"
        "from typer.testing import CliRunner\n"
        "r = CliRunner().invoke(app, ['--help'])\n"
        "assert r.exit_code == 0 and 'predict' in r.stdout, r.output\n"
        "assert not heavy(), heavy()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_errors_survive_pickling() -> None:
    import pickle

    error = FractureError("what", got=3, allowed=("a", "b"), hint="do this")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.hint) == (str(error), "do this")
    assert str(error) == "what; got 3; allowed: a, b; do this"
