"""The whole report: content, files, page, command line, what is missing, one class, comparisons."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from fracture.errors import ConfigurationError, EvaluationError, UnreadableFileError
from fracture.evaluation import Bootstrap
from fracture.evaluation.cli import evaluate as command
from fracture.evaluation.files.predictions import read_predictions
from fracture.evaluation.files.references import read_reference
from fracture.evaluation.film import film_level
from fracture.evaluation.findings import Settings
from fracture.evaluation.matching import Criterion
from fracture.evaluation.opponents import compare_models, compare_readers, read_readings
from fracture.evaluation.page.html import methods
from fracture.evaluation.page.thumbnails import find_images
from fracture.evaluation.report import EvaluationReport, evaluate
from fracture.evaluation.stats.agreement import KAPPA_DIFFERENCE
from fracture.evaluation.tables import Cases, join
from tests.evaluation.simulated import predictions, reference, write, write_lines

FAST = Settings(resamples=100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions, reference and films of the made-up evaluation."""
    place = tmp_path_factory.mktemp("evaluation")
    write(place)
    rng = np.random.default_rng(0)
    (place / "films").mkdir()
    for film in range(120):
        if film != 5:
            pixels = rng.integers(0, 255, (260, 200), dtype=np.uint8)
            Image.fromarray(pixels).save(place / "films" / f"case_{film:03d}.png")
    return place


def load(folder: Path, **options: Any) -> Cases:
    truth = read_reference(folder / "reference.json")
    return join(read_predictions(folder / "predictions.jsonl"), truth, **options)


@pytest.fixture(scope="module")
def report(folder: Path) -> EvaluationReport:
    return evaluate(load(folder), FAST)


def test_content(report: EvaluationReport) -> None:
    cases = report.cases
    expected = film_level(
        cases.labels,
        cases.scores,
        calls=cases.calls,
        bootstrap=Bootstrap(groups=cases.groups, resamples=100),
        prevalences=FAST.prevalences,
    )
    assert report.overall.estimates == expected.estimates
    assert [row.name for row in report.headline] == ["All films", "Without annotator disagreement", "Without hardware"]
    assert {row.field for row in report.subgroups} == {"region", "view", "site", "hardware", "sex", "age"}
    regions = {row.name: row.result.films for row in report.rows("region") if row.result is not None}
    assert sum(regions.values()) == 132  # twelve films show two regions and count in both
    assert [row.name for row in report.indicators] == ["displacement"]
    assert report.balanced is not None
    assert report.balanced.confounders == ("site", "hardware", "region")
    assert report.boxes is not None
    assert report.shown is not None
    assert report.shown.sensitivity.n == len(report.boxes.matches.reference)
    assert report.roc is not None
    assert report.roc.area == pytest.approx(float(report.overall["auc"]))
    assert [film.score for film in report.misses] == sorted(film.score for film in report.misses)
    assert all(cases.labels[film.film] for film in report.misses)
    assert not any(cases.labels[film.film] for film in report.alarms)
    assert report.manifest.files["reference"]["name"] == "reference.json"


def test_boxes_shown_by_hand(report: EvaluationReport) -> None:
    shown = report.shown
    assert shown is not None
    assert report.cases.shown is not None
    assert shown.boxes == len(report.cases.shown)
    hits = shown.sensitivity.count or 0
    assert float(shown.false_positives) == pytest.approx((shown.boxes - hits) / len(report.cases))


def test_the_seed_decides(folder: Path, report: EvaluationReport) -> None:
    def numbers(of: EvaluationReport) -> dict[str, Any]:
        content = of.to_dict()
        content.pop("manifest")
        return content

    assert numbers(evaluate(load(folder), FAST)) == numbers(report)
    other = evaluate(load(folder), Settings(resamples=100, seed=1))
    assert other.overall["auc"].low != report.overall["auc"].low
    assert other.overall["auc"].value == report.overall["auc"].value


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_files_and_page(folder: Path, report: EvaluationReport, tmp_path: Path) -> None:
    page = report.save(tmp_path / "out", images=folder)
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    plots = {"forest", "roc", "precision_recall", "calibration", "scores", "froc"}
    wanted = {f"plots/{name}.{kind}" for name in plots for kind in ("png", "svg")}
    assert files == wanted | {"report.json", "fractures.csv", "methods.md", "report.html"}
    assert (tmp_path / "out" / "methods.md").read_text(encoding="utf-8") == methods(report)
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["format"] == "fracture-evaluation-1"
    assert content["headline"][0]["result"]["auc"]["value"] == report.overall["auc"].value
    assert content["cohort"]["thresholds"][0]["threshold"] == 0.3
    assert len((tmp_path / "out" / "fractures.csv").read_text().splitlines()) == 1 + len(
        report.boxes.matches.reference if report.boxes else ()
    )
    text = page.read_text()
    parser = _Links()
    parser.feed(text)
    assert parser.open == []
    assert "script" not in parser.tags
    assert parser.sources
    assert all(source.startswith("data:image/") for source in parser.sources)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", re.sub(r"data:[^\"]*", "", text))
    assert text.count("data:image/jpeg") == 16
    for phrase in ("In plain words", "Table 1.", "Figure 1.", "Limits", report.overall["auc"].text(), "toy 3"):
        assert phrase in text
    assert "nan" not in re.sub(r"data:[^\"]*", "", text).lower().replace("nanos", "")
    for name in plots:
        with Image.open(tmp_path / "out" / "plots" / f"{name}.png") as picture:
            assert min(picture.size) > 400


