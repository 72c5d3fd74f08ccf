"""Stages that leave a record: what they were made from, and the checksums of what they made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fracture.atomic import write_json
from fracture.errors import ConfigurationError
from fracture.regular import sha256_of

FORMAT = "fracture-stage/1"
_MADE = frozenset(("folds", "held_out", "model_card.md", "report", "weights", "weights.part"))


@dataclass(frozen=True, slots=True)
class Stage:
    """What happened to a stage in this call.

    Attributes:
        name: Its name.
        made: Whether it was run; else what it had made before was kept.
        outputs: Files it made, relative to the output folder.
    """

    name: str
    made: bool
    outputs: tuple[str, ...]


class Stages:
    """The stages of one output folder.

    A record is written after the stage's files, atomically: a stage that was killed has none, and is run again.

    Args:
        folder: The output folder; records lie in ``stages/`` below it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, name: str, inputs: Mapping[str, Any], make: Callable[[], Iterable[Path]]) -> Stage:
        """Run a stage, or keep what it made from the same inputs.

        Args:
            name: The stage.
            inputs: Everything that decides its outputs, as JSON; files by their checksums.
            make: Makes the files below the folder and returns their paths.
        """
        record = self._read(name)
        if record is not None and record["inputs"] == _plain(inputs) and self._unchanged(record["outputs"]):
            return Stage(name, False, tuple(record["outputs"]))
        self._path(name).unlink(missing_ok=True)  # while it runs, nothing says that it is done
        outputs = {path.relative_to(self.folder).as_posix(): checksum(path) for path in make()}
        self._write(name, {"stage": name, "inputs": _plain(inputs), "outputs": outputs})
        return Stage(name, True, tuple(outputs))

    def begin(self, name: str, inputs: Mapping[str, Any]) -> None:
        """Hold the folder to what it was begun with, for a stage that goes on with its own unfinished work.

        Raises:
            ConfigurationError: It was begun with other inputs; those that differ are named. Or it was never begun, and
                holds files of the names that will be written.
        """
        record = self._read(f"{name}-begun")
        if record is None:
            if taken := sorted(path.name for path in self.folder.glob("*") if path.name in _MADE):
                raise ConfigurationError(
                    f"{self.folder} holds files that this command would replace but did not make",
                    got=", ".join(taken),
                    hint="give another folder; nothing was written",
                )
            self._write(f"{name}-begun", {"stage": name, "inputs": _plain(inputs), "outputs": {}})
            return
        before, now = record["inputs"], _plain(inputs)
        changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
        if changed:
            raise ConfigurationError(
                f"{self.folder} was begun with other inputs",
                got=f"different: {', '.join(changed)}",
                hint="give another folder, or the inputs it was begun with",
            )

    def _path(self, name: str) -> Path:
        return self.folder / "stages" / f"{name}.json"

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            record = json.loads(self._path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        whole = isinstance(record, dict) and record.get("format") == FORMAT
        return record if whole and all(isinstance(record.get(key), dict) for key in ("inputs", "outputs")) else None

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        write_json(self._path(name), {"format": FORMAT, **content})

    def _unchanged(self, outputs: Mapping[str, str]) -> bool:
        return all(
            (self.folder / path).is_file() and checksum(self.folder / path) == digest
            for path, digest in outputs.items()
        )


def checksum(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal text.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read", got=error.strerror) from error


def _plain(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back, so that tuples and lists compare equal."""
    plain: dict[str, Any] = json.loads(json.dumps(inputs, sort_keys=True))
    return plain
