"""The routes."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Annotated, Any, Literal

from fracture._version import __version__
from fracture.errors import ConfigurationError, FractureError, OutputError, needing
from fracture.serve.answers import Prediction, Predictions, Problem, Ready, Weights, prediction_of
from fracture.serve.crew import Crew
from fracture.serve.films import Films, Standing
from fracture.serve.guard import Guard, Rate, client_of, problem, too_many
from fracture.serve.metrics import Metrics
from fracture.serve.readings import Kept, open_weights
from fracture.serve.settings import Settings
from fracture.serve.window import windowed
from fracture.serve.worker import DICOM, PREDICT, Load, open_jobs, told
from fracture.wing.pieces import marks_css

with needing("serve"):
    from fastapi import Body, FastAPI, File, Form, Header, Query, Request, Response, UploadFile
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from sqlalchemy.exc import OperationalError
    from starlette.exceptions import HTTPException

_SWEEP = 60.0  # seconds between looks for what has expired
_NO_TELEMETRY = {"auto_configure": False, "tracing": False, "metrics": False, "logs": False}
_DESCRIPTION = "Finds fractures on radiographs. Research use only; this is not a medical device."
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": what}
    for status, what in {
        401: "the token is missing",
        404: "there is no such prediction; it may have expired",
        413: "too large",
        422: "it cannot be used: what, got, allowed, hint",
        429: "too many; Retry-After says when to try again",
        507: "the disk is full",
    }.items()
}
_PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}, "description": "PNG"}}
Objects = Literal["sr", "sc", "gsps", "seg", "ko"]
_Nth = Annotated[int, Query(ge=0, le=1000)]


class _Refused(Exception):  # noqa: N818 - no error of the library
    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self.status, self.body, self.headers = status, body, headers


def create_app(settings: Settings, load: Load = open_weights) -> FastAPI:
    """The server as an ASGI application; its lifespan starts and ends the workers. One process may serve a folder,
    unless they share a database: :func:`fracture.serve.run.run` holds it.

    Args:
        settings: Of the server.
        load: Opens weights within the worker: a function of a module, found there by its name.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    jobs = open_jobs(settings)
    films, crew, rate = Films(settings, jobs), Crew(settings, load, jobs), Rate(settings.rate)
    metrics = Metrics(jobs, crew)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        films.adopt()
        crew.start()
        sweeper = asyncio.create_task(_sweep(films))
        yield
        sweeper.cancel()
        await asyncio.to_thread(crew.stop)
        jobs.close()

    app = FastAPI(
        title="fracture",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # both fetch from a CDN
        redoc_url=None,
        lifespan=lifespan,
        max_body_size=settings.max_request,
        telemetry=_NO_TELEMETRY,  # type: ignore[arg-type]
    )
    app.add_middleware(Guard, settings=settings, rate=rate)
    app.middleware("http")(metrics.count)
    _handlers(app, shared=settings.database is not None)
    _pages(app)
    server = _Server(settings, films, crew, rate)
    _state(app, server, metrics)
    _predictions(app, server)
    _parts(app, server)
    return app


async def _sweep(films: Films) -> None:
    while True:
        with suppress(OutputError):  # a full disk; the next look may have room
            await asyncio.to_thread(films.expire)
        await asyncio.sleep(_SWEEP)