@pytest.mark.usefixtures("one_figure")
def test_thumbnails_show_boxes_and_missing_films_say_so(folder: Path, report: EvaluationReport, tmp_path: Path) -> None:
    from fracture.evaluation.page.thumbnails import SIDE, thumbnails

    found = thumbnails(report, folder)
    film = report.misses[0].film
    import base64
    import io

    with Image.open(io.BytesIO(base64.b64decode(found[film].split(",")[1]))) as picture:
        assert max(picture.size) == SIDE
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert ((pixels[..., 1] - pixels[..., 0] > 40) & (pixels[..., 1] > 150)).sum() > 30  # the green reference box
    assert thumbnails(report, tmp_path) == {}
    with pytest.raises(UnreadableFileError, match="no such folder"):
        thumbnails(report, tmp_path / "nowhere")
    page = report.save(tmp_path / "out", images=tmp_path).read_text()
    assert page.count("film not found or not readable") == 16


def test_sixteen_bit_films_become_thumbnails(tmp_path: Path) -> None:
    from fracture.evaluation.page.thumbnails import _pixels

    values = np.linspace(1000, 40_000, 64 * 48).reshape(64, 48).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    gray = _pixels(tmp_path / "a.png")
    assert gray.dtype == np.uint8
    assert gray.shape == (64, 48)
    assert (gray.min(), gray.max()) == (0, 255)


