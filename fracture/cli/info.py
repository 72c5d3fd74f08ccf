"""``fracture info``: what is installed, what it can do here."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fracture._version import __version__
from fracture.cli.defaults import file_in_force
from fracture.cli.streams import printable

if TYPE_CHECKING:
    from fracture.wing.store import Store

_PACKAGES = (
    "torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "opencv-python-headless", "albumentations",
    "pydicom", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm", "safetensors", "pillow", "openvino", "onnxruntime",
)  # fmt: skip


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    devices: Annotated[
        bool, typer.Option("--devices", help="Also import torch and show what auto means here; takes seconds.")
    ] = False,
) -> None:
    """Show versions, weights and regions of this installation; with --devices also the devices."""
    facts = collect(devices=devices)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(f"fracture {facts['fracture']} on Python {facts['python']}, {facts['platform']}")
    if devices:
        typer.echo(f"device (auto): {facts['device']}, precision (auto): {facts['precision']}")
    for key, title in (("weights", "weights"), ("hip_weights", "hip networks")):
        typer.echo(f"\n{title} (* default):" if facts[key] else f"\n{title}: none")
        for entry in facts[key]:
            members = f"{entry['members']} members, " if key == "weights" else ""
            mark = "*" if entry["default"] else " "
            typer.echo(f"  {mark} {entry['name']} {entry['version']}  {members}{entry['megabytes']} MB")
            typer.echo(f"      {entry['description']}")
            points = f"; operating points at {', '.join(entry['operating_points'])}" if key == "weights" else ""
            typer.echo(f"      {entry['license']}{points}")
            if key == "weights":
                check = f"input check: pixels{' and features' * entry['input_check']}"
                typer.echo(f"      fast subset: {', '.join(entry['fast']) or 'none'}; {check}")
    typer.echo("\nengine (auto), on the CPU:")
    for name, chosen in facts["engines"].items():
        typer.echo(f"    {name}: {chosen['engine']} ({printable(chosen['why'])})")
    typer.echo(f"\ndefaults of commands: {facts['config'] or 'built-in (no fracture.toml)'}")
    typer.echo("\nwings:")
    for name, sets in facts["wings"].items():
        typer.echo(f"    {name}: {', '.join(sets) or 'no weights shipped'}")
    for broken in facts["broken_wings"]:
        typer.echo(f"    warning: {printable(broken)}")
    typer.echo("\nregions: " + ", ".join(facts["regions"]))
    typer.echo("\npackages: " + ", ".join(f"{name} {version}" for name, version in facts["packages"].items()))
    typer.echo("\nResearch use only; this is not a medical device.")


def collect(*, devices: bool = False) -> dict[str, Any]:
    """The same facts as a JSON-able dictionary; without ``devices`` torch is not imported, and both are null."""
    from fracture.hip.store import STORE as HIPS
    from fracture.limb.store import STORE
    from fracture.regions import DEFAULT_TREE
    from fracture.wing.contract import registered
    from fracture.wing.engine_choice import choose

    wings, broken = registered()
    device, precision = _auto() if devices else (None, None)
    weights = [
        {
            **_common(STORE, name),
            "members": len(card.members),
            "operating_points": sorted(card.operating_points.get("nodes", {})),
            "fast": [Path(member.file).stem for member in card.fast.members] if card.fast else [],
            "input_check": card.input_check is not None,
        }
        for name in STORE.available()
        for card in [STORE.open(name).card]
    ]
    return {
        "fracture": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "precision": precision,
        "config": None if (config := file_in_force()) is None else str(config.absolute()),
        "weights": weights,
        "hip_weights": [_common(HIPS, name) for name in HIPS.available()],
        "engines": {
            name: asdict(choose(wing.store.open(name).card.checksum))
            for wing in wings
            for name in wing.store.available()
        },
        "wings": {wing.name: list(wing.store.available()) for wing in wings},
        "broken_wings": [str(one) for one in broken],
        "regions": list(DEFAULT_TREE.names),
        "packages": {name: _installed(name) for name in _PACKAGES},
    }


def _auto() -> tuple[str, str]:
    from fracture.models.devices import resolve_device, resolve_precision

    device = resolve_device("auto")
    return str(device), str(resolve_precision("auto", device)).removeprefix("torch.")


def _common(store: Store[Any], name: str) -> dict[str, Any]:
    opened = store.open(name)
    card = opened.card
    return {
        "name": name,
        "default": name == store.default,
        "version": card.version,
        "description": card.description,
        "license": card.license,
        "megabytes": round(sum((opened.folder / part.file).stat().st_size for part in card.files) / 1e6, 1),
    }


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
