"""The record of a run: pure functions of the run and of this machine's versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from fracture._version import __version__
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split
from fracture.training.cache import Fault
from fracture.training.config import StageConfig
from fracture.training.lineage import trained_before
from fracture.training.loop import State


def before(
    config: StageConfig,
    annotated: AnnotatedSet,
    parts: Mapping[str, AnnotatedSet],
    base: Split,
    split: Split,
    start: Mapping[str, Any],
    device: torch.device,
    processes: int,
) -> dict[str, Any]:
    """What is known when training begins: settings, seeds, films, split, starting point, machine, versions."""
    return {
        "config": config.to_dict(),
        "seed": config.seed,
        "start": {**start, **trained_before(config.init)},
        "set": annotated.name,
        "set_fingerprint": annotated.fingerprint(),
        "attribution": annotated.attribution,
        "license": annotated.license,
        "split": {"method": split.method, "seed": base.seed, "sha256": base.checksum},
        "films": {
            name: {"films": len(part), "fractured": part.positives, "groups": len({f.group for f in part})}
            for name, part in parts.items()
        },
        "device": device_name(device),
        "processes": processes,
        "threads": torch.get_num_threads(),
        "begun": _now(),
        "versions": versions(),
    }


def results(state: State, faults: Sequence[Fault]) -> dict[str, Any]:
    """What is known when it has ended: epochs, presentations, time, the log, the best score."""
    return {
        "unreadable": [*(fault.source for fault in faults), *state.skipped],
        "best_epoch": state.best_epoch or None,
        "best_score": state.best_auc,
        "epochs": state.epoch,
        "presentations": sum(row["films"] for row in state.history),
        "optimizer_steps": state.steps,
        "seconds": round(state.seconds, 1),
        "cpu_seconds": round(state.cpu_seconds, 1),
        "history": state.history,
        "finished": _now(),
    }


def versions() -> dict[str, str]:
    """Versions of what takes part in a training run."""
    import cv2
    import numpy

    return {
        "fracture": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "opencv": cv2.__version__,
        "platform": platform.platform(),
    }


def device_name(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