def test_find_images(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("a.png", "deep/b.jpg", "deep/er/c.dcm"):
        (tmp_path / name).write_bytes(b"x")
    found = find_images(tmp_path, ["a.png", "/x/b.jpg", "q/c.png", "d.png"])
    assert {name: path.name for name, path in found.items()} == {
        "a.png": "a.png",
        "/x/b.jpg": "b.jpg",
        "q/c.png": "c.dcm",
    }


def test_names_are_escaped(folder: Path, tmp_path: Path) -> None:
    coco = reference(40)
    for image in coco["images"]:
        image["regions"] = ["<b>wrist</b>"]
        image["file_name"] = f"<script>{image['id']}</script>.png"
    lines = predictions(coco)
    for line in lines:
        line["model"] = "<script>alert(1)</script>"
    (tmp_path / "reference.json").write_text(json.dumps(coco))
    write_lines(tmp_path / "predictions.jsonl", lines)
    page = evaluate(load(tmp_path), FAST).save(tmp_path / "out").read_text()
    assert "<script" not in page
    assert "<b>wrist" not in page


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_reported_as_not_defined(tmp_path: Path, label: int) -> None:
    coco = reference(40)
    for image in coco["images"]:
        image["fractured"] = label
    coco["annotations"] = [a for a in coco["annotations"] if label and a["category_id"] == 2]
    (tmp_path / "reference.json").write_text(json.dumps(coco))
    write_lines(tmp_path / "predictions.jsonl", predictions(coco))
    report = evaluate(load(tmp_path), FAST)
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert content["headline"][0]["result"]["auc"]["value"] is None
    assert content["roc_band"] is None
    page = report.save(tmp_path / "out").read_text()
    assert "are not defined: all 40 films are" in page
    assert not (tmp_path / "out" / "plots" / "roc.png").exists()


def test_scores_alone_are_enough(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(60) < 0.4
    rows = [f"f{i},{rng.normal(labels[i]):.3f}" for i in range(60)]
    (tmp_path / "p.csv").write_text("id,score\n" + "\n".join(rows))
    (tmp_path / "r.csv").write_text("id,label\n" + "\n".join(f"f{i},{int(labels[i])}" for i in range(60)))
    cases = join(read_predictions(tmp_path / "p.csv", any_score=True), read_reference(tmp_path / "r.csv"))
    report = evaluate(cases, FAST)
    assert report.overall["auc"].has_interval
    assert report.boxes is None
    assert report.balanced is None
    page = report.save(tmp_path / "out").read_text()
    assert "the predictions hold no boxes" in page
    assert "results of calls are not defined" in page
    assert "Calibration is not defined" in page
    assert "no groups were given" in page


@pytest.mark.usefixtures("one_figure")
def test_all_films_in_one_group(tmp_path: Path) -> None:
    coco = reference(40)
    for image in coco["images"]:
        image["group"] = "p"
    (tmp_path / "reference.json").write_text(json.dumps(coco))
    write_lines(tmp_path / "predictions.jsonl", predictions(coco))
    report = evaluate(load(tmp_path), FAST)
    assert report.overall["auc"].value is not None
    assert report.overall["auc"].reason == "no interval: all films belong to one group"
    assert report.band is None
    report.save(tmp_path / "out")


def second_model(folder: Path, skill: float) -> Cases:
    path = write_lines(folder / "second.jsonl", predictions(reference(120), skill=skill, seed=9))
    return join(read_predictions(path), read_reference(folder / "reference.json"))


@pytest.mark.usefixtures("one_figure")
def test_two_models(folder: Path, tmp_path: Path) -> None:
    cases = load(folder)
    opponent = compare_models(
        cases, second_model(folder, 0.2), name="weak", bootstrap=Bootstrap(resamples=200), kappa_resamples=200
    )
    assert opponent.films == 120
    by = {part.metric: part for part in opponent.differences}
    assert float(by["auc"].difference) == pytest.approx(float(by["auc"].first) - float(by["auc"].second))
    assert opponent.auc is not None
    assert opponent.auc.p_value is not None
    assert opponent.auc.p_value < 0.05
    assert set(opponent.mcnemar) == {"accuracy", "sensitivity", "specificity"}
    assert opponent.kappa is not None
    page = evaluate(cases, FAST, opponents=(opponent,)).save(tmp_path / "out").read_text()
    assert "Against weak, 120 films" in page
    assert "(DeLong)" in page
    json.dumps(opponent.to_dict(), allow_nan=False)


@pytest.mark.usefixtures("one_figure")
def test_readers(folder: Path, tmp_path: Path) -> None:
    cases = load(folder)
    rng = np.random.default_rng(3)
    rows = ["reader,file_name,fractured,training"]
    for reader, training, error in (("a", "resident", 0.3), ("b", "resident", 0.3), ("c", "expert", 0.05)):
        for name, label in zip(cases.names[:100], cases.labels[:100], strict=True):
            rows.append(f"{reader},{Path(name).name},{int(label ^ (rng.random() < error))},{training}")
    (tmp_path / "readers.csv").write_text("\n".join(rows))
    found = compare_readers(
        cases, read_readings(tmp_path / "readers.csv"), bootstrap=replace(KAPPA_DIFFERENCE, resamples=200)
    )
    assert [(o.name, o.readers, o.films) for o in found] == [("resident", 2, 100), ("expert", 1, 100)]
    assert found[1].mcnemar
    assert found[0].kappa is not None
    assert found[0].kappa.readers_below_band in (True, False)
    assert found[0].point is not None
    assert found[0].point.sensitivity.n == 2 * cases.labels[:100].sum()
    page = evaluate(cases, FAST, opponents=found).save(tmp_path / "out").read_text()
    assert "2 readers (resident)" in page
    assert "below the model’s ROC band" in page
    import dataclasses

    with pytest.raises(EvaluationError, match="compared with calls"):
        compare_readers(dataclasses.replace(cases, calls=None), read_readings(tmp_path / "readers.csv"))


def test_settings_refuse_nonsense() -> None:
    for bad in ({"resamples": 5}, {"level": 1.0}, {"froc_films": "some"}, {"worst": -1}, {"prevalences": (0.0,)}):
        with pytest.raises(ConfigurationError):
            Settings(**bad)  # type: ignore[arg-type]
    assert Settings(criterion=Criterion("center")).to_dict()["criterion"].startswith("center")


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    application.command("evaluate")(command)
    application.command("other")(lambda: None)
    return application


@pytest.mark.usefixtures("one_figure")
def test_command_line(app: typer.Typer, folder: Path, tmp_path: Path) -> None:
    paths = [str(folder / "predictions.jsonl"), str(folder / "reference.json"), "--out", str(tmp_path / "out")]
    second_model(folder, 1.0)
    options = ["--bootstrap", "100", "--images", str(folder), "--hit", "iou_or_center", "--groups", "site"]
    result = CliRunner().invoke(app, ["evaluate", *paths, *options, "--compare", str(folder / "second.jsonl")])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].startswith("All films")
    assert "report.html" in result.stderr
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["settings"]["criterion"] == "IoU ≥ 0.3, or center inside the fracture's box"
    assert content["cohort"]["group_field"] == "site"
    assert content["comparisons"][0]["name"] == "toy 3"


@pytest.mark.usefixtures("one_figure")
def test_exit_codes(app: typer.Typer, folder: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    out = ["--out", str(tmp_path / "out"), "--bootstrap", "100"]
    truth = str(folder / "reference.json")
    wrong = runner.invoke(app, ["evaluate", str(folder / "nowhere.jsonl"), truth, *out])
    assert wrong.exit_code == 2
    assert "no such file" in wrong.stderr
    assert wrong.stdout == ""
    assert not (tmp_path / "out").exists()
    assert runner.invoke(app, ["evaluate", str(folder / "predictions.jsonl")]).exit_code == 2
    bad = runner.invoke(app, ["evaluate", str(folder / "predictions.jsonl"), truth, *out, "--images", "nowhere"])
    assert bad.exit_code == 2
    few = runner.invoke(app, ["evaluate", str(folder / "predictions.jsonl"), truth, *out[:2], "--bootstrap", "3"])
    assert few.exit_code == 2
    lines = predictions(reference(120))
    lines[4] = {"source": lines[4]["source"], "error": {"type": "UnreadableFileError", "message": "cut"}}
    path = write_lines(tmp_path / "some.jsonl", lines)
    partial = runner.invoke(app, ["evaluate", str(path), truth, *out])
    assert partial.exit_code == 1
    assert "1 films could not be read" in partial.stderr
    assert (tmp_path / "out" / "report.html").is_file()
    assert "could not be read by the detector" in (tmp_path / "out" / "report.html").read_text()


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, fracture.evaluation\n"
        "assert not {'numpy', 'scipy', 'matplotlib', 'typer', 'torch'} & set(sys.modules), sorted(sys.modules)\n"
        "for name in fracture.evaluation.__all__: getattr(fracture.evaluation, name)\n"
        "import fracture.evaluation.cli, fracture.evaluation.page.plots, fracture.evaluation.page.thumbnails\n"
        "assert not {'torch', 'cv2', 'sklearn', 'pandas'} & set(sys.modules)\n"
        "from types import ModuleType\n"  # a submodule of the same name would hide a function
        "for name in fracture.evaluation.__all__:\n"
        "    assert not isinstance(getattr(fracture.evaluation, name), ModuleType), name\n"
        "assert 'auc' in dir(fracture.evaluation)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])
    import fracture.evaluation

    with pytest.raises(AttributeError, match="no attribute 'aucc'"):
        fracture.evaluation.aucc  # noqa: B018


def test_dicom_films_become_thumbnails(shared_dicom: Path) -> None:
    from fracture.evaluation.page.thumbnails import _pixels

    gray = _pixels(shared_dicom / "derived" / "leg_8bit.dcm")
    assert gray.dtype == np.uint8
    assert gray.ndim == 2
    assert gray.std() > 10


def test_methods_paragraph_has_every_number_and_no_placeholder(report: EvaluationReport) -> None:
    text = methods(report)
    main, cases = report.overall, report.cases
    assert not re.search(r"[{}]|None|nan|not defined|  |\bTODO|XX", text)
    for number in (len(cases), main.fractured, report.settings.resamples, report.settings.seed):
        assert re.search(rf"\b{number}\b", text), number
    for said in (
        main["auc"].text(),
        main["sensitivity"].text(percent=True),
        main["specificity"].text(percent=True),
        report.settings.criterion.text(),
        report.manifest.versions["fracture"],
        *(row.result["auc"].text() for row in report.headline if row.result is not None),
    ):
        assert said in text, said
    # Where nothing is known of boxes, calls or groups, nothing is said of them.
    bare = replace(cases, calls=None, groups=None, group_field="", predicted=None, shown=None, fractures=None)
    short = methods(evaluate(bare, FAST))
    assert "box" not in short
    assert "whole groups" not in short
    assert "Sensitivity was" not in short
    assert not re.search(r"[{}]|None|nan|not defined", short)