class _Server:
    """What the routes share."""

    def __init__(self, settings: Settings, films: Films, crew: Crew, rate: Rate) -> None:
        self.settings, self.films, self.crew, self.rate = settings, films, crew, rate

    async def find(self, number: str) -> Standing:
        """A prediction, or 404."""
        standing = await asyncio.to_thread(self.films.standing, number)
        if standing is None:
            raise _gone()
        return standing

    async def kept(self, number: str) -> Kept:
        """The files of a prediction that is done, or 404, or 409 where it is not done yet."""
        standing = await self.find(number)
        if standing.state != "done":
            raise _Refused(409, problem("NotDone", "this film has not been read", got=standing.state))
        return self.films.kept(standing.job)

    async def answer(self, standing: Standing, *, whole: bool = True) -> Prediction:
        """A prediction as it is sent."""
        with _expiring():
            return await asyncio.to_thread(prediction_of, self.films, standing, whole=whole)

    def check_room(self, request: Request, count: int) -> None:
        """Refuse what would be too much, 429; one of each request was counted by the guard."""
        if count > 1 and (seconds := self.rate.wait(client_of(request.scope), count - 1)):
            raise _Refused(*too_many("too many films a minute", seconds))
        if (waiting := self.films.queued()) + count > self.settings.queue:
            raise _Refused(*too_many(f"{waiting} films are waiting already", 2.0 + waiting / 4))

    def regions(self, named: Sequence[str]) -> list[str]:
        """Regions that the weights know, or 422."""
        about = (self.crew.about or [{}])[0]
        known = [name for name, _ in about.get("regions", [])]
        asked = [part for name in named for part in name.split(",") if part]
        if known and (wrong := [name for name in asked if name not in known]):
            raise ConfigurationError("unknown region", got=wrong[0][:80], allowed=known)
        return asked

    async def result(self, key: str, wait: float, kind: str = PREDICT) -> Standing:
        """A job once it is over, or as it stands when the time is."""
        self.crew.wake()
        await self.crew.done(key, wait, lambda: self.films.over(key, kind))
        found = await asyncio.to_thread(self.films.standing, key, kind)
        if found is None:
            raise _gone()
        return found

    async def finished(self, number: str, wait: float, response: Response) -> Any:
        """The answer to a request for one film: 200, 422 where it could not be read, 202 where it is not over."""
        standing = await self.result(number, wait)
        if standing.error is not None:
            return JSONResponse({"error": standing.error, "id": number}, status_code=422)
        if standing.state != "done":
            response.status_code = 202
        response.headers["location"] = f"/v1/predictions/{number}"
        return await self.answer(standing)


def _gone() -> _Refused:
    return _Refused(404, problem("NotFound", "there is no such prediction", hint="results expire; send the film again"))


