"""``fracture info``: what is installed, what it can do here."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from fracture._version import __version__

__all__ = ["collect", "info"]

_PACKAGES = (
    "torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "opencv-python-headless", "albumentations",
    "pydicom", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm", "safetensors", "pillow",
)  # fmt: skip


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show versions, devices, weights and regions of this installation."""
    facts = collect()
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    typer.echo(f"fracture {facts['fracture']} on Python {facts['python']}, {facts['platform']}")
    typer.echo(f"device (auto): {facts['device']}, precision (auto): {facts['precision']}")
    typer.echo("\nweights (* default):")
    for entry in facts["weights"]:
        mark = "*" if entry["default"] else " "
        typer.echo(f"  {mark} {entry['name']} {entry['version']}  {entry['members']} members, {entry['megabytes']} MB")
        typer.echo(f"      {entry['description']}")
        typer.echo(f"      {entry['license']}; operating points at {', '.join(entry['operating_points'])}")
        fast = ", ".join(entry["fast"]) or "none"
        typer.echo(f"      fast subset: {fast}; input check: pixels{' and features' * entry['input_check']}")
    if not facts["weights"]:
        typer.echo("    none")
    typer.echo("\nhip networks (* default):")
    for entry in facts["hip_weights"]:
        mark = "*" if entry["default"] else " "
        typer.echo(f"  {mark} {entry['name']} {entry['version']}  {entry['megabytes']} MB")
        typer.echo(f"      {entry['description']}")
        typer.echo(f"      {entry['license']}")
    if not facts["hip_weights"]:
        typer.echo("    none")
    typer.echo("\nregions: " + ", ".join(facts["regions"]))
    typer.echo("\npackages: " + ", ".join(f"{name} {version}" for name, version in facts["packages"].items()))
    typer.echo("\nResearch use only; this is no medical device.")


def collect() -> dict[str, Any]:
    """The same facts as a JSON-able dictionary."""
    from fracture.ensemble import resolve_device, resolve_precision
    from fracture.regions import DEFAULT_TREE
    from fracture.store import DEFAULT_WEIGHTS, available, open_weights

    device = resolve_device("auto")
    weights = []
    for name in available():
        opened = open_weights(name)
        card = opened.card
        files = [member.file for member in card.members] + ([card.input_check.file] if card.input_check else [])
        size = sum((opened.folder / file).stat().st_size for file in files)
        weights.append(
            {
                "name": name,
                "default": name == DEFAULT_WEIGHTS,
                "version": card.version,
                "description": card.description,
                "license": card.license,
                "members": len(card.members),
                "megabytes": round(size / 1e6, 1),
                "operating_points": sorted(card.operating_points.get("nodes", {})),
                "fast": [Path(member.file).stem for member in card.fast.members] if card.fast else [],
                "input_check": card.input_check is not None,
            }
        )
    return {
        "fracture": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(device),
        "precision": str(resolve_precision("auto", device)).removeprefix("torch."),
        "weights": weights,
        "hip_weights": _hip_weights(),
        "regions": list(DEFAULT_TREE.names),
        "packages": {name: _installed(name) for name in _PACKAGES},
    }


def _hip_weights() -> list[dict[str, Any]]:
    from fracture.hip.store import DEFAULT_HIP_WEIGHTS, available, open_weights

    entries = []
    for name in available():
        opened = open_weights(name)
        card = opened.card
        size = sum((opened.folder / stage.file).stat().st_size for stage in (card.localizer, card.classifier))
        entries.append(
            {
                "name": name,
                "default": name == DEFAULT_HIP_WEIGHTS,
                "version": card.version,
                "description": card.description,
                "license": card.license,
                "megabytes": round(size / 1e6, 1),
            }
        )
    return entries


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
