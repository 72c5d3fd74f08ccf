"""The lumbar wing: which series is taken and why, results with places, overlays, commands, cards; measures by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from fracture import simulate
from fracture.cli.main import app
from fracture.errors import ConfigurationError, DataError, NotARadiographError, SeriesError
from fracture.spine import find_series, read_series
from fracture.spine.lumbar.card import LumbarCard
from fracture.spine.lumbar.evaluation import measure, read_found
from fracture.spine.lumbar.finding import CHAIN, Disc, Discs, name_discs
from fracture.spine.lumbar.reader import LumbarReader
from fracture.spine.lumbar.records import discs_of, read_discs
from fracture.spine.lumbar.training import LumbarConfig, train
from fracture.wing.contract import load_reader, registered
from tests.spine.made import AXIAL, slices, write


class Marker(torch.nn.Module):
    """A finder that reports bright spots: discs at all of them, L5/S1 at the lowest."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cells = torch.nn.functional.max_pool2d(x, 4)
        seen = torch.where(cells > 0.3, 4.0, -6.0)
        rows = torch.arange(cells.shape[2])[None, None, :, None] * (cells > 0.3)
        last = torch.where((cells > 0.3) & (rows > rows.amax(dim=(2, 3), keepdim=True) - 4), 4.0, -6.0)
        return torch.cat([seen, last, torch.full_like(seen, 3.6), torch.full_like(seen, 3.0)], 1)


