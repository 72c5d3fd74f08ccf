"""What the server answers, as models: they make the OpenAPI schema."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from fracture.errors import needing
from fracture.serve.films import Films, Standing

with needing("serve"):
    from pydantic import BaseModel


class Fault(BaseModel):
    """What is wrong, what was got, what is allowed, and what to do next."""

    type: str
    what: str
    got: str | None = None
    allowed: list[str] = []
    hint: str | None = None
    message: str


class Problem(BaseModel):
    """The body of every answer of 400 and above; `id` where a film was taken in that could not be read."""

    error: Fault
    id: str | None = None


class ScenePage(BaseModel):
    """A film as it is shown. Boxes and points are in its pixels, x right and y down, pixel edges: x0, y0, x1, y1, look,
    label, and x, y, look, label. `marks` are the same as SVG elements."""

    width: int
    height: int
    verdict: str
    lines: list[str]
    alarm: bool | None
    boxes: list[tuple[float, float, float, float, str, str]]
    points: list[tuple[float, float, str, str]]
    marks: str
    has_map: bool


class Named(BaseModel):
    """Weights, by name."""

    name: str
    version: str
    wing: str


class Reading(BaseModel):
    """What one set of weights says at one operating point: `result` is a line of `fracture predict`."""

    weights: Named
    result: dict[str, Any]
    pages: list[ScenePage]


class Prediction(BaseModel):
    """A film and what was said of it. `ahead`: films that are read before it. Once it is done: `alarm`, whether any
    reading has a finding; `verdict`, the words of the first that has, or of the first; `readings`, the first weights'
    at high sensitivity first."""

    id: str
    name: str
    region: list[str]
    state: Literal["waiting", "running", "done", "failed"]
    ahead: int | None = None
    verdict: str | None = None
    alarm: bool | None = None
    created: datetime
    expires: datetime
    error: Fault | None = None
    readings: list[Reading] | None = None


class Predictions(BaseModel):
    """Several of them."""

    predictions: list[Prediction]


class Weights(BaseModel):
    """A set of weights that is open; `regions`: name and plain word of those that may be asked for."""

    name: str
    version: str
    wing: str
    created: str = ""
    description: str = ""
    license: str = ""
    intended_use: str = ""
    limitations: list[str] = []
    files: dict[str, str] = {}
    regions: list[tuple[str, str]] = []


class Ready(BaseModel):
    """Whether films can be read now; `why` not."""

    ready: bool
    why: str


def prediction_of(films: Films, standing: Standing, *, whole: bool = True) -> Prediction:
    """A prediction as it is answered; `whole`: with its readings.

    Raises:
        OSError: Its files are gone.
    """
    job = standing.job
    readings = None
    if whole and standing.state == "done":
        readings = films.kept(job).readings()
        for reading in readings:
            for page in reading["pages"]:
                page["has_map"] = bool(page["heats"])
    return Prediction.model_validate(
        {
            "id": job.key,
            "name": job.payload["name"],
            "region": job.payload["region"],
            "state": standing.state,
            "ahead": standing.ahead,
            "verdict": (job.result or {}).get("verdict"),
            "alarm": (job.result or {}).get("alarm"),
            "created": datetime.fromtimestamp(job.created, UTC),
            "expires": datetime.fromtimestamp(films.expires(job), UTC),
            "error": standing.error,
            "readings": readings,
        }
    )
