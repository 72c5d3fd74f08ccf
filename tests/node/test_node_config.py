"""What a node is told, and what it says of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("sqlalchemy")
pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")

from fracture.cli import app
from fracture.errors import ConfigurationError
from fracture.jobs import Jobs, NewJob
from fracture.node.config import Config
from fracture.node.pull import wanted_of
from fracture.node.routing import route

WHOLE = """
data = "data"
ae = "FRACTURE"
host = "0.0.0.0"
callers = ["MODALITY1"]
receive = ["CR", "1.2.840.10008.5.1.4.1.1.1.1"]
weights = ["fracatlas-small"]

[[rules]]
modality = ["CR", "DX"]
body_part = ["HIP", "PELVIS"]
weights = ["hip-small"]

[[rules]]
body_part = ["CHEST"]

[[send]]
name = "PACS"
ae = "ARCHIVE"
host = "pacs.local"
commitment = true

[[send]]
name = "WEB"
url = "https://pacs.local/dicom-web/"
token_file = "token"

[[webhook]]
name = "RIS"
url = "https://ris.local/events"
secret_file = "secret"

[keep]
days = 7
"""


def test_a_node_is_checked_before_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("node.toml").write_text(WHOLE)
    run = CliRunner().invoke(app, ["node", "--check", "node.toml"])
    assert isinstance(run.exception, ConfigurationError)
    assert "token cannot be read" in str(run.exception)
    Path("token").write_text("abc\n")
    Path("secret").write_text("def\n")
    run = CliRunner().invoke(app, ["node", "--check", "node.toml"])
    assert run.exit_code == 0, run.output
    said = run.output.splitlines()
    assert said[0] == "door: FRACTURE at 0.0.0.0:11112, open to the network, for MODALITY1"
    assert "weights hip-small: hip-small" in run.output
    assert "archive PACS: ARCHIVE at pacs.local:104, storage commitment" in said
    assert "archive WEB: https://pacs.local/dicom-web" in said
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prot": 1}, "prot: unknown key"),
        ({"port": 70000}, "port"),
        ({"ae": "A" * 17}, "ae"),
        ({"receive": ["XR"]}, "must be a UID or one of CR"),
        ({"send": [{"name": "a"}]}, "needs either ae and host, or url"),
        ({"send": [{"name": "a", "url": "http://x", "commitment": True}]}, "commitment needs ae and host"),
        ({"send": [{"name": "a", "url": "x"}]}, "begins with http"),
        ({"send": [{"name": "a", "url": "http://x"}, {"name": "a", "url": "http://y"}]}, "must differ: a, a"),
        ({"http": {"host": "0.0.0.0"}}, "the page has no password"),
        ({"keep": {"days": 0}}, "keep.days"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Config.of({"data": "x", **change}, "node.toml")


def test_settings_reach_the_processes_unchanged() -> None:
    import tomllib

    config = Config.of(tomllib.loads(WHOLE), "node.toml")
    told = json.loads(json.dumps(config.model_dump(mode="json", exclude_unset=True)))
    assert Config.of(told, "the parent") == config


@pytest.mark.parametrize(
    ("head", "weights", "why"),
    [
        ({"Modality": "CR", "BodyPartExamined": "Pelvis"}, ["hip-small"], ""),
        ({"Modality": "SC", "BodyPartExamined": "PELVIS"}, ["fracatlas-small"], ""),
        ({"Modality": "DX", "BodyPartExamined": ""}, ["fracatlas-small"], ""),
        ({"Modality": "DX", "BodyPartExamined": "CHEST"}, [], "rule 2"),
        ({"Modality": "SR"}, [], "modality SR is no film"),
        ({"Modality": "OT", "Manufacturer": "fracture (open source)"}, [], "a result of fracture"),
    ],
)
def test_the_first_rule_that_fits_decides(head: dict[str, str], weights: list[str], why: str) -> None:
    import tomllib

    config = Config.of(tomllib.loads(WHOLE), "node.toml")
    payload = {"Modality": "", "BodyPartExamined": "", "Manufacturer": "", "caller": "", **head}
    found, said = route(config, payload)
    assert found == weights
    assert why in said


def test_the_dead_are_listed_woken_and_counted(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs.sqlite", tries=1)
    jobs.add(NewJob("read", "1"), NewJob("send:PACS", "2"), NewJob("read", "3"))
    for job in jobs.claim(["read", "send:PACS"], "w", limit=2):
        jobs.fail(job, f"no {job.key}")
    data = ["--data", str(tmp_path)]
    run = CliRunner()
    status = run.invoke(app, ["node", "status", *data])
    assert status.exit_code == 1
    assert "send:PACS                dead     1" in status.output
    assert "the oldest due for" in status.output
    lines = run.invoke(app, ["node", "dead", "--json", *data]).output.splitlines()
    assert [json.loads(line)["error"] for line in lines] == ["no 2", "no 1"]
    assert "nothing to retry" in str(run.invoke(app, ["node", "retry", *data]).exception)
    assert run.invoke(app, ["node", "retry", "--kind", "send:PACS", *data]).output == "1 jobs wait again\n"
    assert run.invoke(app, ["node", "retry", "1", *data]).output == "1 jobs wait again\n"
    status = run.invoke(app, ["node", "status", "--json", *data])
    assert status.exit_code == 0
    assert sum(one["count"] for one in json.loads(status.output)["jobs"]) == 3
    jobs.close()


def test_queries_are_by_keyword() -> None:
    assert wanted_of(["PatientID=1,StudyDate=20260101-", "StudyDescription=A, B"]) == {
        "PatientID": "1",
        "StudyDate": "20260101-",
        "StudyDescription": "A, B",
    }
    for wrong in (["Patient=1"], ["PatientID"], []):
        with pytest.raises(ConfigurationError):
            wanted_of(wrong)


def test_a_missing_extra_is_told_with_its_pip_line(tmp_path: Path) -> None:
    script = (
        "import sys\nsys.modules['pynetdicom'] = None\nfrom fracture.cli import main\n"
        f"sys.argv = ['fracture', 'node', '--data', {str(tmp_path)!r}]\nmain()\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 2
    assert 'pip install "fracture-radiographs[node]"' in run.stderr
