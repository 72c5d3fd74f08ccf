"""What the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def test_experiments_name_files_that_are_there_and_say_how_each_row_is_repeated(repository: Path) -> None:
    text = (repository / "docs" / "experiments.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 15
    for row in rows:
        last = row.strip("|").split("|")[-1].strip()
        assert last.startswith(("`fracture ", "`python ", "none: ")), last
    for name in re.findall(r"[\w/.-]+\.(?:py|toml|md)\b", text):
        assert (repository / name).exists(), name


def test_the_readme_names_the_cpu_line_and_what_ships(repository: Path) -> None:
    from fracture.limb.store import open_weights

    text = (repository / "README.md").read_text(encoding="utf-8")
    assert "--index-url https://download.pytorch.org/whl/cpu" in text
    members = open_weights(None).card.members
    specs = [m.model_spec for m in members]
    dilated = [spec for spec in specs if spec.output_stride < 2 ** (spec.stages + 1)]
    assert len(dilated) == 1
    assert dilated[0].pyramid
    assert "one of these is dilated" in text
    assert {(spec.backbone[:6], spec.stages) for spec in specs} == {("resnet", 3)}
    assert "ResNets cut after their third stage" in text
    assert sum(spec.pyramid for spec in specs) == 3
    assert re.search(r"Three have a feature\s+pyramid", text)
    telling = [m for m in members if m.model_spec.pyramid and not (m.boxes_left_out or m.regions_only)]
    assert len(telling) == 2
    assert "two of these predict the boxes" in text


def test_pages_that_warn_of_other_hospitals_tell_the_card_s_number(repository: Path) -> None:
    from fracture.limb.store import open_weights

    told = r"of 72 normal (?:ones|films)[^.;]*?\b(?<!from )(\d+)\b"
    (number,) = {found for line in open_weights(None).card.limitations for found in re.findall(told, line)}
    for page in ("README.md", "docs/index.md", "docs/predictions.md"):
        assert re.findall(told, (repository / page).read_text(encoding="utf-8")) == [number], page


def test_links_between_documents_lead_somewhere(repository: Path) -> None:
    pages = [*repository.glob("*.md"), *(repository / "docs").glob("**/*.md"), *repository.glob("weights/**/*.md")]
    assert len(pages) > 15
    for page in pages:
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(repository)}: {target}"


def test_every_page_is_in_the_site_s_menu(repository: Path) -> None:
    menu = (repository / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    for page in sorted((repository / "docs").glob("*.md")):
        assert re.search(rf": {re.escape(page.name)}$", menu, re.MULTILINE), f"{page.name} is in no menu"


def commands_in(text: str) -> list[str]:
    """What follows ``fracture`` in blocks of code, in comments of recipes, and between backticks."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"^```(?:bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    typed = r"^(?:# *|.*xargs.*|\$ |\w+=\S+ )?(?:\S*/)?fracture (.*)"
    found = [
        line
        for block in [*blocks, *re.findall(r"(?:^#.*\n)+", text, re.MULTILINE)]
        for line in re.findall(typed, block, re.MULTILINE)
    ]
    return found + re.findall(r"`(?:\S*/)?fracture (-?[a-z][^`]*)`", text)


def test_every_command_line_in_the_documents_names_commands_and_options_that_exist(repository: Path) -> None:
    from typer.main import get_command

    from fracture.cli.main import app

    pages = [*repository.glob("*.md"), *(repository / "docs").glob("**/*.md"), *repository.glob("weights/**/*.md")]
    pages += [*repository.glob("notebooks/*.ipynb"), *(repository / "fracture").rglob("*.toml")]
    whole, checked, wrong = get_command(app), 0, []
    for page in sorted(page for page in pages if page.name != "CHANGELOG.md"):
        for line in commands_in(page.read_text(encoding="utf-8")):
            command: Any = whole
            words = re.split(r"\s[|>&#]|\s2>|;", line)[0].split()
            if words[0] == "somewhere":  # a tag of the labeling pages
                continue
            while words and words[0] in getattr(command, "commands", {}):
                command = command.commands[words.pop(0)]
            options = {name for option in command.params for name in [*option.opts, *option.secondary_opts]}
            options |= {"--help", "--install-completion", "--show-completion"}
            given = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(words))
            wrong += [f"{page.name}: fracture {line}: {option}" for option in given if option not in options]
            if hasattr(command, "commands") and words and re.match("[a-z]", words[0]):
                wrong.append(f"{page.name}: fracture {line}: no command")
            checked += 1
    assert not wrong, "\n".join(wrong)
    assert checked > 150
