"""DICOMscope, the viewer of presentation states' own authors, on a screen that nobody sees (Xvfb)."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ImageGrab

from tests.node.harness import until
from tests.results.made import tool

_SELECTED = (184, 207, 229)  # the background of the chosen entry


@dataclass
class Scope:
    """The running viewer."""

    display: str

    def shot(self) -> np.ndarray:
        """The screen, int (height, width, 3)."""
        return np.asarray(ImageGrab.grab(xdisplay=self.display).convert("RGB")).astype(int)

    def film(self) -> np.ndarray:
        """The part of the screen where films are shown."""
        return self.shot()[70:925, 10:1140]

    def _do(self, *command: object) -> None:
        parts = [tool("xdotool"), *map(str, command)]
        subprocess.run(parts, env={**os.environ, "DISPLAY": self.display}, check=True, capture_output=True)

    def _selected(self) -> tuple[int, int] | None:
        rows, columns = np.nonzero((self.shot() == _SELECTED).all(axis=2)[60:])
        return (int(np.median(columns)), int(np.median(rows)) + 60) if rows.size > 200 else None

    def open_second_series(self) -> None:
        """The first object of the study's second series, by keys and a double click."""
        until(lambda: (self.shot()[100:800] == 255).mean() > 0.9, what="the list of studies")
        until(self._clicked, what="the first entry")
        for steps in ("Right", "Right", "Right", "End", "Right", "Right"):
            before = self.shot()
            self._do("key", steps)
            until(lambda before=before: (self.shot() != before).any(), what=f"the list after {steps}")
        place = self._selected()
        assert place is not None
        self._do("mousemove", *place, "click", "--repeat", 2, "--delay", 80, 1)
        until(lambda: (self.shot()[100:800, :1000] == 0).mean() > 0.2, what="the film")

    def _clicked(self) -> bool:
        self._do("mousemove", 90, 71, "click", 1)
        return self._selected() is not None


@contextlib.contextmanager
def scope(folder: Path, files: Sequence[Path]) -> Iterator[Scope]:
    """The viewer on a study of these files; skips where it is not installed (apt: dicomscope xvfb xdotool dcmtk)."""
    program, index, screen, _ = map(tool, ("dicomscope", "dcmqridx", "Xvfb", "xdotool"))
    settings = Path("/etc/dcmtk/DICOMscope.cfg").read_text(encoding="latin-1")
    told = re.sub(r"(\[DATABASE\].*?Directory = )[^\n]*", rf"\g<1>{folder / 'db'}", settings, count=1, flags=re.DOTALL)
    (folder / "DICOMscope.cfg").write_text(told, encoding="latin-1")
    (folder / "db").mkdir()
    for path in files:
        kept = shutil.copy(path, folder / "db")
        subprocess.run([index, folder / "db", kept], check=True, capture_output=True)
    read, write = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, read)
        shown = subprocess.Popen(
            [screen, "-displayfd", str(write), "-screen", "0", "1400x1000x24"],
            pass_fds=[write],
            stderr=subprocess.DEVNULL,
        )
        stack.callback(_end, shown)
        os.close(write)
        display = ":" + os.read(read, 20).decode().strip()
        with (folder / "scope.log").open("wb") as log:
            viewer = subprocess.Popen(
                [program], cwd=folder, env={**os.environ, "DISPLAY": display}, stdout=log, stderr=log
            )
        stack.callback(_end, viewer)
        yield Scope(display)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(20)