class _expiring:  # noqa: N801 - reads as a statement
    """A file that is gone between two looks, a page or reading that does not exist: 404."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, (FileNotFoundError, IndexError, KeyError)):
            raise _gone() from None


def _handlers(app: FastAPI, *, shared: bool) -> None:
    """Every fault in one form."""

    @app.exception_handler(_Refused)
    async def refused(_: Request, error: _Refused) -> JSONResponse:
        return JSONResponse(error.body, error.status, error.headers)

    @app.exception_handler(FractureError)
    async def library(_: Request, error: FractureError) -> JSONResponse:
        if not isinstance(error, OutputError):
            return JSONResponse({"error": told(error)}, 422)
        if shared and isinstance(error.__cause__, OperationalError):  # the database is away
            return JSONResponse({"error": told(error)}, 503, {"retry-after": "5"})
        return JSONResponse({"error": told(error)}, 507)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(problem("HTTP", str(error.detail)), error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse(problem("Request", "the request cannot be read", got=f"{where}: {first['msg']}"), 422)


def _pages(app: FastAPI) -> None:
    def static(path: str, kind: str, content: str) -> None:
        async def get() -> Response:
            return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

        app.get(path, include_in_schema=False)(get)

    folder = files("fracture.serve") / "page"
    text = {name: (folder / name).read_text("utf-8") for name in ("index.html", "page.css", "page.js", "icon.svg")}
    static("/", "text/html", text["index.html"])
    static("/page.css", "text/css", marks_css() + text["page.css"])
    static("/page.js", "text/javascript", text["page.js"])
    static("/favicon.ico", "image/svg+xml", text["icon.svg"])


def _state(app: FastAPI, server: _Server, metrics: Metrics) -> None:
    def ready_now() -> Ready:
        try:
            server.films.queued()
        except OutputError as error:
            return Ready(ready=False, why=str(error))
        return Ready(ready=server.crew.about is not None, why=server.crew.why)

    @app.get("/healthz", tags=["state"])
    async def healthz() -> Ready:
        """The server answers; whether films can be read is told, and changes nothing."""
        return await asyncio.to_thread(ready_now)

    @app.get("/readyz", tags=["state"], responses={503: {"model": Ready}})
    async def readyz(response: Response) -> Ready:
        """Films can be read: the weights are open, and the table of jobs is there."""
        now = await asyncio.to_thread(ready_now)
        response.status_code = 200 if now.ready else 503
        return now

    @app.get("/metrics", tags=["state"], include_in_schema=False)
    def told_to_prometheus() -> Response:
        content, kind = metrics.text()
        return Response(content, media_type=kind)

    @app.get("/v1/weights", tags=["state"], responses={503: {"model": Problem}})
    async def weights() -> list[Weights]:
        """The weights that read the films."""
        if server.crew.about is None:
            raise _Refused(503, problem("NotReady", server.crew.why), {"retry-after": "2"})
        return [Weights.model_validate(about) for about in server.crew.about]


def _predictions(app: FastAPI, server: _Server) -> None:
    settings = server.settings
    several: dict[int | str, dict[str, Any]] = {
        200: {"model": Prediction},
        202: {"model": Prediction | Predictions, "description": "not done yet"},
    }

    @app.post("/v1/predictions", tags=["predictions"], response_model=None, responses={**several, **_PROBLEMS})
    async def predict(
        request: Request,
        response: Response,
        file: Annotated[list[UploadFile], File(description="DICOM, PNG, JPEG or TIFF; one, or several")],
        region: Annotated[list[str], Form(description="regions shown, where you know them")] = [],  # noqa: B006
        prefer: Annotated[str, Header(description="respond-async: do not wait for the result")] = "",
    ) -> Any:
        """Read films. One is answered when it is read (200), several, or one that takes long, at once (202)."""
        if len(file) > settings.max_files:
            raise _Refused(413, problem("TooLarge", "too many films", got=len(file), hint=f"send {settings.max_files}"))
        for one in file:
            if (one.size or 0) > settings.max_bytes:
                got, most = f"{(one.size or 0) >> 20} MiB", f"{settings.max_bytes >> 20} MiB or less"
                raise _Refused(413, problem("TooLarge", f"{one.filename}: too large", got=got, allowed=[most]))
        server.check_room(request, len(file))
        named = server.regions(region)
        given = ((_name(one.filename), one.file.read()) for one in file)
        numbers = await asyncio.to_thread(server.films.add, given, named)
        server.crew.wake()
        if len(numbers) == 1 and "respond-async" not in prefer:
            return await server.finished(numbers[0], settings.wait, response)
        response.status_code = 202
        standings = await asyncio.to_thread(server.films.standings, numbers)
        answers = [await server.answer(standing, whole=False) for standing in standings]
        if len(answers) == 1:
            response.headers["location"] = f"/v1/predictions/{numbers[0]}"
            return answers[0]
        return Predictions(predictions=answers)

    @app.get("/v1/predictions", tags=["predictions"], responses=_PROBLEMS)
    async def several_predictions(id: Annotated[list[str], Query(max_length=200)]) -> Predictions:  # noqa: A002
        """How several predictions stand, without readings; those that have expired are left out."""
        standings = await asyncio.to_thread(server.films.standings, id)
        return Predictions(predictions=[await server.answer(one, whole=False) for one in standings])

    @app.get("/v1/predictions/{number}", tags=["predictions"], responses=_PROBLEMS)
    async def prediction(number: str) -> Prediction:
        """A prediction with its readings, as far as it is done."""
        return await server.answer(await server.find(number))

    @app.delete("/v1/predictions/{number}", tags=["predictions"], status_code=204, responses=_PROBLEMS)
    async def forget(number: str) -> None:
        """Remove a prediction and its film from the server now."""
        standing = await server.find(number)
        await asyncio.to_thread(server.films.remove, standing.job)

    @app.post(
        "/v1/predictions/{number}/again",
        tags=["predictions"],
        response_model=None,
        responses={**several, **_PROBLEMS},
    )
    async def again(
        request: Request,
        response: Response,
        number: str,
        region: Annotated[list[str], Body(embed=True, description="regions shown; none: what the file says")],
    ) -> Any:
        """Read a film again as showing other regions: a new prediction, the first one stays."""
        standing = await server.find(number)
        server.check_room(request, 1)
        named = server.regions(region)
        with _expiring():
            new = await asyncio.to_thread(server.films.again, standing.job, named)
        return await server.finished(new, settings.wait, response)


def _parts(app: FastAPI, server: _Server) -> None:
    part = "/v1/predictions/{number}/"

    async def png(number: str, make: Callable[[Kept], bytes | None]) -> Response:
        kept = await server.kept(number)
        with _expiring():
            content = await asyncio.to_thread(make, kept)
        if content is None:
            raise _Refused(404, problem("NotFound", "these weights give no map"))
        return Response(content, media_type="image/png")

    @app.get(part + "film.png", tags=["parts"], response_class=Response, responses={**_PROBLEMS, **_PNG})
    async def film(
        number: str,
        reading: _Nth = 0,
        page: _Nth = 0,
        low: Annotated[float, Query(ge=-100, le=100, description="what is black")] = 0.0,
        wide: Annotated[float, Query(ge=0.001, le=100, description="from there to white")] = 1.0,
    ) -> Response:
        """The film as it was read, gray, in its own pixels; or under another window of the values that its file stores,
        on the scale of this one."""
        if (low, wide) == (0.0, 1.0):
            return await png(number, lambda kept: kept.film(reading, page))
        path = server.films.keep.path((await server.find(number)).job.payload["film"])
        most = server.settings.max_pixels
        return await png(number, lambda kept: windowed(path, kept.film(reading, page), low, wide, max_pixels=most))

    @app.get(part + "overlay.png", tags=["parts"], response_class=Response, responses={**_PROBLEMS, **_PNG})
    async def overlay(number: str, reading: _Nth = 0, map: bool = False) -> Response:  # noqa: A002
        """The film with boxes and what is said of it, and the map where asked for."""
        return await png(number, lambda kept: kept.overlay(reading, show_map=map))

    @app.get(part + "map.png", tags=["parts"], response_class=Response, responses={**_PROBLEMS, **_PNG})
    async def probability_map(number: str, reading: _Nth = 0, page: _Nth = 0) -> Response:
        """The map alone, transparent, to be laid over the whole film."""
        return await png(number, lambda kept: kept.tint(reading, page))

    async def objects(number: str, reading: int, kinds: Sequence[str]) -> bytes:
        standing = await server.find(number)
        await server.kept(number)
        key = await asyncio.to_thread(server.films.objects, standing.job, reading, kinds)
        made = await server.result(key, server.settings.wait, DICOM)
        if made.error is not None:
            raise _Refused(422, {"error": made.error, "id": number})
        if made.state != "done":
            raise _Refused(503, problem("NotReady", "the objects are being made"), {"retry-after": "5"})
        with _expiring():
            return server.films.keep.path(made.job.result["files"][0]).read_bytes()

    @app.get(part + "dicom.zip", tags=["parts"], response_class=Response, responses=_PROBLEMS)
    async def dicom(
        number: str,
        reading: _Nth = 0,
        objects_: Annotated[list[Objects], Query(alias="objects")] = ["sr", "sc", "gsps"],  # noqa: B006
    ) -> Response:
        """A reading as DICOM objects in the film's study; needs the extra `dicom`."""
        content = await objects(number, reading, list(dict.fromkeys(objects_)))
        return Response(content, media_type="application/zip")

    @app.get(part + "{kind}.dcm", tags=["parts"], response_class=Response, responses=_PROBLEMS)
    async def one_object(number: str, kind: Objects, reading: _Nth = 0) -> Response:
        """One of these objects; `sr.dcm` is the structured report."""
        with zipfile.ZipFile(io.BytesIO(await objects(number, reading, [kind]))) as archive:
            if not (names := archive.namelist()):
                raise _Refused(404, problem("NotFound", "there is nothing to tell in this object", got=kind))
            content = archive.read(names[-1])
        return Response(content, media_type="application/dicom")


def _name(given: str | None) -> str:
    """A film's name as a client gave it, without folders and control characters."""
    last = (given or "").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable())[:200] or "film"
