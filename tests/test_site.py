"""The documentation builds as a site without a warning, and fetches nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.public_api import FILE


@pytest.mark.docs
def test_the_site_builds_without_a_warning_and_fetches_nothing(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings", reason="needs the extra [docs]")
    pytest.importorskip("material", reason="needs the extra [docs]")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["'](https?://[^"']+)""", text)
        assert not [one for one in fetched if "canonical" not in one], page
    api = (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
    assert "fracture.predict" in api
    assert "operating_point" in api
    lines = FILE.read_text(encoding="utf-8").splitlines()
    for line in (line for line in lines if re.match(r"fracture\.\w+(: |\(|$)", line)):
        name = re.match(r"fracture\.(\w+)", line)
        assert name is not None
        if line.endswith(": module"):
            assert (tmp_path / "site" / "reference" / f"{name[1]}.html").exists(), line
        elif name[1] != "__version__":
            assert f'id="fracture.{name[1]}"' in api, line
    checked = 0
    for line in lines:
        found = re.match(r"fracture\.((?:wing\.)?[a-z_]+)\.(\w+)(?::|\(|$)", line)
        if found and (page := tmp_path / "site" / "reference" / f"{found[1]}.html").exists():
            assert f'id="fracture.{found[1]}.{found[2]}"' in page.read_text(encoding="utf-8"), line
            checked += 1
    assert checked > 250
