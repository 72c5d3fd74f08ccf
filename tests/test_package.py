"""The distribution: what is listed, what is shipped, what is written down twice."""

from __future__ import annotations

import configparser
import re
import runpy
from pathlib import Path

import fracture


def configuration(repository: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(repository / "setup.cfg")
    return parser


def test_every_package_is_listed(repository: Path) -> None:
    listed = set(configuration(repository)["options"]["packages"].split())
    found = {
        ".".join(path.parent.relative_to(repository).parts) for path in (repository / "fracture").rglob("__init__.py")
    }
    assert listed == found | {"fracture._weights"}


def test_every_file_beside_the_code_is_in_the_wheel(repository: Path) -> None:
    stated = configuration(repository)["options.package_data"]
    for path in (repository / "fracture").rglob("*"):
        if path.is_dir() or path.suffix in (".py", ".pyc"):
            continue
        names = [
            ".".join(parent.relative_to(repository).parts) for parent in path.parents if repository in parent.parents
        ]
        held = [
            name
            for name in names
            for pattern in stated.get(name, "").split()
            if path in (repository / Path(*name.split("."))).glob(pattern)
        ]
        assert held, path


def test_the_bill_of_materials_is_that_of_the_cards(repository: Path) -> None:
    made = runpy.run_path(str(repository / "docs" / "make_bill_of_materials.py"))["text"]()
    assert (repository / "docs" / "bill_of_materials.md").read_text(encoding="utf-8") == made
    for file in (repository / "weights").rglob("*.safetensors"):
        assert f"| {file.name} | `" in made


def test_the_limits_are_those_of_the_cards(repository: Path) -> None:
    made = runpy.run_path(str(repository / "docs" / "make_limits.py"))["text"]()
    assert (repository / "docs" / "limits.md").read_text(encoding="utf-8") == made


def test_the_lock_file_holds_every_requirement_with_its_hash(repository: Path) -> None:
    lock = (repository / "deploy" / "requirements.txt").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([a-z0-9-]+)==\S+ \\\n    --hash=sha256:", lock, re.MULTILINE))
    assert len(locked) == len(re.findall(r"^\S+==", lock, re.MULTILINE))
    parts = configuration(repository)
    extras = parts["options.extras_require"]
    wanted = "\n".join([parts["options"]["install_requires"], extras["node"], extras["serve"], extras["table"]])
    names = {re.split(r"[\[<>=]", line)[0] for line in wanted.split()}
    docker = (repository / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert names - locked == {name for name in ("torch", "torchvision") if f"{name}==" in docker}


def test_no_library_file_is_too_long(repository: Path) -> None:
    long = {
        str(path.relative_to(repository)): lines
        for path in (repository / "fracture").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 600
    }
    assert not long


def test_public_names_exist() -> None:
    for name in fracture.__all__:
        assert getattr(fracture, name) is not None


def test_the_version_is_the_same_everywhere(repository: Path) -> None:
    assert f"version: {fracture.__version__}" in (repository / "CITATION.cff").read_text()
    assert f"## {fracture.__version__}" in (repository / "CHANGELOG.md").read_text()


def test_ci_runs_the_commands_of_the_readme(repository: Path) -> None:
    readme, script = (repository / "README.md").read_text(), (repository / ".ci" / "run").read_text()
    for name in ("predict", "test"):
        marker = f"<!-- command: {name} -->"
        assert readme.count(marker) == 1
        assert f'eval "$(command_of {name})"' in script
        assert re.search(rf"{re.escape(marker)}\n```bash\n[^\n]+\n```", readme)


def test_no_gpl_among_the_dependencies(repository: Path) -> None:
    required = configuration(repository)["options"]["install_requires"]
    assert "pylibjpeg-libjpeg" not in required  # GPLv3
    assert not re.search(r"ultralytics|albumentationsx", required)  # AGPLv3


def test_no_real_film_is_committed(repository: Path) -> None:
    """Images in the repository are simulated films and pictures of them."""
    allowed = ("examples", "docs", "tests")
    for path in repository.glob("*/**/*"):
        if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".dcm", ".tif", ".tiff"}:
            top = path.relative_to(repository).parts[0]
            if not top.startswith(".") and top not in ("build", "overlays", "runs"):
                assert top in allowed, path
