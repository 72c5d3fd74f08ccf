"""``fracture.toml``: what is typed goes before it, what is in it before what is built in; and completion by shells."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fracture.cli import app
from fracture.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FRACTURE_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))


def simulated(*options: str) -> list[str]:
    """Names of two films."""
    folder = Path(f"set{len(list(Path().iterdir()))}")
    result = CliRunner().invoke(app, ["simulate", str(folder), *options])
    assert result.exit_code == 0, (result.output, result.exception)
    return sorted(path.suffix for path in folder.iterdir() if path.suffix != ".json")


def test_typed_goes_before_the_file_and_the_file_before_what_is_built_in() -> None:
    Path("fracture.toml").write_text('n = 1\n[simulate]\nformat = "png"\nregion = ["wrist"]\n')
    assert simulated() == [".png"]
    assert simulated("--format", "dicom") == [".dcm"]


def test_one_file_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> str | None:
        found: str | None = json.loads(CliRunner().invoke(app, ["info", "--json"]).stdout)["config"]
        return found

    assert told() is None
    for place in (tmp_path / "settings" / "fracture" / "fracture.toml", tmp_path / "fracture.toml"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text('device = "cpu"\n')
        assert told() == str(place)
    assert str(tmp_path / "fracture.toml") in CliRunner().invoke(app, ["info"]).stdout
    monkeypatch.setenv("FRACTURE_CONFIG", "")
    assert told() is None
    monkeypatch.setenv("FRACTURE_CONFIG", "gone.toml")
    assert isinstance(CliRunner().invoke(app, ["info"]).exception, Exception)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[predict]\nwieghts = "w"\n', r"no option of `fracture predict`; got wieghts; did you mean 'weights'"),
        ("[predcit]\nfast = true\n", r"no command; got predcit; did you mean 'predict'"),
        ("[hip.predcit]\nworkers = 1\n", r"no command; got hip.predcit; did you mean 'hip.predict'"),
        ("zzz = 1\n", r"no option of any command; got zzz; allowed: .*device"),
        ("[hip]\npredict = 1\n", r"hip.predict is a command"),
        ("[predict\n", "not a TOML file"),
    ],
)
def test_what_nobody_knows_is_refused_with_a_hint(content: str, said: str) -> None:
    Path("fracture.toml").write_text(content)
    with pytest.raises(ConfigurationError, match=said):
        CliRunner().invoke(app, ["info"], catch_exceptions=False)


def test_a_value_of_the_wrong_kind_is_refused_as_a_typed_one_is() -> None:
    Path("fracture.toml").write_text('[predict]\nbatch-size = "many"\n')
    result = CliRunner().invoke(app, ["predict", "film.png"])
    assert result.exit_code == 2
    assert "--batch-size" in result.stderr


def asked(environment: dict[str, str]) -> str:
    return CliRunner().invoke(app, [], env=environment, prog_name="fracture").stdout


def completed(shell: str, line: str) -> str:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    typed = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    return asked({"_FRACTURE_COMPLETE": f"complete_{shell}", **(words if shell == "bash" else typed)})


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: str) -> None:
    assert "predict" in completed(shell, "fracture pre")
    assert "--by-study" in completed(shell, "fracture predict --by")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_for_shells_are_sound(shell: str) -> None:
    script = asked({"_FRACTURE_COMPLETE": f"source_{shell}"})
    assert "_FRACTURE_COMPLETE" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)
