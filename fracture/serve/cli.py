"""``fracture serve``: the server in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fracture.errors import ConfigurationError


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; other than this machine's own needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port; 0 for any that is free.")] = 8000,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Films, results and jobs, until they expire.")] = Path(
        "fracture-data"
    ),
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="PostgreSQL: servers with one database and one --data share the work."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that read films; each holds the weights in memory.")] = 1,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="Name or folder; may be given more than once. The first reads every film."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its text is the token that requests must carry.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, torch, openvino or onnx.")] = "auto",
    keep_hours: Annotated[float, typer.Option(help="Hours after which films and results are removed.")] = 24.0,
    queue: Annotated[int, typer.Option(help="Most films that may wait.")] = 200,
    rate: Annotated[int, typer.Option(help="Most films a minute for one client.")] = 600,
    max_megabytes: Annotated[int, typer.Option(help="Largest film, MiB.")] = 128,
    max_megapixels: Annotated[int, typer.Option(help="Largest film, million pixels.")] = 50,
) -> None:
    """Serve a web page to drop films on, and an HTTP API; see docs/server.md. Research use only."""
    from fracture.serve.run import run
    from fracture.serve.settings import DEFAULT_WEIGHTS, Settings

    run(
        Settings(
            data=data,
            database=database,
            workers=workers,
            host=host,
            port=port,
            weights=tuple(weights or DEFAULT_WEIGHTS),
            token=None if token_file is None else _token(token_file),
            device=device,
            precision=precision,
            engine=engine,
            keep_hours=keep_hours,
            queue=queue,
            rate=rate,
            max_bytes=max_megabytes << 20,
            max_pixels=max_megapixels * 1_000_000,
        )
    )


def _token(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigurationError("the token file cannot be read", got=error) from error