def spotted(rows: int = 128, columns: int = 128) -> np.ndarray:
    """A slice with six spots up a straight spine, as ``Marker`` sees them."""
    pixels = np.zeros((rows, columns), np.int16)
    for k in range(6):
        row, column = rows * (98 - 18 * k) // 128, columns // 2
        pixels[row - 2 : row + 3, column - 2 : column + 3] = 1000
    return pixels


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of one step on phantoms, assembled; they find nothing worth naming."""
    root = tmp_path_factory.mktemp("lumbar")
    simulate.write_lumbar(root / "set", 3, side=64)
    tables = {"model": {"channels": 8, "norm": "batch"}, "split": {"shares": {"train": 1.0}}}
    config = LumbarConfig.from_dict({**tables, "loop": {"epochs": 1, "batch": 3, "workers": 0, "threads": 1}})
    train(config, read_discs(root / "set"), out=root / "run", device="cpu", progress=False)
    LumbarReader.assemble(root / "run", root / "weights", {"name": "tiny", "version": "1", "license": "none"})
    return root / "weights"


@pytest.fixture
def reader(weights: Path) -> LumbarReader:
    card = LumbarCard.read(weights)
    return LumbarReader(card, Marker(), device=torch.device("cpu"), dtype=torch.float32)


def study(folder: Path, count: int = 9, **attributes: object) -> Path:
    """A sagittal series whose middle slice shows the spots."""
    made = slices(count, size=(128, 128), spacing=(1.5, 2.0), **attributes)  # type: ignore[arg-type]
    for k, one in enumerate(made):
        pixels = spotted()
        pixels[60:] *= k == count // 2  # the others show the upper discs alone
        one.PixelData = pixels.tobytes()
    return write(made, folder)


def test_discs_of_a_series_have_names_and_places(reader: LumbarReader, tmp_path: Path) -> None:
    found = reader.predict(study(tmp_path))
    assert [disc.level for disc in found.discs] == list(CHAIN[:6])
    assert (found.naming, found.slice, found.series) == ("clear", (4, 9), "sagittal T2 MR")
    assert "it is the Sagittal T2/STIR series (told by its name)" in found.reason
    last = found.disc("L5/S1")
    assert last is not None
    assert last.place is not None
    volume = read_series(tmp_path).volume
    assert last.place == pytest.approx(volume.place((4, 98, 64)), abs=3.0)  # of a grid of 4 pixels
    assert found.disc("T9/T10") is None
    line = found.to_dict()
    assert json.loads(json.dumps(line))["levels"]["L1/L2"]["place"] == list(found.disc("L1/L2").place)  # type: ignore[union-attr]
    assert line["error"] is None
    assert "pixels" not in line


def test_a_scene_shows_every_disc_and_says_no_name_of_a_file(reader: LumbarReader, tmp_path: Path) -> None:
    found = reader.predict(study(tmp_path / "Zyxwvut"))
    (page,) = found.scene().pages
    assert page.verdict == "5 of 5 lumbar discs found and named"
    assert [point.label for point in page.points] == list(CHAIN[:6])
    assert "Zyxwvut" not in " ".join([page.verdict, *page.lines])
    found.save_overlay(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.size[0] > 200
    with pytest.raises(ConfigurationError, match="keep=True"):
        found.drop_pixels().scene()


def test_which_series_is_taken_and_why(tmp_path: Path) -> None:
    def series(name: str, count: int, **more: object) -> None:
        write(slices(count, SeriesInstanceUID=f"1.{count}", **more), tmp_path / name)  # type: ignore[arg-type]

    series("a", 9, orientation=AXIAL, SeriesDescription="ax t2")
    with pytest.raises(SeriesError, match="no sagittal MR series; got axial T2 MR"):
        LumbarReader.wanted.choose(find_series(tmp_path))
    series("b", 7, SeriesDescription="localizer")
    stack, reason = LumbarReader.wanted.choose(find_series(tmp_path))
    assert (len(stack.frames), "no series says" in reason) == (7, True)
    series("c", 5, SeriesDescription="sag t1")
    stack, reason = LumbarReader.wanted.choose(find_series(tmp_path))
    assert (len(stack.frames), reason[:40]) == (5, "no sagittal T2 or STIR is there; it is t")
    series("d", 4, SeriesDescription="sag t2")
    series("e", 3, SeriesDescription="sag stir")
    stack, reason = LumbarReader.wanted.choose(find_series(tmp_path))
    assert len(stack.frames) == 4
    assert "the one of most slices of 2" in reason


def test_pictures_volumes_and_what_is_not_read(reader: LumbarReader, tmp_path: Path) -> None:
    Image.fromarray((spotted() // 4).astype(np.uint8)).save(tmp_path / "a.png")
    found = reader.predict(tmp_path / "a.png")
    assert [disc.level for disc in found.discs] == list(CHAIN[:6])
    assert found.discs[0].place is None
    volume = read_series(study(tmp_path / "s")).volume
    again = reader.predict(volume)
    assert again.disc("L5/S1") == reader.predict(tmp_path / "s").disc("L5/S1")
    assert reader.predict(tmp_path / "s", number=0).reason == "it was asked for"
    with pytest.raises(NotARadiographError, match="no MR series"):
        reader.predict(study(tmp_path / "ct", modality="CT"))
    with pytest.raises(ConfigurationError, match="did you mean 'number'"):
        reader.predict(volume, nummer=1)
    many = list(reader.predict_many([tmp_path / "a.png", tmp_path / "none", tmp_path / "s"]))
    assert [one.ok for one in many] == [True, False, True]


def test_commands(weights: Path, tmp_path: Path) -> None:
    run = CliRunner()
    told = run.invoke(app, ["spine", "lumbar", "verify", str(weights)])
    assert told.exit_code == 0, told.output
    assert "self-test: " in told.output
    assert registered()[0][2].name == "lumbar"
    assert isinstance(load_reader(weights, device="cpu"), LumbarReader)
    folder = study(tmp_path / "study")
    base = ["spine", "lumbar", "predict", str(folder), str(tmp_path / "none"), "--weights", str(weights)]
    told = run.invoke(app, [*base, "--json", str(tmp_path / "o.jsonl"), "--overlay", str(tmp_path / "o")])
    assert told.exit_code == 1, told.output
    first, second = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert (first["error"], first["model"], first["model_version"]) == (None, "tiny", "1")
    assert second["error"]["type"] == "MissingFileError"
    assert Path(first["overlay"]).is_file()
    simulate.write_lumbar(tmp_path / "set", 2, side=64)
    out = tmp_path / "report"
    told = run.invoke(
        app, ["spine", "lumbar", "evaluate", str(tmp_path / "set"), "--out", str(out), "--weights", str(weights)]
    )
    assert told.exit_code == 0, told.output
    assert json.loads((out / "report.json").read_text())[0]["pictures"] == 2
    assert (out / "report.txt").read_text() == told.output


def test_recipes_are_read_and_faults_told() -> None:
    assert LumbarConfig.load("small").optimizer.freeze_stages == 2
    assert LumbarConfig.load("pretrain").loop.epochs == 1
    with pytest.raises(ConfigurationError, match="pretrain, small"):
        LumbarConfig.load("large")


def judged(folder: Path) -> tuple[object, dict[str, Discs]]:
    """A set of phantoms and a finder that finds all discs 2 pixels too far right."""
    simulate.write_lumbar(folder, 4, side=256, transitional=0.0)
    annotated = read_discs(folder)
    found = {}
    for film in annotated:
        discs = []
        for mark in discs_of(film):
            assert mark.size is not None
            w, h, x = mark.size[0] / 2, mark.size[1] / 2, mark.x + 2
            last = 0.9 if mark.level == "L5/S1" else 0.01
            discs.append(Disc(x, mark.y, (x - w, mark.y - h, x + w, mark.y + h), 0.9, last))
        found[film.source] = name_discs(discs)
    return annotated, found


def test_measures_of_a_known_finder(tmp_path: Path) -> None:
    annotated, found = judged(tmp_path)
    (one,) = measure(annotated, found, resamples=50)  # type: ignore[arg-type]
    assert (one["found"].value, one["levels"].value, one["all_five"].value) == (1.0, 1.0, 1.0)
    assert one["error_px"].value == pytest.approx(2.0, abs=1e-6)
    spacing = [film.extra["spacing"] for film in annotated]  # type: ignore[attr-defined]
    assert min(spacing) * 2 <= one["error_mm"].value <= max(spacing) * 2
    assert (one["ap50"].value, one["ap_complete"].value) == (1.0, 1.0)
    assert one.facts["naming"] == {"clear": 4, "doubtful": 0, "none": 0}
    assert "levels right: 100.0" in "\n".join(one.lines)


def test_a_disc_without_a_mark_counts_neither_way_and_a_second_one_does(tmp_path: Path) -> None:
    annotated, found = judged(tmp_path)
    for source, discs in found.items():
        first = discs.discs[0]
        far = Disc(8, 8, (2, 2, 14, 14), 0.99)
        beside = replace(first, x=first.x + 1, box=tuple(np.add(first.box, (1, 0, 1, 0))), score=0.95)
        found[source] = replace(discs, candidates=(far, beside, *discs.candidates))
    (one,) = measure(annotated, found, resamples=50)  # type: ignore[arg-type]
    assert one["ap50"].value is not None
    assert 0.8 < one["ap50"].value < 1  # the second box on one disc is a false alarm, the far one is not judged
    assert one["ap_complete"].value is not None
    assert one["ap_complete"].value < 0.9  # there, the far one is one, too
    off = {
        source: name_discs([replace(d, last=0.9 if k == 1 else 0.0) for k, d in enumerate(v.discs)])
        for source, v in found.items()
    }
    (shifted,) = measure(annotated, off, resamples=50)  # type: ignore[arg-type]
    assert shifted["levels"].value == 0.0


def test_what_a_training_found_is_read_by_picture(tmp_path: Path) -> None:
    annotated, found = judged(tmp_path / "set")
    lines = [json.dumps({"source": f"x/y/set/{source}", **discs.to_dict()}) for source, discs in found.items()]
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:2]) + "\n")
    (tmp_path / "b.jsonl").write_text("\n".join(lines[2:]) + "\n")
    assert read_found([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], annotated) == found  # type: ignore[arg-type]
    with pytest.raises(DataError, match="there twice"):
        read_found([tmp_path / "a.jsonl"] * 2, annotated)  # type: ignore[arg-type]
    (tmp_path / "c.jsonl").write_text('{"source": 3}\n')
    with pytest.raises(DataError, match="not what a finder said"):
        read_found([tmp_path / "c.jsonl"], annotated)  # type: ignore[arg-type]


def test_the_shipped_weights_find_and_name_phantoms_and_say_what_they_are(repository: Path, tmp_path: Path) -> None:
    folder = repository / "weights" / "lumbar-small"
    card = LumbarCard.read(folder)
    assert (folder / card.finder.file).stat().st_size <= 20 * 10**6
    assert any("Without a sacrum" in line for line in card.limitations)
    real = card.metrics["real"]["measures"][0]  # type: ignore[index, call-overload]
    text = (repository / "docs" / "lumbar.md").read_text(encoding="utf-8")
    assert f"{real['levels']['value'] * 55:.0f} of 55 discs" in text  # type: ignore[index, call-overload, operator]
    assert f"{real['ap50']['value']:.2f} (" in text  # type: ignore[index, call-overload]
    for name in ("grades_simulated", "grades_second_simulator"):
        assert f"{card.metrics[name]['score']['score']:.2f} (" in text  # type: ignore[index, call-overload]
    reader = load_reader("lumbar-small", device="cpu", precision="float32")
    film = simulate.lumbar(2_000_001, contrast="T2", abnormal=0.0)
    Image.fromarray(film.pixels).save(tmp_path / "a.png")
    (found,) = reader.predict_many([tmp_path / "a.png"])
    truth = {disc.level: disc for disc in film.discs}
    for level in ("L5/S1", "L4/L5", "L3/L4"):
        disc = found.disc(level)
        assert disc is not None
        assert np.hypot(disc.x - truth[level].x, disc.y - truth[level].y) < 8
