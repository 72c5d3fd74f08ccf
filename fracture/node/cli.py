"""``fracture node``: run a node, and look after it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fracture.errors import ConfigurationError

if TYPE_CHECKING:
    from fracture.node.config import Config

node = typer.Typer(
    name="node",
    help="A DICOM node: receives films, reads them, sends the results on.",
    invoke_without_command=True,
    no_args_is_help=True,
    rich_markup_mode=None,
)

ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="node.toml", help="All settings in one file.")]
Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Folder of films, results and jobs.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@node.callback()
def run(
    context: typer.Context,
    config: ConfigFile = None,
    check: Annotated[
        Path | None, typer.Option(metavar="node.toml", help="Examine settings, weights and certificates; run nothing.")
    ] = None,
    data: Data = None,
    ae: Annotated[str | None, typer.Option(help="AE title.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address of the DICOM port; 0.0.0.0 opens it to the network.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="DICOM port.")] = None,
    caller: Annotated[
        list[str] | None, typer.Option(help="AE title that may send films; all if none is named.")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="Weights that read films; may be given more than once.")
    ] = None,
    send_to: Annotated[list[str] | None, typer.Option(metavar="AE=HOST:PORT", help="Send results by C-STORE.")] = None,
    dicomweb: Annotated[list[str] | None, typer.Option(metavar="URL", help="Send results by STOW-RS.")] = None,
    http: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Worklist page, /metrics, /healthz, /readyz; off for none.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N, mps.")] = None,
) -> None:
    """Run a node until it is told to stop. Options go before what --config says."""
    if context.invoked_subcommand is not None:
        return
    from fracture.node.check import examine

    if check is not None:
        for line in examine(_config(check, {})):
            typer.echo(line)
        return
    told: dict[str, Any] = {
        "data": data,
        "ae": ae,
        "host": host,
        "port": port,
        "device": device,
        "callers": caller or None,
        "weights": weights or None,
        "send": [*map(_peer, send_to or ()), *map(_web, enumerate(dicomweb or (), 1))] or None,
        "http": _http(http) if http else None,
    }
    settings = _config(config, {key: value for key, value in told.items() if value is not None})
    from fracture.node.logs import start_log
    from fracture.node.node import Node, open_rooms

    start_log("node")
    with open_rooms(settings) as rooms:
        Node(rooms).run()


@node.command("status")
def status(config: ConfigFile = None, data: Data = None, as_json: Json = False) -> None:
    """Count the jobs of each kind that wait, run, are done or are dead. Exit code 1 if any are dead."""
    from fracture.jobs import DEAD
    from fracture.node.node import open_rooms

    with open_rooms(_config(config, _data(data))) as rooms:
        counts, oldest, free = rooms.jobs.counts(), rooms.jobs.oldest(), rooms.films.free()
    if as_json:
        told = [{"kind": kind, "state": state, "count": count} for (kind, state), count in sorted(counts.items())]
        typer.echo(json.dumps({"jobs": told, "oldest_due_seconds": oldest, "disk_free_bytes": free}))
    else:
        for (kind, state), count in sorted(counts.items()):
            waits = f", the oldest due for {oldest[kind]:.0f} s" if state == "waiting" and kind in oldest else ""
            typer.echo(f"{kind:24} {state:8} {count}{waits}")
        typer.echo(f"{free / 2**30:.1f} GiB free")
    if any(state == DEAD for _, state in counts):
        raise typer.Exit(1)


@node.command("dead")
def dead(
    config: ConfigFile = None,
    data: Data = None,
    as_json: Json = False,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest first.")] = 100,
) -> None:
    """List the jobs that were given up, and why."""
    from fracture.jobs import DEAD
    from fracture.node.node import open_rooms

    with open_rooms(_config(config, _data(data))) as rooms:
        found = rooms.jobs.listing(states=[DEAD], limit=limit)
    for job in found:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.changed))
        told = {"id": job.id, "kind": job.kind, "key": job.key, "changed": when, "tries": job.tries, "error": job.error}
        typer.echo(json.dumps(told) if as_json else f"{job.id}  {job.kind}  {when}  {job.tries} tries  {job.error}")


@node.command("retry")
def retry(
    ids: Annotated[list[int] | None, typer.Argument(metavar="ID...", help="Numbers, as `dead` lists them.")] = None,
    config: ConfigFile = None,
    data: Data = None,
    kind: Annotated[list[str] | None, typer.Option(help="All of this kind: read, send:NAME, ...")] = None,
    every: Annotated[bool, typer.Option("--all", help="Everything that is dead.")] = False,
) -> None:
    """Try again what was given up."""
    from fracture.node.node import open_rooms

    if not (ids or kind or every):
        raise ConfigurationError("nothing to retry was named", allowed="numbers, --kind KIND, or --all")
    with open_rooms(_config(config, _data(data))) as rooms:
        typer.echo(f"{rooms.jobs.retry(ids=ids or (), kinds=kind or ())} jobs wait again")


@node.command("prune")
def prune(
    config: ConfigFile = None,
    data: Data = None,
    days: Annotated[float | None, typer.Option(help="Days to keep, instead of the settings' keep.days.")] = None,
    with_dead: Annotated[bool, typer.Option("--dead", help="Also what was given up, with its films.")] = False,
) -> None:
    """Remove films and results for which nothing is left to do; a running node does so by itself every hour."""
    from fracture.node.node import open_rooms
    from fracture.node.retention import prune as remove

    settings = _config(config, {**_data(data), **({"keep": {"days": days}} if days is not None else {})})
    with open_rooms(settings) as rooms:
        gone = remove(settings, rooms.jobs, rooms.films, rooms.results, rooms.audit, dead=with_dead)
    typer.echo(f"{gone} jobs and their files are gone")


@node.command("pull")
def pull(
    source: Annotated[str, typer.Option("--from", metavar="NAME", help="An archive of the settings.")],
    query: Annotated[list[str], typer.Option(metavar="KEYWORD=VALUE,...", help="PatientID=123,StudyDate=20260101-")],
    config: ConfigFile = None,
) -> None:
    """Fetch films that an archive already has; they are read like films that are sent to the node."""
    from fracture.node.node import open_rooms
    from fracture.node.pull import pull as fetch, wanted_of

    settings = _config(config, {})
    targets = {target.name: target for target in settings.send}
    if source not in targets:
        raise ConfigurationError("no such archive in the settings", got=source, allowed=sorted(targets))
    with open_rooms(settings) as rooms:
        found, new = fetch(settings, rooms.films, rooms.audit, targets[source], wanted_of(query))
    typer.echo(f"{found} objects were sent to this node" if new < 0 else f"{found} films found, {new} of them new")


def _data(folder: Path | None) -> dict[str, Any]:
    return {} if folder is None else {"data": folder}


def _config(path: Path | None, told: dict[str, Any]) -> Config:
    from fracture.node.config import Config
    from fracture.schema import read_toml

    values = read_toml(path) if path is not None else {}
    for key, value in told.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    if "data" not in values:
        raise ConfigurationError("the node's folder is not named", hint="give --data DIR or --config node.toml")
    return Config.of(values, str(path or "the command line"))


def _peer(text: str) -> dict[str, Any]:
    name, _, address = text.partition("=")
    host, _, port = address.rpartition(":")
    if not (name and host and port.isdecimal()):
        raise ConfigurationError("not an archive", got=ascii(text), allowed="AE=HOST:PORT")
    return {"name": name, "ae": name, "host": host, "port": int(port)}


def _web(numbered: tuple[int, str]) -> dict[str, Any]:
    return {"name": f"dicomweb{numbered[0]}", "url": numbered[1]}


def _http(text: str) -> dict[str, Any]:
    if text == "off":
        return {"port": 0}
    host, _, port = text.rpartition(":")
    if not port.isdecimal():
        raise ConfigurationError("not an address for the page", got=ascii(text), allowed="HOST:PORT, or off")
    return {"host": host or "127.0.0.1", "port": int(port)}
