"""A server in a process of its own whose reader has no networks: what is bright on a film is a fracture."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import httpx
import numpy as np
from PIL import Image

from fracture.io.radiograph import Radiograph
from fracture.limb.prediction import Prediction
from fracture.serve.readings import Opened
from fracture.wing.reader import FilmReader, Taken
from fracture.wing.result import HIGH_SENSITIVITY, HIGH_SPECIFICITY, Box, GridToSource, ResultBase
from fracture.wing.scene import Page, Scene, SceneBox, as_gray
from tests.runs.fakes import dicom_film

SOFT, HARD = 0.1, 0.6
POISON, SLOW = 13, 17
"""Widths of films that end the process that reads them, and that take two seconds."""


def film(level: int = 255, *, width: int = 120, height: int = 80) -> bytes:
    """A dark film with a block of a level at x 60 to 90, y 20 to 50 (as far as it is so wide)."""
    pixels = np.full((height, width), 20, np.uint8)
    pixels[20:50, 60:90] = level
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return out.getvalue()


def deep_film() -> bytes:
    """A DICOM film of 12 bits, all values from 0 to 4095 row by row, whose own window shows 1000 to 2000."""
    stored = np.arange(4096, dtype="<u2").tobytes()
    told = {"Rows": 64, "Columns": 64, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
    return dicom_film(**told, WindowCenter="1500.5", WindowWidth="1001", PixelData=stored)


@dataclass(frozen=True)
class _Inputs:
    crop: tuple[int, int, int, int]
    shape_key: int = 0


@dataclass(frozen=True)
class _Seen:
    radiograph: Radiograph
    seconds: float = 0.0

    @property
    def source(self) -> str:
        return self.radiograph.source


class Bright(FilmReader[_Inputs, _Seen]):
    """The brightest pixel is the probability, the block its box."""

    thresholds: ClassVar = {HIGH_SENSITIVITY: SOFT, HIGH_SPECIFICITY: HARD}

    def prepare(self, radiograph: Radiograph) -> _Inputs:
        if radiograph.width == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        if radiograph.width == SLOW:
            time.sleep(2)
        return _Inputs((0, 0, radiograph.width, radiograph.height))

    def check(self, radiograph: Radiograph, inputs: _Inputs, /) -> tuple[str, ...]:
        return ()

    def examine(self, taken: Sequence[Taken[Radiograph, _Inputs]], /) -> list[_Seen]:
        return [_Seen(one.record) for one in taken]

    def examine_many(self, sources: Any, *, region: Any = None, workers: int = 2, **reading: Any) -> Iterator[Any]:
        return self._many(sources, lambda seen: seen, batch_size=1, workers=workers, region=region, **reading)

    def predict_many(self, sources: Any, *, region: Any = None, **reading: Any) -> Iterator[Any]:
        raise NotImplementedError  # never asked for: the networks run once for both operating points

    def judge(self, seen: _Seen, *, operating_point: str) -> Prediction:
        found = seen.radiograph
        score = round(float(found.pixels.max()), 3) if found.pixels.max() > 0.5 else 0.0
        # A block of level 128 is suspicious at high sensitivity alone.
        score = {1.0: 0.9, 0.0: 0.05}.get(score, 0.3)
        fractured = score >= self.thresholds[operating_point]
        strictest = HIGH_SPECIFICITY if score >= HARD else HIGH_SENSITIVITY
        heat = np.zeros((8, 12), np.float32)
        heat[2:5, 6:9] = score
        return Prediction(
            source=seen.source,
            width=found.width,
            height=found.height,
            probability=score,
            fractured=fractured,
            threshold=self.thresholds[operating_point],
            thresholds=self.thresholds,
            operating_point=operating_point,
            boxes=(Box(60, 20, 90, 50, score, strictest),) if fractured else (),
            regions=found.regions,
            region_source=found.region_source,
            probability_map=heat,
            map_to_source=GridToSource(found.width / 12, found.height / 8),
            model="bright",
            model_version="1",
            radiograph=found,
        )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Hips(ResultBase):
    """Two hips, neither broken."""

    ok: ClassVar = True
    source: str
    radiograph: Radiograph
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        hip = {"side": "left", "fracture_probability": 0.2, "threshold": 0.5, "fractured": False, "label": "intact"}
        return {"source": self.source, "hips": [hip], "model": "hips", "error": None}

    def scene(self) -> Scene:
        boxes = (SceneBox(10, 10, 40, 60, "calm", "right"), SceneBox(60, 10, 90, 60, "calm", "left"))
        return Scene(
            (Page(as_gray(self.radiograph.pixels), "No fracture found", ("Left hip: intact.",), False, boxes),)
        )


class Pelves(Bright):
    """Reads hips in one step."""

    examine_many = None  # type: ignore[assignment]
    judge = None  # type: ignore[assignment]

    def examine(self, taken: Sequence[Taken[Radiograph, _Inputs]], /) -> list[Any]:
        return [Hips(source=one.record.source, radiograph=one.record) for one in taken]

    def predict_many(self, sources: Any, *, workers: int = 2, keep: bool = False, **reading: Any) -> Iterator[Any]:
        return self._many(sources, lambda hips: hips, batch_size=1, workers=workers, **reading)


def load(name: str, device: str, precision: str, engine: str) -> Opened:
    """Weights without files."""
    if name == "slow-to-open":
        time.sleep(3)
    if name == "broken":
        from fracture.errors import WeightsIntegrityError

        raise WeightsIntegrityError("the file is not what its card describes", got="SHA-256 0")
    if name == "pelves":
        return Opened(Pelves(), {"name": name, "version": "1", "wing": "hip"})
    regions = [["wrist", "wrist"], ["hip", "hip"], ["fracatlas_hand", "hand to elbow"]]
    return Opened(Bright(), {"name": "bright", "version": "1", "wing": "limb", "regions": regions})


_MAIN = """
import json, sys
from pathlib import Path
said = open(sys.argv[2], "a", buffering=1)
def heard(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        said.write(f"{event} {args[-1] if event != 'socket.getaddrinfo' else args[0]}\\n")
sys.addaudithook(heard)
from fracture.serve.run import run
from fracture.serve.settings import Settings
from tests.serve.fakes import load
if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    run(Settings(**{**told, "data": Path(told["data"]), "weights": tuple(told["weights"])}), load)
"""


@dataclass
class Server:
    """A running server.

    Attributes:
        url: Without a slash at its end.
        process: Its own.
        connections: File of all addresses that it connected to.
    """

    url: str
    process: subprocess.Popen[str]
    connections: Path

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def kill(self) -> None:
        """Like a power cut, the worker's too."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def serving(data: Path, *, ready: bool = True, **told: Any) -> Iterator[Server]:
    """A server in a process group of its own, ended at the end.

    Args:
        data: Its folder.
        ready: Wait until its weights are open.
        **told: Settings.
    """
    import json

    data.mkdir(parents=True, exist_ok=True)
    script = data.parent / "serve_for_tests.py"
    script.write_text(_MAIN)
    settings = {"weights": ["bright", "pelves"], "port": 0, **told, "data": str(data)}
    repository = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": repository, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4318"}
    environment["FASTAPI_OTEL_AUTO_CONFIGURE"] = "true"
    connections = data.parent / "connections.txt"
    process = subprocess.Popen(
        [sys.executable, str(script), json.dumps(settings), str(connections)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "http://" in line, line + process.stderr.read()
        server = Server(line.split()[1].rstrip("/"), process, connections)
        with server.client() as client:
            until(lambda: _status(client, "/healthz") == 200)
            if ready:
                until(lambda: _status(client, "/readyz") == 200)
        yield server
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def until(true: Any, seconds: float = 60.0) -> Any:
    """Wait for what comes true."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)
    return found


def _status(client: httpx.Client, path: str) -> int:
    try:
        return client.get(path).status_code
    except httpx.TransportError:
        return 0
